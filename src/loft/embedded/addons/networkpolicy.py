"""Enforces NetworkPolicies of an embedded cluster with nftables: watches, and loads what `policyrules` says.

The network plugin routes pods and enforces nothing. The whole table is replaced in one step whenever it would
be another one; rules stay in force while this loop is down.
"""

from __future__ import annotations

import asyncio
import logging

from loft.core.resource import NAMESPACES, NETWORKPOLICIES, PODS
from loft.embedded.addons.podaddresses import PodAddresses, with_addresses
from loft.embedded.addons.policyrules import ruleset, slim_pod
from loft.embedded.layout import Layout
from loft.kube.client import Client
from loft.kube.informer import Informer

log = logging.getLogger(__name__)

DEBOUNCE_S = 0.02
LOAD_S = 30.0


def table_name(layout: Layout) -> str:
    """Return the name of the cluster's table."""
    return f"loft-netpol-{layout.name}"


async def run(client: Client, layout: Layout) -> None:
    """Watch and enforce until cancelled. Raises: RuntimeError when nft refuses, to be run again."""
    policies, pods = Informer(client, NETWORKPOLICIES), Informer(client, PODS, transform=slim_pod)
    namespaces = Informer(client, NAMESPACES)
    informers = (policies, pods, namespaces)
    changed = asyncio.Event()
    for informer in informers:
        informer.subscribe(lambda _key, _old, _new: changed.set())
    with PodAddresses(layout.name, changed.set) as addresses:
        async with asyncio.TaskGroup() as group:
            for informer in informers:
                group.create_task(informer.run())
            for informer in informers:
                await informer.synced()
            loaded = ""
            while True:
                # Cleared before the caches are read: what changes from here on is seen in the next round.
                changed.clear()
                current = with_addresses(pods.list(), addresses.by_uid())
                text = ruleset(table_name(layout), policies.list(), current, namespaces.list(), network=layout.network)
                if text != loaded:
                    await load(layout, text)
                    loaded = text
                await changed.wait()
                await asyncio.sleep(DEBOUNCE_S)


async def load(layout: Layout, text: str) -> None:
    """Load a ruleset atomically in the cluster's network. Raises: RuntimeError with nft's complaint."""
    process = await asyncio.create_subprocess_exec(
        *layout.enter,
        "nft",
        "-f",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LOAD_S):
            _, complaint = await process.communicate(text.encode())
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"nft refused the network policies: {complaint.decode(errors='replace')[:500]}")
