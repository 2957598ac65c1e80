"""When this replica can be used: what a start waits for, in which order, and what the probe answers meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from loft.core.resource import SERVICEACCOUNTS, SERVICES
from loft.hypervisor import certs, versions
from loft.hypervisor.admission import ServiceAdmission
from loft.hypervisor.apiservice import plan_service
from loft.hypervisor.replica import Replica
from loft.hypervisor.sync_world import World
from loft.kube import request as requests
from loft.kube.errors import AlreadyExists, ApiError
from loft.kube.request import Request

log = logging.getLogger(__name__)

POLL_S = 0.05
BOOTSTRAP_ROLES = "poststarthook/rbac/bootstrap-roles"


class Readiness:
    """Waits for what this replica needs, and knows what is missing."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._virtual = replica.virtual
        self._ready = asyncio.Event()
        self.missing = "starting"
        """What is waited for, in words for people."""

    @property
    def is_ready(self) -> bool:
        """Whether all was found in place; the API server may have gone since."""
        return self._ready.is_set()

    def lose(self) -> None:
        """Be no longer ready."""
        self._ready.clear()

    async def check(self) -> str:
        """Return "" when the virtual cluster can be used, else what is missing."""
        if not self._ready.is_set():
            return self.missing
        try:
            await self._virtual.raw(Request("GET", "/readyz"))
        except ApiError as error:
            return f"the API server is not ready: {error.message}"
        return ""

    async def api_usable(self) -> None:
        """Wait until the API server answers us; its own roles, which it makes meanwhile, are for others."""
        await self._until("waiting for the API server", partial(self.answers, ("exclude", BOOTSTRAP_ROLES)))
        if self._replica.config.distribution is None:
            await versions.note_served(self._replica.host, self._replica.config)
        log.info("the API server is usable %.1f s after the hypervisor's start", self._replica.age_s())

    async def answers(self, *query: tuple[str, str]) -> bool:
        """Whether the API server says that it is ready."""
        try:
            await self._virtual.raw(Request("GET", "/readyz", query))
        except ApiError as error:
            log.debug("API server: %s", error)
            return False
        return True

    async def become(self, world: World, admission: ServiceAdmission, service_ip: str) -> None:
        """Wait until tenants' objects are treated as they must be, then say so."""
        config = self._replica.config
        self.missing = "waiting for the caches"
        for informer in world.informers():
            await informer.synced()
        if "Service" in config.kinds:
            await self._until("waiting for the admission of Services", partial(self._is_asked, admission))
        await self._until("waiting for the API server's roles", self.answers)
        # Only now: it could do nothing without its roles, and would take the API server's processor from it.
        certs.let_start(self._replica.places.pki, "kube-controller-manager", "kube-scheduler")
        await self._until("waiting for a service account", self._has_service_account)
        in_place = partial(self._service_in_place, service_ip)
        await self._until("waiting for the Service of the API server", in_place)
        self._ready.set()
        log.info("virtual cluster %s is ready %.1f s after the hypervisor's start", config.name, self._replica.age_s())

    async def _until(self, missing: str, check: Callable[[], Awaitable[bool]]) -> None:
        self.missing = missing
        while True:
            if await check():
                return
            await asyncio.sleep(POLL_S)

    async def _has_service_account(self) -> bool:
        """Make the account without which no pod is admitted; its controller would, a second later."""
        try:
            await self._virtual.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
        except AlreadyExists:
            return True
        except ApiError as error:
            log.debug("service account: %s", error)
            return False
        return True

    async def _is_asked(self, admission: ServiceAdmission) -> bool:
        """Whether the API server already asks the webhook: it learns of it a moment after the object is written."""
        before = admission.counts["allowed"]
        probe = {"metadata": {"name": "admission-probe"}, "spec": {"ports": [{"port": 1}]}}
        try:
            await self._virtual.call(requests.create(SERVICES, probe, "default", dry_run=True))
        except ApiError as error:
            log.info("admission of Services: %s", error)
            return False
        return admission.counts["allowed"] > before

    async def _service_in_place(self, service_ip: str) -> bool:
        found = await self._virtual.find(SERVICES, "kubernetes", "default")
        return found is not None and not plan_service(found, service_ip, self._replica.config.api_port)
