"""What a cluster needs beside its components: administrator's role, DNS, metrics, volumes, network policies.

Manifests are pure functions of the layout, applied at every start; loops run in the cluster's daemon.
"""

from __future__ import annotations

import asyncio

from loft.core.resource import KNOWN
from loft.embedded.addons import dns, localpath, metrics, networkpolicy, roles
from loft.embedded.layout import Layout
from loft.kube.client import Client
from loft.kube.keep import keep_running

MANAGER = "loft-embedded"


async def apply_addons(client: Client, layout: Layout) -> None:
    """Apply every manifest by server-side apply. Raises: ApiError."""
    await metrics.ensure_serving(client, layout, MANAGER)
    manifests = [
        *roles.manifests(),
        *dns.manifests(layout.dns_ip),
        *localpath.manifests(),
        *metrics.manifests((layout.pki / "ca.crt").read_bytes()),
    ]
    for manifest in manifests:
        resource = KNOWN[manifest["apiVersion"], manifest["kind"]]
        await client.apply(resource, manifest, manager=MANAGER)


async def run_addons(client: Client, layout: Layout) -> None:
    """Run the loops until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(keep_running("local-path", lambda: localpath.run(client, layout)))
        group.create_task(keep_running("metrics-server", lambda: metrics.keep_serving(client, layout, MANAGER)))
        group.create_task(keep_running("network policies", lambda: networkpolicy.run(client, layout)))
