"""Actions against a real API server: each kind does what it says, preconditions hold, crashes leave no half truth."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from integration.api_server import ApiServer
from loft.core.action import Action, Apply, Create, Delete, Event, Patch, Update
from loft.core.resource import CONFIGMAPS, EVENTS, NAMESPACES, SECRETS, SERVICEACCOUNTS
from loft.kube import failpoint
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists, Conflict, Invalid, Unavailable
from loft.kube.execute import Executor
from loft.kube.record import Recorder

pytestmark = pytest.mark.integration

Object = dict[str, Any]


def run(server: ApiServer, name: str, test: Callable[[Client, str], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), Client(server.endpoint) as client:
            await client.create(NAMESPACES, {"metadata": {"name": name}})
            await test(client, name)

    asyncio.run(main())


def body(namespace: str, name: str, **data: str) -> Object:
    return {"metadata": {"namespace": namespace, "name": name}, "data": data}


def test_each_kind_of_action(api_server: ApiServer) -> None:
    async def test(client: Client, namespace: str) -> None:
        executor = Executor(client, component="test")

        async def data() -> Object | None:
            found = await client.find(CONFIGMAPS, "map", namespace)
            return None if found is None else found.get("data") or {}

        created = await executor.perform(Create(CONFIGMAPS, body(namespace, "map", a="1")))
        assert created is not None and created["metadata"]["uid"]
        await executor.execute([Update(CONFIGMAPS, created | {"data": {"a": "2"}})])
        assert await data() == {"a": "2"}
        await executor.execute([Patch(CONFIGMAPS, namespace, "map", {"data": {"b": "3"}})])
        assert await data() == {"a": "2", "b": "3"}
        removal = [{"op": "remove", "path": "/data/a"}]
        await executor.execute([Patch(CONFIGMAPS, namespace, "map", removal, kind="json")])
        assert await data() == {"b": "3"}
        await executor.execute([Apply(CONFIGMAPS, body(namespace, "map", c="4"), "other")])
        assert await data() == {"b": "3", "c": "4"}
        await executor.execute([Apply(CONFIGMAPS, body(namespace, "map"), "other")])
        assert await data() == {"b": "3"}, "what a manager no longer applies is removed, the rest stays"
        await executor.execute([Delete(CONFIGMAPS, namespace, "map"), Delete(CONFIGMAPS, namespace, "map")])
        assert await data() is None
        assert executor.writes == {
            "create.configmaps": 1,
            "update.configmaps": 1,
            "patch.configmaps": 2,
            "apply.configmaps": 2,
            "delete.configmaps": 2,
        }

    run(api_server, "actions", test)


def test_a_subresource_is_posted_to(api_server: ApiServer) -> None:
    async def test(client: Client, namespace: str) -> None:
        await client.create(SERVICEACCOUNTS, {"metadata": {"namespace": namespace, "name": "account"}})
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"namespace": namespace, "name": "account"},
            "spec": {"expirationSeconds": 600},
        }
        answer = await Executor(client, component="test").perform(Create(SERVICEACCOUNTS, request, "token"))
        assert answer is not None and answer["status"]["token"].count(".") == 2

    run(api_server, "subresource", test)


@pytest.mark.parametrize("kind", ["merge", "strategic", "json"])
def test_writes_for_an_earlier_object_leave_its_successor_alone(api_server: ApiServer, kind: Any) -> None:
    async def test(client: Client, namespace: str) -> None:
        executor = Executor(client, component="test")
        first = await client.create(CONFIGMAPS, body(namespace, "map", a="1"))
        uid = first["metadata"]["uid"]
        change: Any = {"data": {"a": "2"}}
        if kind == "json":
            change = [{"op": "replace", "path": "/data/a", "value": "2"}]
        patch = Patch(CONFIGMAPS, namespace, "map", change, kind=kind, uid=uid)
        await executor.execute([patch])
        assert (await client.get(CONFIGMAPS, "map", namespace))["data"] == {"a": "2"}
        await client.delete(CONFIGMAPS, "map", namespace)
        second = await client.create(CONFIGMAPS, body(namespace, "map", a="other"))
        with pytest.raises(Conflict):
            await executor.execute([patch])
        await executor.execute([Delete(CONFIGMAPS, namespace, "map", uid=uid)])
        assert await client.get(CONFIGMAPS, "map", namespace) == second

    run(api_server, f"successor-{kind}", test)


def test_the_first_failure_ends_a_plan(api_server: ApiServer) -> None:
    async def test(client: Client, namespace: str) -> None:
        actions: list[Action] = [
            Create(CONFIGMAPS, body(namespace, "one")),
            Create(CONFIGMAPS, body(namespace, "one")),
            Create(CONFIGMAPS, body(namespace, "two")),
        ]
        with pytest.raises(AlreadyExists):
            await Executor(client, component="test").execute(actions)
        listed = await client.list(CONFIGMAPS, namespace)
        assert [item["metadata"]["name"] for item in listed.items] == ["one"]

    run(api_server, "first-failure", test)


def test_dry_run_checks_and_stores_nothing(api_server: ApiServer) -> None:
    async def test(client: Client, namespace: str) -> None:
        kept = await client.create(CONFIGMAPS, body(namespace, "kept", a="1"))
        executor = Executor(client, component="test", dry_run=True)
        await executor.execute(
            [
                Create(CONFIGMAPS, body(namespace, "new")),
                Apply(CONFIGMAPS, body(namespace, "applied"), "test"),
                Patch(CONFIGMAPS, namespace, "kept", {"data": {"a": "2"}}),
                Delete(CONFIGMAPS, namespace, "kept"),
                Event(kept, "Tested", "a dry run"),
            ]
        )
        assert (await client.list(CONFIGMAPS, namespace)).items == [kept]
        assert (await client.list(EVENTS, namespace)).items == []
        with pytest.raises(Invalid):
            await executor.execute([Create(CONFIGMAPS, body(namespace, "Not_A_Name"))])

    run(api_server, "dry-run-actions", test)


def test_repeated_events_are_one_event_with_a_count(api_server: ApiServer) -> None:
    async def test(client: Client, namespace: str) -> None:
        about = await client.create(CONFIGMAPS, body(namespace, "map"))
        now = 0.0
        recorder = Recorder(client, "test", clock=lambda: now)
        for _ in range(5):
            await recorder.record(Event(about, "Odd", "x" * 5000, "Warning"))
        now = 120.0
        await recorder.record(Event(about, "Odd", "x" * 5000, "Warning"))
        await recorder.record(Event(about, "Even", "other", "Normal"))
        events = {item["reason"]: item for item in (await client.list(EVENTS, namespace)).items}
        assert set(events) == {"Odd", "Even"}
        assert events["Odd"]["count"] == 6
        assert events["Odd"]["involvedObject"]["uid"] == about["metadata"]["uid"]
        assert len(events["Odd"]["message"]) == 1024

    run(api_server, "events", test)


def test_an_event_that_cannot_be_written_fails_nothing(api_server: ApiServer) -> None:
    async def test(client: Client, namespace: str) -> None:
        nowhere = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"namespace": "nowhere", "name": "map"}}
        await Executor(client, component="test").execute(
            [Event(nowhere, "Odd", "message"), Create(CONFIGMAPS, body(namespace, "after"))]
        )
        assert await client.find(CONFIGMAPS, "after", namespace)

    run(api_server, "event-nowhere", test)


def test_failpoints_stand_before_and_after_each_write(api_server: ApiServer) -> None:
    async def test(client: Client, namespace: str) -> None:
        executor = Executor(client, component="test")
        try:
            failpoint.activate("test.create.configmaps.before=error@2,test.apply.*.after=error")
            await executor.execute([Create(CONFIGMAPS, body(namespace, "one"))])
            with pytest.raises(Unavailable):
                await executor.execute([Create(CONFIGMAPS, body(namespace, "two"))])
            with pytest.raises(Unavailable):
                await executor.execute([Apply(SECRETS, body(namespace, "three"), "test")])
            assert failpoint.passed() == [
                "test.create.configmaps.before",
                "test.create.configmaps.after",
                "test.apply.secrets.before",
                "test.apply.secrets.after",
            ]
        finally:
            failpoint.activate("")
        assert await client.find(CONFIGMAPS, "two", namespace) is None, "not sent"
        assert await client.find(SECRETS, "three", namespace), "sent, only the answer was lost"

    run(api_server, "failpoints", test)


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("test.create.configmaps.before", set()),
        ("test.create.configmaps.after", {"first"}),
        ("test.apply.secrets.before", {"first"}),
        ("test.apply.secrets.after", {"first", "second"}),
        ("test.delete.configmaps.after", {"first", "second", "no old"}),
    ],
)
def test_a_crash_between_writes_is_finished_by_the_next_run(api_server: ApiServer, point: str, left: set[str]) -> None:
    program = Path(__file__).with_name("crashing.py")
    namespace = "crash-" + point.replace(".", "-")

    def start(failpoints: str) -> int:
        environment = os.environ | {"LOFT_FAILPOINTS": failpoints}
        command = [sys.executable, str(program), str(api_server.kubeconfig), namespace]
        return subprocess.run(command, env=environment, timeout=30, check=False).returncode

    async def there(client: Client) -> set[str]:
        found = {"no old"} if await client.find(CONFIGMAPS, "old", namespace) is None else set()
        found |= {"first"} if await client.find(CONFIGMAPS, "first", namespace) else set()
        return found | ({"second"} if await client.find(SECRETS, "second", namespace) else set())

    async def test(client: Client, _: str) -> None:
        await client.create(CONFIGMAPS, body(namespace, "old"))
        assert await asyncio.to_thread(start, f"{point}=crash") == failpoint.CRASHED
        assert await there(client) == left
        assert await asyncio.to_thread(start, "") == 0
        assert await there(client) == {"first", "second", "no old"}

    run(api_server, namespace, test)
