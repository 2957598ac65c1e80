"""The informer against a real API server that restarts, forgets its history and loses objects behind its back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from integration.api_server import ApiServer
from loft.core.resource import CONFIGMAPS, NAMESPACES, Resource
from loft.kube.client import Client
from loft.kube.config import Endpoint
from loft.kube.errors import NotFound, Unavailable
from loft.kube.informer import Informer

# Servers are killed here, also in the middle of a TLS handshake: asyncio then leaves the socket to the collector, and
# which test is running when it is found is chance.
pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Object = dict[str, Any]


@pytest.fixture(scope="module")
def server(start_api_server: Callable[..., ApiServer]) -> Iterator[ApiServer]:
    """Restarted by these tests, so not the shared one."""
    server = start_api_server("informer")
    yield server
    server.stop()


class Heard:
    """A subscriber that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def __call__(self, key: str, old: Object | None, new: Object | None) -> None:
        kind = "add" if old is None else "delete" if new is None else "update"
        self.told.append((kind, key.rpartition("/")[2]))


async def until(claim: Callable[[], bool], *, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not claim():
            await asyncio.sleep(0.02)


def run(endpoint: Endpoint, test: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(90), Client(endpoint) as client:
            await test(client)

    asyncio.run(main())


async def space(client: Client, name: str) -> str:
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    return name


async def make(client: Client, namespace: str, name: str, **data: str) -> Object:
    return await client.create(CONFIGMAPS, {"metadata": {"namespace": namespace, "name": name}, "data": data})


def names(informer: Informer) -> list[str]:
    return sorted(obj["metadata"]["name"] for obj in informer.list())


class Running:
    """An informer that runs inside `async with`."""

    def __init__(self, informer: Informer) -> None:
        self.informer = informer
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Informer:
        self._task = asyncio.create_task(self.informer.run())
        await self.informer.synced()
        return self.informer

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        assert not self._task.done(), "run() never returns by itself"
        self._task.cancel()
        await asyncio.wait([self._task])


def test_it_follows_and_indexes(server: ApiServer) -> None:
    async def test(client: Client) -> None:
        namespace = await space(client, "follow")
        for index in range(7):
            await make(client, namespace, f"map-{index}", colour="red" if index % 2 else "blue")

        def keep(obj: Object) -> Object:
            return {"metadata": obj["metadata"], "colour": (obj.get("data") or {}).get("colour", "")}

        heard = Heard()
        informer = Informer(
            client, CONFIGMAPS, namespace, indexers={"colour": lambda o: [o["colour"]]}, transform=keep, page_size=3
        )
        async with Running(informer):
            informer.subscribe(heard)
            assert heard.told == [("add", f"map-{index}") for index in range(7)], "existing objects are replayed"
            assert len(informer.by_index("colour", "red")) == 3
            assert informer.by_index("colour", "green") == []
            one = informer.get(f"{namespace}/map-1")
            assert one is not None and "managedFields" not in one["metadata"] and "data" not in one
            await client.apply(
                CONFIGMAPS,
                {"metadata": {"namespace": namespace, "name": "map-1"}, "data": {"colour": "green"}},
                manager="test",
            )
            await client.delete(CONFIGMAPS, "map-0", namespace)
            await until(lambda: len(heard.told) == 9)
            assert heard.told[7:] == [("update", "map-1"), ("delete", "map-0")]
            assert [o["metadata"]["name"] for o in informer.by_index("colour", "green")] == ["map-1"]
            assert len(informer.by_index("colour", "red")) == 2
            assert informer.get(f"{namespace}/map-0") is None

    run(server.endpoint, test)


def test_a_restarted_api_server_loses_no_change(server: ApiServer) -> None:
    async def test(client: Client) -> None:
        namespace = await space(client, "restart")
        await make(client, namespace, "kept")
        await make(client, namespace, "deleted")
        heard = Heard()
        async with Running(Informer(client, CONFIGMAPS, namespace)) as informer:
            informer.subscribe(heard)
            await asyncio.to_thread(server.restart_api)
            await client.delete(CONFIGMAPS, "deleted", namespace)
            await make(client, namespace, "added")
            await until(lambda: names(informer) == ["added", "kept"])
            assert sorted(heard.told) == [("add", "added"), ("add", "deleted"), ("add", "kept"), ("delete", "deleted")]
            await until(lambda: informer.failure is None)

    run(server.endpoint, test)


def test_what_changed_unseen_is_told_by_the_next_list(server: ApiServer) -> None:
    """The connection is down, the history is compacted meanwhile: only a new list can tell."""

    async def test(client: Client) -> None:
        namespace = await space(client, "unseen")
        for name in ("kept", "changed", "deleted", "recreated"):
            await make(client, namespace, name)
        heard = Heard()
        informer = Informer(client, CONFIGMAPS, namespace)
        async with Running(informer):
            informer.subscribe(heard)
            before = informer.get(f"{namespace}/recreated")
        # Not following any more; as if it were cut off.
        heard.told.clear()
        await client.delete(CONFIGMAPS, "deleted", namespace)
        await client.delete(CONFIGMAPS, "recreated", namespace)
        await make(client, namespace, "recreated")
        await make(client, namespace, "added")
        body = {"metadata": {"namespace": namespace, "name": "changed"}, "data": {"key": "value"}}
        await client.apply(CONFIGMAPS, body, manager="test")
        server.compact()
        await asyncio.to_thread(server.restart_api)
        async with Running(informer):
            await until(lambda: names(informer) == ["added", "changed", "kept", "recreated"])
            await until(lambda: (informer.get(f"{namespace}/changed") or {}).get("data") == {"key": "value"})
        assert sorted(heard.told) == [
            ("add", "added"),
            ("add", "recreated"),
            ("delete", "deleted"),
            ("delete", "recreated"),
            ("update", "changed"),
        ]
        assert heard.told.index(("delete", "recreated")) < heard.told.index(("add", "recreated"))
        assert before is not None
        now = informer.get(f"{namespace}/recreated")
        assert now is not None and now["metadata"]["uid"] != before["metadata"]["uid"]

    run(server.endpoint, test)


def test_a_kind_that_does_not_exist_yet_is_waited_for(server: ApiServer) -> None:
    resource = Resource("test.loft.sh", "v1", "things", "Thing")
    crd = {
        "metadata": {"name": "things.test.loft.sh"},
        "spec": {
            "group": "test.loft.sh",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }

    async def test(client: Client) -> None:
        from loft.core.resource import CRDS

        informer = Informer(client, resource)
        task = asyncio.create_task(informer.run())
        await until(lambda: informer.failure is not None)
        assert isinstance(informer.failure, NotFound)
        assert not informer.is_synced
        await client.create(CRDS, crd)
        await informer.synced()
        assert informer.failure is None
        await client.delete(CRDS, "things.test.loft.sh")
        task.cancel()
        await asyncio.wait([task])

    run(server.endpoint, test)


def test_failures_are_shown_while_the_server_is_away(server: ApiServer) -> None:
    async def test(client: Client) -> None:
        namespace = await space(client, "away")
        async with Running(Informer(client, CONFIGMAPS, namespace)) as informer:
            await asyncio.to_thread(server.end, "kube-apiserver", signal.SIGKILL)
            await until(lambda: informer.failure is not None)
            assert isinstance(informer.failure, Unavailable)
            await asyncio.to_thread(server.start_api)
            await make(client, namespace, "after")
            await until(lambda: names(informer) == ["after"])
            assert informer.failure is None

    run(server.endpoint, test)
