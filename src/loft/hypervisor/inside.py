"""What the replica that leads keeps as it must be inside: webhook, access rules, the API server's Service, DNS."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from loft.core.resource import (
    APISERVICES,
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    CONFIGMAPS,
    ENDPOINTS,
    ENDPOINTSLICES,
    MUTATINGWEBHOOKS,
    SERVICES,
)
from loft.hypervisor.access import access_objects
from loft.hypervisor.admission import PATH
from loft.hypervisor.admission_plan import webhook_configuration
from loft.hypervisor.apiservice import endpoint_objects, plan_service
from loft.hypervisor.bootstrap import apply_all
from loft.hypervisor.config import ACCESS_KEY, ConfigError, parse_access
from loft.hypervisor.core.objects import Object
from loft.hypervisor.dns import dns_objects
from loft.hypervisor.keeper import Keeper
from loft.hypervisor.metrics import HostMetrics, offer
from loft.hypervisor.replica import Replica
from loft.hypervisor.replicas import follow_replicas
from loft.kube.controller import Controller
from loft.kube.execute import Executor
from loft.kube.informer import Informer

log = logging.getLogger(__name__)

WEBHOOK_PORT = 10251


class Inside:
    """The objects inside that are the platform's, and their keeper."""

    def __init__(self, replica: Replica, ca: bytes, service_ip: str) -> None:
        """`ca` is whom the API server trusts for the webhook and the figures."""
        self._replica, self._ca, self._service_ip = replica, msgspec.to_builtins(ca), service_ip
        config = replica.config
        resources = [MUTATINGWEBHOOKS, CLUSTERROLES, CLUSTERROLEBINDINGS, ENDPOINTS, ENDPOINTSLICES]
        resources += [SERVICES, APISERVICES] if config.metrics else []
        self.keeper = Keeper(replica.virtual, resources)
        if "Service" in config.kinds:
            url = f"https://127.0.0.1:{WEBHOOK_PORT}{PATH}"
            self.keeper.want("webhook", [webhook_configuration(url, self._ca)])
        if config.replicas == 1:
            self.keeper.want("endpoints", endpoint_objects([replica.pod.address], config.api_port))

    async def figures(self, metrics: HostMetrics) -> None:
        """Offer metrics.k8s.io while the host has it; runs until cancelled."""
        await offer(metrics, str(self._ca), self.keeper.want)

    async def replicas(self) -> None:
        """Keep the endpoints those replicas that serve; runs until cancelled."""
        config = self._replica.config
        service = (config.namespace, config.name)
        await follow_replicas(self._replica.host, service, self._replica.pod.address, self.keeper.want)

    async def own_service(self) -> None:
        """Keep `default/kubernetes` the host Service of this virtual cluster; runs until cancelled."""
        virtual = self._replica.virtual
        informer = Informer(virtual, SERVICES, "default", field_selector="metadata.name=kubernetes")
        executor = Executor(virtual, component="loft-hypervisor")

        async def reconcile(key: str) -> None:
            port = self._replica.config.api_port
            await executor.execute(plan_service(informer.get(key), self._service_ip, port))

        controller = Controller("kubernetes-service", reconcile)
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run())
            await informer.synced()
            informer.subscribe(lambda key, old, new: controller.enqueue(key))
            controller.enqueue("default/kubernetes")
            group.create_task(controller.run())

    async def access(self) -> None:
        """Keep the access rules those of ConfigMap `vc-NAME-config`, which changes without a restart."""
        config = self._replica.config
        name = f"vc-{config.name}-config"
        informer = Informer(self._replica.host, CONFIGMAPS, config.namespace, field_selector=f"metadata.name={name}")

        def changed(key: str, old: Object | None, new: Object | None) -> None:
            try:
                rules = access_objects(parse_access((new or {}).get("data", {}).get(ACCESS_KEY, "")))
                self.keeper.want("access", rules)
            except ConfigError as error:
                log.error("the access rules stay as they are: %s", error)

        informer.subscribe(changed)
        await informer.run()

    async def dns(self) -> None:
        """Apply DNS once; what the tenant changed stays theirs."""
        config = self._replica.config
        if config.dns_enabled:
            wanted = dns_objects(config.dns_image, replicas=config.dns_replicas, domain=config.cluster_domain)
            await apply_all(self._replica.virtual, wanted)
