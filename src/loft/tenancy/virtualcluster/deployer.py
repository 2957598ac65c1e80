"""Helm acts in a tenant's namespace under a ServiceAccount of that namespace, never with the agent's own rights.

So whatever a chart with a tenant's values tries to make, it stays inside of the namespace and below the
ClusterRole that is bound there. The token is asked for when needed, lives for minutes, and is kept in memory only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from loft.core.action import Apply, Delete
from loft.core.resource import (
    CLUSTERROLEBINDINGS,
    CONFIGMAPS,
    ENDPOINTSLICES,
    INGRESSES,
    NAMESPACES,
    NETWORKPOLICIES,
    PODDISRUPTIONBUDGETS,
    PODS,
    PVCS,
    ROLEBINDINGS,
    SECRETS,
    SERVICEACCOUNTS,
    SERVICES,
    Resource,
)
from loft.helm.binary import Helm
from loft.kube import request as requests
from loft.kube.client import Client
from loft.kube.config import Endpoint
from loft.kube.errors import Forbidden, Unauthorized
from loft.kube.execute import Executor
from loft.tenancy.virtualcluster.plan import DIGEST_LABEL, MANAGED_BY, Leftover, Release, is_volume_of

Object = dict[str, Any]

ACCOUNT = "loft-vc-deployer"
"""The ServiceAccount, its RoleBinding, and the ClusterRole (of the agent's chart) that is bound."""
CLASSES = "loft-vc-classes"
"""The ClusterRole (of the agent's chart) for reading classes, and the beginning of its bindings' names."""
MANAGER = "loft-agent"
TOKEN_S = 600
"""The shortest lifetime that the API server gives."""
TOKEN_USED_S = 400.0
TOKENS_MAX = 1000
RIGHTS_WAIT_S = 5.0
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
LEFTOVERS: tuple[Resource, ...] = (
    PODS,
    SERVICES,
    ENDPOINTSLICES,
    CONFIGMAPS,
    SECRETS,
    PVCS,
    NETWORKPOLICIES,
    INGRESSES,
    PODDISRUPTIONBUDGETS,
)


class Session:
    """One namespace, with the deployer's rights."""

    def __init__(self, client: Client, helm: Helm, namespace: str) -> None:
        self.client = client
        self.helm = helm
        self.namespace = namespace

    async def release(self, name: str) -> Release | None:
        """Return the newest revision of a release. Raises: ApiError."""
        items = await self._metadata(SECRETS, f"owner=helm,name={name}")
        revisions = [item for item in items if item["labels"].get("version", "").isdecimal()]
        if not revisions:
            return None
        newest = max(revisions, key=lambda item: int(item["labels"]["version"]))
        labels = newest["labels"]
        return Release(
            status=labels.get("status", ""),
            digest=labels.get(DIGEST_LABEL, ""),
            secret=newest["name"],
            uid=newest["uid"],
        )

    async def control_plane_pods(self, name: str) -> tuple[str, ...]:
        """Return the names of the StatefulSet's pods that are still there."""
        owned = (
            pod["name"]
            for pod in await self._metadata(PODS, "")
            if any(
                owner.get("kind") == "StatefulSet" and owner.get("name") == name
                for owner in pod.get("ownerReferences") or []
            )
        )
        return tuple(owned)

    async def leftovers(self, name: str) -> tuple[Leftover, ...]:
        """Return what the hypervisor made in this namespace, and the control plane's volumes."""
        found = {}
        for resource in LEFTOVERS:
            items = await self._metadata(resource, f"{MANAGED_BY}={name}")
            found.update({item["uid"]: _leftover(resource, item) for item in items})
        volumes = [item for item in await self._metadata(PVCS, "") if is_volume_of(name, item["name"])]
        found.update({item["uid"]: _leftover(PVCS, item, is_store=True) for item in volumes})
        return tuple(found.values())

    async def _metadata(self, resource: Resource, selector: str) -> list[Object]:
        """List without contents: those of Secrets and releases are large, and not our business."""
        request = requests.list_(resource, self.namespace, label_selector=selector, limit=0)
        answer = await self.client.call(msgspec.structs.replace(request, accept=METADATA_ONLY))
        return [{"labels": {}} | item["metadata"] for item in answer.get("items") or []]


class Deployer:
    """Gives sessions; makes the ServiceAccount where it is missing."""

    def __init__(self, client: Client, *, helm_home: Path | None = None) -> None:
        """`client` is the agent's own; `helm_home` keeps Helm's caches."""
        self._client = client
        self._helm_home = helm_home
        self._executor = Executor(client, component=MANAGER)
        self._tokens: dict[str, tuple[str, float]] = {}

    @asynccontextmanager
    async def session(self, namespace: str, *, create: bool = True) -> AsyncIterator[Session]:
        """Act in a namespace. With `create` unset a missing ServiceAccount is not made. Raises: NotFound, ApiError."""
        endpoint = await self._endpoint(namespace, create=create)
        async with Client(endpoint, user_agent="loft-vc-deployer", limit=4) as client:
            try:
                yield Session(client, Helm(endpoint, home=self._helm_home), namespace)
            except (Unauthorized, Forbidden):
                # The account was made anew, or its binding is gone: the next attempt begins with both.
                self._tokens.pop(namespace, None)
                raise

    async def remove(self, namespace: str) -> None:
        """Take the rights away and remove the account."""
        self._tokens.pop(namespace, None)
        await self._executor.execute(
            [
                Delete(CLUSTERROLEBINDINGS, "", classes_binding_name(namespace)),
                Delete(ROLEBINDINGS, namespace, ACCOUNT),
                Delete(SERVICEACCOUNTS, namespace, ACCOUNT),
            ]
        )

    async def _endpoint(self, namespace: str, *, create: bool) -> Endpoint:
        token, until = self._tokens.get(namespace, ("", 0.0))
        now = asyncio.get_running_loop().time()
        ours = self._client.endpoint
        endpoint = Endpoint(
            server=ours.server, ca_data=ours.ca_data, tls_server_name=ours.tls_server_name, insecure=ours.insecure
        )
        if now < until:
            return msgspec.structs.replace(endpoint, token=token)
        if create:
            await self._executor.execute([Apply(SERVICEACCOUNTS, account(namespace), MANAGER)])
            await self._executor.execute([Apply(ROLEBINDINGS, binding(namespace), MANAGER)])
            owner = await self._client.get(NAMESPACES, namespace)
            await self._executor.execute([Apply(CLUSTERROLEBINDINGS, classes_binding(owner), MANAGER)])
        wish = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": ACCOUNT, "namespace": namespace},
            "spec": {"expirationSeconds": TOKEN_S},
        }
        token = (await self._client.create(SERVICEACCOUNTS, wish, subresource="token"))["status"]["token"]
        endpoint = msgspec.structs.replace(endpoint, token=token)
        if create:
            await _wait_for_rights(endpoint, namespace)
        while len(self._tokens) >= TOKENS_MAX:
            self._tokens.pop(next(iter(self._tokens)))
        self._tokens[namespace] = (token, now + TOKEN_USED_S)
        return endpoint


