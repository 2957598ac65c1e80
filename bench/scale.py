"""A large virtual cluster: 1 000 Pods, 5 000 Secrets nobody uses, the status of all Pods at once, 200 writes a second.

The host's own API server and a real virtual cluster; the Pods ask for a node that there is not, so that no kubelet has
to run them, and their status is written on the host as a kubelet would. The baseline of the writes is the same number
of them to the host alone. `--seconds` says how long is written (60; the figure is about 300).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import figures
import measure
import processes

from loft.core.resource import NAMESPACES, PODS, SECRETS, Resource
from loft.kube.client import Client
from loft.kube.config import load_kubeconfig
from loft.kube.informer import Informer

CLUSTER = "scale"
INSIDE = "many"
HOST_NAMESPACE = f"bench-{CLUSTER}"
PODS_COUNT = 1000
SECRETS_COUNT = 5000
RATE = 200
SETTLE_S = 20.0
LIMIT_S = 300.0
Object = dict[str, Any]


def main() -> None:
    """Make a virtual cluster, fill it, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    layout = measure.running_cluster()
    with measure.virtual_cluster(layout, CLUSTER), TemporaryDirectory(prefix="loft-bench-") as folder:
        path = Path(folder) / "kubeconfig"
        path.write_text(measure.kubeconfig(layout, CLUSTER, HOST_NAMESPACE))
        asyncio.run(measured(str(layout.kubeconfig), str(path), seconds))


async def measured(host_config: str, virtual_config: str, seconds: int) -> None:
    """Fill and measure, with clients of both API servers."""
    pid = processes.of_pod(f"{CLUSTER}-0")["loft.cmd.hypervisor"]
    async with (
        Client(load_kubeconfig(host_config), user_agent="bench") as host,
        Client(load_kubeconfig(virtual_config), user_agent="bench") as virtual,
        asyncio.TaskGroup() as group,
    ):
        selector = f"vcluster.loft.sh/managed-by={CLUSTER}"
        there = Informer(host, PODS, HOST_NAMESPACE, label_selector=selector, indexers={"mark": marks})
        inside = Informer(virtual, PODS, INSIDE)
        followers = [group.create_task(informer.run()) for informer in (there, inside)]
        for informer in (there, inside):
            await informer.synced()
        await fill(virtual, there)
        await asyncio.sleep(SETTLE_S)
        measure.show(figures.LARGE_MEMORY, [processes.memory(pid).written / processes.MEGABYTE], "MB")
        measure.show(figures.STATUS, [await all_status(host, there, inside)])
        after = await writes(lambda name, mark: label(virtual, name, INSIDE, mark), inside, there, seconds)
        measure.show(figures.LAG, after)
        alone = await writes(lambda name, mark: label(host, name, HOST_NAMESPACE, mark), there, there, seconds)
        measure.show(figures.LAG_BASELINE, alone)
        for follower in followers:
            follower.cancel()


async def fill(virtual: Client, there: Informer) -> None:
    """Create everything, and wait until all Pods are on the host."""
    await virtual.create(NAMESPACES, {"metadata": {"name": INSIDE}})
    await until(lambda: exists(virtual, Resource("", "v1", "serviceaccounts", "ServiceAccount"), "default"))
    await spread(SECRETS_COUNT, lambda number: virtual.create(SECRETS, secret(number)))
    await spread(PODS_COUNT, lambda number: virtual.create(PODS, pod(number)))
    await until(lambda: count(there, lambda item: True))


async def all_status(host: Client, there: Informer, inside: Informer) -> float:
    """Say that every Pod runs; return the seconds from the last such write until the last is seen inside."""
    names = [item["metadata"]["name"] for item in there.list() if marked(item)]
    change = {"status": {"phase": "Running", "podIP": "192.0.2.1", "podIPs": [{"ip": "192.0.2.1"}]}}
    await spread(
        len(names), lambda number: host.patch(PODS, names[number], change, HOST_NAMESPACE, subresource="status")
    )
    began = time.perf_counter()
    await until(lambda: count(inside, lambda item: item["status"].get("phase") == "Running"))
    return time.perf_counter() - began


async def writes(
    write: Callable[[str, str], Awaitable[object]], source: Informer, there: Informer, seconds: int
) -> list[float]:
    """Write RATE times a second; return how long after its write each hundredth, and the last, was on the host."""
    names = sorted(item["metadata"]["name"] for item in source.list() if marked(item))
    total = RATE * seconds
    lags: list[float] = []
    began = time.perf_counter()
    running: set[asyncio.Task[object]] = set()
    for number in range(total):
        await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
        task = asyncio.ensure_future(write(names[number % len(names)], f"m{number}"))
        running.add(task)
        task.add_done_callback(running.discard)
        if number % 100 == 99 or number == total - 1:
            await task
            written = time.perf_counter()
            await until(lambda mark=f"m{number}": any_with(there, mark))
            lags.append(time.perf_counter() - written)
    await asyncio.gather(*running)
    return lags


async def spread(total: int, do: Callable[[int], Awaitable[object]], width: int = 16) -> None:
    """Do something for each number, some at a time."""
    numbers = iter(range(total))

    async def worker() -> None:
        for number in numbers:
            await do(number)

    await asyncio.gather(*[worker() for _ in range(width)])


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something. Raises: TimeoutError."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            if await check():
                return
            await asyncio.sleep(0.005)


async def exists(client: Client, resource: Resource, name: str) -> bool:
    """Tell whether an object is there."""
    return await client.find(resource, name, INSIDE) is not None


async def count(informer: Informer, fits: Callable[[Object], bool]) -> bool:
    """Tell whether all Pods of ours fit."""
    await asyncio.sleep(0.05)
    return sum(fits(item) for item in informer.list() if marked(item)) == PODS_COUNT


async def any_with(there: Informer, mark: str) -> bool:
    """Tell whether a host Pod has a mark."""
    return bool(there.by_index("mark", mark))


def marks(item: Object) -> list[str]:
    """Return the marks of a host Pod: as the tenant's label, and as one of the host's own."""
    labels = item["metadata"].get("labels") or {}
    return [labels[key] for key in ("mark", "label.vcluster.loft.sh/mark") if key in labels]


def marked(item: Object) -> bool:
    """Tell our Pods from those of the system."""
    return "bench-pod" in item["metadata"]["name"]


def label(client: Client, name: str, namespace: str, mark: str) -> Awaitable[object]:
    """Write a label."""
    return client.patch(PODS, name, {"metadata": {"labels": {"mark": mark}}}, namespace)


def secret(number: int) -> Object:
    """Return a Secret that no Pod names."""
    return {"metadata": {"name": f"bench-secret-{number}", "namespace": INSIDE}, "stringData": {"key": "x" * 500}}


def pod(number: int) -> Object:
    """Return a Pod for which there is no node."""
    container = {"name": "main", "image": "loft.sh/demo:1", "env": [{"name": "A", "value": "b"}]}
    metadata = {"name": f"bench-pod-{number}", "namespace": INSIDE, "labels": {"app": "bench", "mark": "none"}}
    return {"metadata": metadata, "spec": {"nodeSelector": {"bench": "no-such-node"}, "containers": [container]}}


if __name__ == "__main__":
    main()
