"""Agents' own tokens: a Secret for each cluster holds the hash, the token itself is with the agent only."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from typing import Any

from loft.core.action import Apply, Delete
from loft.core.resource import CLUSTERS, SECRETS
from loft.identity.keys import KEY_BYTES, is_well_formed, key_hash, new_key
from loft.kube.client import Client
from loft.kube.execute import Executor
from loft.kube.informer import Informer

Object = dict[str, Any]

LABEL = "loft.sh/agent-of"
MANAGER = "loft"


def secret_name(cluster: str) -> str:
    """Return the name of the Secret with the hash of an agent's token."""
    return f"loft-agent-token-{cluster}"


def token_secret(namespace: str, cluster: Object, token: str) -> Object:
    """Return the Secret for a new token of a Cluster's agent; it goes with the Cluster. Pure."""
    name = cluster["metadata"]["name"]
    owner = {"apiVersion": CLUSTERS.api_version, "kind": CLUSTERS.kind, "name": name, "uid": cluster["metadata"]["uid"]}
    return {
        "metadata": {
            "name": secret_name(name),
            "namespace": namespace,
            "labels": {LABEL: name, "loft.sh/managed-by": MANAGER},
            "ownerReferences": [owner],
        },
        "data": {"hash": base64.b64encode(key_hash(token).encode()).decode()},
    }


class Tokens:
    """Knows which token belongs to which cluster, and makes new ones."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        clusters: Informer,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """`clusters` is the informer of Cluster objects, run by the caller."""
        self._namespace = namespace
        self._random = random
        self._clusters = clusters
        self._executor = Executor(client, component=MANAGER)
        self._secrets = Informer(client, SECRETS, namespace, label_selector=LABEL)
        self._by_hash: dict[str, str] = {}
        self._hashes: dict[str, str] = {}
        self._secrets.subscribe(self._on_secret)

    async def run(self) -> None:
        """Follow the Secrets, for ever."""
        await self._secrets.run()

    async def synced(self) -> None:
        """Wait until all are known."""
        await self._secrets.synced()

    def cluster_of(self, token: str) -> str:
        """Return the cluster whose agent has this token, "" when it is nobody's."""
        if not is_well_formed(token):
            return ""
        cluster = self._by_hash.get(key_hash(token), "")
        return cluster if cluster and self._clusters.get(cluster) is not None else ""

    def exists(self, cluster: str) -> bool:
        """Tell whether the agent of a cluster has a token."""
        return self._secrets.get(f"{self._namespace}/{secret_name(cluster)}") is not None

    async def new(self, cluster: Object) -> str:
        """Make a new token for a Cluster's agent; an older one counts no more. Raises: ApiError."""
        token = new_key(self._random(KEY_BYTES))
        await self._executor.execute([Apply(SECRETS, token_secret(self._namespace, cluster, token), MANAGER)])
        return token

    async def drop(self, cluster: str) -> None:
        """Forget the token of a cluster's agent."""
        await self._executor.execute([Delete(SECRETS, self._namespace, secret_name(cluster))])

    def _on_secret(self, key: str, old: Object | None, new: Object | None) -> None:
        self._by_hash.pop(self._hashes.pop(key, ""), None)
        if new is None:
            return
        cluster = (new["metadata"].get("labels") or {}).get(LABEL, "")
        hashed = base64.b64decode((new.get("data") or {}).get("hash") or "").decode("latin-1")
        if cluster and len(hashed) == 64:
            self._by_hash[hashed] = cluster
            self._hashes[key] = hashed