async def _wait_for_rights(endpoint: Endpoint, namespace: str) -> None:
    """A new RoleBinding counts as soon as the API server's authorizer has seen it; Helm would not wait for it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RIGHTS_WAIT_S
    async with Client(endpoint, user_agent="loft-vc-deployer", limit=1) as client:
        while True:
            try:
                await client.call(requests.list_(SECRETS, namespace, label_selector="owner=nobody", limit=1))
                return
            except (Forbidden, Unauthorized):
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(0.02)


def account(namespace: str) -> Object:
    """Return the ServiceAccount."""
    return {"metadata": {"name": ACCOUNT, "namespace": namespace, "labels": {"loft.sh/managed-by": MANAGER}}}


def binding(namespace: str) -> Object:
    """Return the RoleBinding: the ClusterRole counts in this namespace only."""
    group = ROLEBINDINGS.group
    return {
        "metadata": {"name": ACCOUNT, "namespace": namespace, "labels": {"loft.sh/managed-by": MANAGER}},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }


def classes_binding_name(namespace: str) -> str:
    """Return the name of the ClusterRoleBinding by which a namespace's virtual clusters read classes of the host."""
    return f"{CLASSES}:{namespace}"


def classes_binding(namespace: Object) -> Object:
    """Return that binding; it goes with the namespace. What may be read says the ClusterRole of the agent's chart."""
    name, group = namespace["metadata"]["name"], CLUSTERROLEBINDINGS.group
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": namespace["metadata"]["uid"]}
    labels = {"loft.sh/managed-by": MANAGER}
    return {
        "metadata": {"name": classes_binding_name(name), "labels": labels, "ownerReferences": [owner]},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": CLASSES},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": f"system:serviceaccounts:{name}"}],
    }


def _leftover(resource: Resource, metadata: Object, *, is_store: bool = False) -> Leftover:
    return Leftover(resource=resource, name=metadata["name"], uid=metadata["uid"], is_store=is_store)
