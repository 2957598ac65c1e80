"""Claims: a warm virtual cluster and its namespace become somebody's; of the four writes only the first can be lost.

Whoever takes the label off the namespace has it; another claimer's write then conflicts and goes to the next one.
Until the last write the loop of loft.tenancy.warmpool can make an ordinary virtual cluster of what a crash left.
"""

from __future__ import annotations

import logging
import re

from loft.api.space import DESCRIPTION, DISPLAY_NAME
from loft.apiserver.authorize import Attributes, Reviewer, refusal
from loft.apiserver.call import Call, Object
from loft.apiserver.declaration import Sight
from loft.apiserver.refusal import Cause, invalid, not_found
from loft.apiserver.store import Refusing
from loft.cluster import owner
from loft.cluster.policy import Find, default_owner, require_assign
from loft.cluster.spaceview import SPACES, owner_of, to_namespace
from loft.core.resource import NAMESPACES, VIRTUALCLUSTERS, Resource
from loft.kube.client import Client
from loft.kube.errors import ApiError, Conflict, NotFound
from loft.kube.execute import Executor
from loft.kube.informer import Informer
from loft.tenancy.virtualcluster.release import WARM, release_key
from loft.tenancy.warmpool.plan import is_warm, ready

log = logging.getLogger(__name__)

CLAIMS = Resource("cluster.loft.sh", "v1", "virtualclusterclaims", "VirtualClusterClaim", namespaced=False)
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")


class ClaimPolicy:
    """Who may create a space may claim one with a virtual cluster in it. See declaration.Policy."""

    def __init__(self, reviewer: Reviewer) -> None:
        self._reviewer = reviewer

    async def authorize(self, call: Call, find: Find) -> Sight | None:
        """Decide by the right to create spaces."""
        attributes = Attributes(verb="create", group=SPACES.group, resource=SPACES.plural)
        if not await self._reviewer.allowed(call.caller, attributes):
            raise refusal(call, SPACES)
        return None


class Claims(Refusing):
    """See declaration.Store."""

    def __init__(self, client: Client, reviewer: Reviewer, clusters: Informer) -> None:
        super().__init__(CLAIMS)
        self._client = client
        self._reviewer = reviewer
        self._clusters = clusters
        self._executor = Executor(client, component=owner.MANAGER)

    async def create(self, call: Call, obj: Object) -> Object:
        """Give a warm virtual cluster to its owner. Raises: NotFound when none is free."""
        spec = obj.get("spec") or {}
        name = spec.get("virtualCluster") or ""
        if not _NAME.fullmatch(name):
            text = "use at most 40 characters a-z, 0-9 and -, beginning with a letter, ending with a letter or digit"
            raise invalid(CLAIMS, name, Cause("spec.virtualCluster", text))
        if all(owner_of(obj)):
            raise invalid(CLAIMS, name, Cause("spec", "set user or team, not both"))
        wish = spec if any(owner_of(obj)) else spec | default_owner(call.caller)
        user, team = owner_of({"spec": wish})
        await require_assign(self._reviewer, call.caller, name, user, team)
        for cluster in ready(self._clusters.list()):
            space = cluster["metadata"]["namespace"]
            if call.dry_run or await self._claim(cluster, wish):
                return _answer(spec, space)
        raise not_found(CLAIMS, "free")

    async def _claim(self, cluster: Object, spec: Object) -> bool:
        space = cluster["metadata"]["namespace"]
        namespace = await self._client.find(NAMESPACES, space)
        if namespace is None or not is_warm(namespace):
            return False
        try:
            namespace = await self._client.update(NAMESPACES, as_space(namespace, spec))
        except (Conflict, NotFound):
            return False
        await self._executor.execute(owner.plan(namespace, None))
        try:
            await self._client.create(VIRTUALCLUSTERS, named(cluster, spec))
        except ApiError:
            # The space is its owner's, and the virtual cluster in it has the name that it was made with.
            log.exception("space %s: the claimed virtual cluster keeps its first name", space)
            raise
        metadata = cluster["metadata"]
        await self._client.delete(VIRTUALCLUSTERS, metadata["name"], space, uid=metadata["uid"])
        return True


def as_space(namespace: Object, spec: Object) -> Object:
    """Return the namespace of a warm virtual cluster as a space of its owner; its version sees to a single claimer."""
    metadata = namespace["metadata"]
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != WARM}
    annotations = (metadata.get("annotations") or {}) | _shown(spec)
    space = {"metadata": metadata | {"labels": labels, "annotations": annotations}, "spec": spec}
    return to_namespace(space)


def named(cluster: Object, spec: Object) -> Object:
    """Return the VirtualCluster of the wished name that goes on with the release of a warm one."""
    metadata: Object = {"name": spec["virtualCluster"], "namespace": cluster["metadata"]["namespace"]}
    if shown := _shown(spec):
        metadata["annotations"] = shown
    body = {"apiVersion": VIRTUALCLUSTERS.api_version, "kind": VIRTUALCLUSTERS.kind, "metadata": metadata}
    return body | {"spec": {"helmRelease": {"name": release_key(cluster).partition("/")[2]}}}


def _shown(spec: Object) -> dict[str, str]:
    texts = {DISPLAY_NAME: spec.get("displayName"), DESCRIPTION: spec.get("description")}
    return {key: text for key, text in texts.items() if text}


def _answer(spec: Object, space: str) -> Object:
    kind = {"apiVersion": CLAIMS.api_version, "kind": CLAIMS.kind}
    return kind | {"metadata": {}, "spec": dict(spec), "status": {"space": space}}
