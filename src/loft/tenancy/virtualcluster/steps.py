"""Performs the steps of a plan for one virtual cluster: Helm, objects inside, removal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from loft.api.virtualcluster import VirtualCluster
from loft.core.action import Delete, Event
from loft.core.backoff import Backoff
from loft.core.resource import SECRETS, VIRTUALCLUSTERS
from loft.helm.binary import HelmError
from loft.helm.charts import chart_path
from loft.kube.client import Client
from loft.kube.errors import ApiError
from loft.kube.execute import Executor
from loft.kube.failpoint import failpoint
from loft.kube.informer import Informer
from loft.tenancy.virtualcluster.deployer import MANAGER, Deployer, Session
from loft.tenancy.virtualcluster.objects import ObjectsError, apply_objects, inside
from loft.tenancy.virtualcluster.plan import (
    DIGEST_LABEL,
    ApplyObjects,
    Deploy,
    DropRevision,
    RemoveDeployer,
    Step,
    Uninstall,
    objects_applied,
)
from loft.tenancy.virtualcluster.release import release_name
from loft.tenancy.virtualcluster.values import CHART_NAME

log = logging.getLogger(__name__)

HELM_S = 120.0
RETRY = Backoff(base_s=0.5, cap_s=120.0, factor=3.0, jitter=0.0)
SHOWN_FROM = 2
"""A first failure is tried again before anybody is told: another writer may just have been faster."""


class Memory(msgspec.Struct):
    """What this process remembers of one virtual cluster; losing it costs a look, never a mistake."""

    generation: int = 0
    deployed_digest: str = ""
    failure: str = ""
    failures: int = 0
    retry_at: float = 0.0
    """On the event loop's clock."""
    objects_failure: str = ""


class Steps:
    """Does what is decided, in order."""

    def __init__(self, client: Client, deployer: Deployer, clusters: Informer) -> None:
        self._client = client
        self._deployer = deployer
        self._clusters = clusters
        self._executor = Executor(client, component=MANAGER)

    async def perform(
        self, cluster: VirtualCluster, steps: Sequence[Step], memory: Memory, session: Session | None
    ) -> None:
        """Perform the steps; a failure of Helm is remembered and ends them. Raises: ApiError."""
        for step in steps:
            if isinstance(step, Deploy | Uninstall | DropRevision):
                assert session is not None, "what concerns the release is decided on after looking at it only"
                if not await self._release(cluster, step, memory, session):
                    return
            elif isinstance(step, ApplyObjects):
                await self._apply(cluster, step, memory)
            elif isinstance(step, RemoveDeployer):
                await self._remove_deployer(cluster)
            elif isinstance(step, Delete) and session is not None:
                # In the tenant's namespace, with the rights of that namespace.
                await Executor(session.client, component=MANAGER).perform(step)
            else:
                await self._executor.perform(step)

    async def _release(
        self, cluster: VirtualCluster, step: Deploy | Uninstall | DropRevision, memory: Memory, session: Session
    ) -> bool:
        """Change the release; False when Helm failed."""
        name = release_name(cluster)
        if isinstance(step, DropRevision):
            log.warning("virtual cluster %s/%s: a deployment was interrupted; starting over", session.namespace, name)
            await Executor(session.client, component=MANAGER).perform(
                Delete(SECRETS, session.namespace, step.secret, uid=step.uid)
            )
            return True
        await failpoint(f"{MANAGER}.helm.{type(step).__name__.lower()}.before")
        try:
            if isinstance(step, Uninstall):
                await session.helm.uninstall(name, session.namespace, timeout_s=HELM_S)
            else:
                await session.helm.install(
                    name,
                    session.namespace,
                    chart_path(CHART_NAME),
                    step.values,
                    timeout_s=HELM_S,
                    labels={DIGEST_LABEL: step.digest},
                )
                memory.deployed_digest = step.digest
        except HelmError as error:
            await self._failed(cluster, memory, str(error))
            return False
        await failpoint(f"{MANAGER}.helm.{type(step).__name__.lower()}.after")
        memory.failure, memory.failures, memory.retry_at = "", 0, 0.0
        return True

    async def _failed(self, cluster: VirtualCluster, memory: Memory, message: str) -> None:
        memory.failures += 1
        memory.deployed_digest = ""
        memory.retry_at = asyncio.get_running_loop().time() + RETRY.delay_s(memory.failures, 0.0)
        where = f"{cluster.metadata.namespace}/{cluster.metadata.name}"
        log.warning("virtual cluster %s: helm: %s", where, message)
        if memory.failures >= SHOWN_FROM:
            memory.failure = message
            await self._executor.perform(_event(cluster, "HelmFailed", message))

    async def _apply(self, cluster: VirtualCluster, step: ApplyObjects, memory: Memory) -> None:
        metadata = cluster.metadata
        try:
            endpoint = await inside(self._client, metadata.namespace, release_name(cluster))
            count = await apply_objects(endpoint, step.manifests)
        except (ObjectsError, ApiError) as error:
            memory.failures += 1
            memory.retry_at = asyncio.get_running_loop().time() + RETRY.delay_s(memory.failures, 0.0)
            memory.objects_failure = str(error)
            log.warning("virtual cluster %s/%s: %s", metadata.namespace, metadata.name, error)
            return
        memory.objects_failure, memory.failures, memory.retry_at = "", 0, 0.0
        await self._executor.execute(
            [
                objects_applied(cluster, step.digest),
                _event(cluster, "ObjectsApplied", f"{count} objects were applied inside", warning=False),
            ]
        )

    async def _remove_deployer(self, cluster: VirtualCluster) -> None:
        metadata = cluster.metadata
        others = [
            other
            for other in self._clusters.list()
            if other["metadata"]["namespace"] == metadata.namespace and other["metadata"]["name"] != metadata.name
        ]
        if not others:
            await self._deployer.remove(metadata.namespace)


def _event(cluster: VirtualCluster, reason: str, message: str, *, warning: bool = True) -> Event:
    metadata = cluster.metadata
    about = {
        "apiVersion": VIRTUALCLUSTERS.api_version,
        "kind": VIRTUALCLUSTERS.kind,
        "metadata": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid},
    }
    return Event(about, reason, message[:1000], "Warning" if warning else "Normal")
