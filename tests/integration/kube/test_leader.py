"""Leader election among replicas at a real API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from integration.api_server import ApiServer
from loft.core.resource import LEASES, NAMESPACES
from loft.kube.client import Client
from loft.kube.errors import Unavailable
from loft.kube.leader import Leader

# Servers are killed here, also in the middle of a TLS handshake: asyncio then leaves the socket to the collector, and
# which test is running when it is found is chance.
pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

# Short enough for a test; the order retry < deadline < lease is what counts.
TIMES: dict[str, Any] = {"lease_s": 2.0, "renew_deadline_s": 1.2, "retry_s": 0.2}


class Replica:
    """One process of several; `leading` counts how many lead at the moment, over all replicas."""

    leading: list[str] = []

    def __init__(self, client: Client, namespace: str, identity: str) -> None:
        self.identity = identity
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.leader = Leader(client, namespace, "the-lease", identity, **TIMES)
        self.task = asyncio.create_task(self.leader.run(self._lead))

    async def _lead(self) -> None:
        Replica.leading.append(self.identity)
        assert Replica.leading == [self.identity], "two lead at a time"
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            Replica.leading.remove(self.identity)
            self.ended.set()

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


def run(server: ApiServer, name: str, test: Callable[[Client, str], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), Client(server.endpoint) as client:
            await client.create(NAMESPACES, {"metadata": {"name": name}})
            await test(client, name)

    Replica.leading = []
    asyncio.run(main())


def test_a_leader_that_stops_hands_over_at_once(api_server: ApiServer) -> None:
    async def test(client: Client, namespace: str) -> None:
        one = Replica(client, namespace, "one")
        await one.began.wait()
        two = Replica(client, namespace, "two")
        await asyncio.sleep(1.0)
        assert not two.began.is_set()
        began = asyncio.get_running_loop().time()
        await one.stop()
        await two.began.wait()
        # Given up, not run out: less than the Lease's length.
        assert asyncio.get_running_loop().time() - began < 1.0
        lease = await client.get(LEASES, "the-lease", namespace)
        assert lease["spec"]["holderIdentity"] == "two"
        assert lease["spec"]["leaseTransitions"] == 1
        await two.stop()

    run(api_server, "hand-over", test)


def test_a_leader_that_dies_is_followed_when_its_lease_has_run_out(api_server: ApiServer) -> None:
    async def test(client: Client, namespace: str) -> None:
        body = {
            "metadata": {"namespace": namespace, "name": "the-lease"},
            "spec": {
                "holderIdentity": "dead",
                # Far in the future: clocks of others must not matter.
                "renewTime": "2099-01-01T00:00:00.000000Z",
                "leaseDurationSeconds": 2,
            },
        }
        await client.create(LEASES, body)
        began = asyncio.get_running_loop().time()
        two = Replica(client, namespace, "two")
        await two.began.wait()
        assert asyncio.get_running_loop().time() - began >= 2.0
        await two.stop()

    run(api_server, "run-out", test)


def test_a_leader_that_cannot_renew_stops_before_another_may_begin(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(client: Client, namespace: str) -> None:
        async with Client(api_server.endpoint) as cut:
            one = Replica(cut, namespace, "one")
            await one.began.wait()

            async def unreachable(*_: object, **__: object) -> Any:
                raise Unavailable(0, "Unreachable", "cut off")

            two = Replica(client, namespace, "two")
            # Replica.leading asserts in both that they never lead at the same time.
            monkeypatch.setattr(cut, "raw", unreachable)
            await two.began.wait()
            assert one.ended.is_set()
            monkeypatch.undo()
            await two.stop()
            one.began.clear()
            await one.began.wait()
            await one.stop()

    run(api_server, "cut-off", test)


def test_it_ends_with_the_work(api_server: ApiServer) -> None:
    async def test(client: Client, namespace: str) -> None:
        async def fails() -> None:
            raise RuntimeError("the work failed")

        async def returns() -> None:
            return

        with pytest.raises(RuntimeError, match="the work failed"):
            await Leader(client, namespace, "the-lease", "one", **TIMES).run(fails)
        await Leader(client, namespace, "the-lease", "two", **TIMES).run(returns)
        assert (await client.get(LEASES, "the-lease", namespace))["spec"]["holderIdentity"] == ""

    run(api_server, "ends", test)
