"""Wires the plan to the API server: caches in, steps out. One replica of the agent runs it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from loft.api.virtualcluster import VirtualCluster, VirtualClusterStatus
from loft.core.action import Patch
from loft.core.resource import NAMESPACES, PODS, STATEFULSETS, VIRTUALCLUSTERS, object_key
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.errors import Conflict, NotFound
from loft.kube.execute import Executor
from loft.kube.informer import Informer
from loft.tenancy.virtualcluster import plan as planning
from loft.tenancy.virtualcluster.deployer import MANAGER, Deployer, Session
from loft.tenancy.virtualcluster.plan import Observed
from loft.tenancy.virtualcluster.release import RELEASE, is_first, others, release_key, release_name
from loft.tenancy.virtualcluster.status import PROBLEM, status_of
from loft.tenancy.virtualcluster.steps import Memory, Steps
from loft.tenancy.virtualcluster.values import Composed, Facts, compose

Object = dict[str, Any]
WORKERS = 8


def lean(stateful_set: Object) -> Object:
    """Keep of a StatefulSet what is read from the cache."""
    status = stateful_set.get("status") or {}
    metadata = stateful_set["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion")
    return {
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "problem": (metadata.get("annotations") or {}).get(PROBLEM, ""),
        "status": {"readyReplicas": status.get("readyReplicas") or 0},
    }


def caches(client: Client) -> tuple[Informer, Informer]:
    """Return the informers of VirtualClusters and StatefulSets; the caller runs them."""
    clusters = Informer(client, VIRTUALCLUSTERS, indexers={RELEASE: lambda cluster: [release_key(cluster)]})
    return clusters, Informer(client, STATEFULSETS, transform=lean)


class VirtualClusters:
    """Deploys and removes virtual clusters."""

    def __init__(
        self,
        client: Client,
        caches: tuple[Informer, Informer],
        deployer: Deployer,
        facts: Facts,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._clusters, self._stateful_sets = caches
        self._deployer = deployer
        self._facts = facts
        self._steps = Steps(client, deployer, self._clusters)
        self._clock = clock
        self._memories: dict[str, Memory] = {}
        self._executor = Executor(client, component=MANAGER)
        self._controller = Controller("virtual-clusters", self._reconcile, workers=WORKERS)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._clusters.synced()
        await self._stateful_sets.synced()
        self._memories.clear()
        on_cluster, on_stateful_set = self._on_cluster, self._on_stateful_set
        self._clusters.subscribe(on_cluster)
        self._stateful_sets.subscribe(on_stateful_set)
        try:
            await self._controller.run()
        finally:
            self._clusters.unsubscribe(on_cluster)
            self._stateful_sets.unsubscribe(on_stateful_set)

    def _on_cluster(self, key: str, old: Object | None, new: Object | None) -> None:
        self._controller.enqueue(key)
        for other in self._clusters.by_index(RELEASE, release_key(new or old or {})):
            self._controller.enqueue(object_key(other))

    def _on_stateful_set(self, release: str, old: Object | None, new: Object | None) -> None:
        for cluster in self._clusters.by_index(RELEASE, release):
            key = object_key(cluster)
            if new is None and (memory := self._memories.get(key)):
                memory.deployed_digest = ""
            self._controller.enqueue(key)

    async def _reconcile(self, key: str) -> float | None:
        found = self._clusters.get(key)
        if found is None:
            self._memories.pop(key, None)
            return None
        memory = self._memories.setdefault(key, self._inherited(found))
        cluster = msgspec.convert(found, VirtualCluster)
        try:
            return await self._advance(cluster, memory, key)
        except Conflict:
            # The cache is behind our own last write; its next event would come anyway.
            return planning.POLL_S

    def _inherited(self, cluster: Object) -> Memory:
        """Begin with what is known of the release, where a virtual cluster takes over one that runs already."""
        for other in self._clusters.by_index(RELEASE, release_key(cluster)):
            known = self._memories.get(object_key(other))
            if known is not None and known.deployed_digest:
                return Memory(deployed_digest=known.deployed_digest)
        return Memory()

    async def _advance(self, cluster: VirtualCluster, memory: Memory, key: str) -> float | None:
        observed = await self._observe(cluster, memory, key)
        if planning.needs_release(observed, self._facts):
            if planning.FINALIZER not in cluster.metadata.finalizers:
                if cluster.metadata.deletion_timestamp:
                    return None
                # Nothing is made that would not be removed again; the change of the object brings us back.
                await self._executor.execute([planning.add_finalizer(cluster)])
                return None
            if not cluster.metadata.deletion_timestamp:
                await self._report(observed)  # at once: the first deployment takes a moment
            async with self._deployer.session(cluster.metadata.namespace) as session:
                observed = await self._look(observed, session)
                decision = planning.plan(observed, self._facts)
                if planning.is_deployed_already(observed, decision.wanted):
                    memory.deployed_digest = observed.release.digest if observed.release else ""
                await self._steps.perform(cluster, decision.steps, memory, session)
        else:
            decision = planning.plan(observed, self._facts)
            await self._steps.perform(cluster, decision.steps, memory, None)
        observed = await self._observe(cluster, memory, key)
        if not cluster.metadata.deletion_timestamp:
            await self._report(observed)
        return observed.retry_in_s or decision.again_s

    async def _observe(self, cluster: VirtualCluster, memory: Memory, key: str) -> Observed:
        now = asyncio.get_running_loop().time()
        if memory.generation != cluster.metadata.generation:
            memory.generation, memory.retry_at, memory.failures, memory.failure = cluster.metadata.generation, 0, 0, ""
        release = f"{cluster.metadata.namespace}/{release_name(cluster)}"
        sharing = self._clusters.by_index(RELEASE, release)
        return Observed(
            virtual_cluster=cluster,
            is_shared=bool(others(cluster, sharing)),
            is_taken=not is_first(cluster, sharing),
            deployed_digest=memory.deployed_digest,
            stateful_set=self._stateful_sets.get(release),
            failure=memory.failure,
            retry_in_s=max(0.0, memory.retry_at - now),
            objects_failure=memory.objects_failure,
            namespace_is_going=bool(cluster.metadata.deletion_timestamp) and await self._is_going(cluster),
        )

    async def _look(self, observed: Observed, session: Session) -> Observed:
        name = release_name(observed.virtual_cluster)
        release = await session.release(name)
        seen = msgspec.structs.replace(observed, release=release)
        if not observed.virtual_cluster.metadata.deletion_timestamp or release is not None:
            return seen
        pods = await session.control_plane_pods(name)
        leftovers = () if pods else await session.leftovers(name)
        return msgspec.structs.replace(seen, control_plane_pods=pods, leftovers=leftovers)

    async def _is_going(self, cluster: VirtualCluster) -> bool:
        namespace = await self._client.find(NAMESPACES, cluster.metadata.namespace)
        return namespace is None or bool(namespace["metadata"].get("deletionTimestamp"))

    async def _report(self, observed: Observed) -> None:
        """Write the status, if it says something new."""
        cluster = observed.virtual_cluster
        wanted = planning.taken(cluster) if observed.is_taken else compose(cluster.spec, self._facts)
        pod = None
        if isinstance(wanted, Composed) and observed.deployed_digest and not planning.is_ready(observed.stateful_set):
            pod = await self._client.find(PODS, f"{release_name(cluster)}-0", cluster.metadata.namespace)
        status = status_of(observed, wanted, self._facts, pod, self._clock())
        if status == cluster.status:
            return
        body = {"metadata": {}, "status": whole(status)}
        patch = Patch(
            VIRTUALCLUSTERS,
            cluster.metadata.namespace,
            cluster.metadata.name,
            body,
            subresource="status",
            uid=cluster.metadata.uid,
        )
        with contextlib.suppress(NotFound):
            await self._executor.perform(patch)


def whole(status: VirtualClusterStatus) -> Object:
    """Return the status as a merge patch: what is empty now is taken away."""
    found: Object = msgspec.to_builtins(status)
    empty: Object = {field.encode_name: None for field in msgspec.structs.fields(VirtualClusterStatus)}
    return empty | found
