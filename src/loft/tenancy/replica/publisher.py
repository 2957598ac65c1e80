"""The centre's side: tells every connected agent what changed in the directory, and counts who is connected."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable

import msgspec

from loft.identity import replica as identity
from loft.identity.directory import Directory
from loft.identity.replica import Replica, replica_of
from loft.tenancy.replica.wire import HEARTBEAT_S, Heartbeat, Hello, Message, Snapshot, difference, encode

log = logging.getLogger(__name__)

QUEUE_MAX = 256
"""Messages that wait for one agent; a slower one is cut off and begins anew with a snapshot."""
GATHER_S = 0.02
"""Changes within so short a time go out together."""

Connected = Callable[[str, bool], None]
"""(cluster, is connected) -> None; called when the first connection comes and when the last one goes."""


class _Subscriber:
    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.queue: asyncio.Queue[Message | None] = asyncio.Queue(QUEUE_MAX)

    def put(self, message: Message | None) -> None:
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            log.warning("agent of cluster %s does not read what it is told; cutting it off", self.cluster)
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(None)


class Publisher:
    """Holds the state that agents should have."""

    def __init__(
        self, directory: Directory, *, signing_public_key: bytes, lease_s: int, connected: Connected | None = None
    ) -> None:
        """`directory` is changed in place by its owner, who calls `changed()` afterwards."""
        self._directory = directory
        self._signing_public_key = signing_public_key.decode()
        self._lease_s = lease_s
        self._connected = connected or (lambda _cluster, _is_connected: None)
        self._replica = self._read()
        self._hosts: dict[str, tuple[str, ...]] = {}
        self._subscribers: set[_Subscriber] = set()
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Tell agents soon what is different in the directory."""
        self._changed.set()

    def set_hosts(self, cluster: str, hosts: tuple[str, ...]) -> None:
        """Say under which names people reach the agent of a cluster."""
        if self._hosts.get(cluster) == hosts:
            return
        self._hosts[cluster] = hosts
        for subscriber in self._subscribers:
            if subscriber.cluster == cluster:
                subscriber.put(self._hello(cluster))

    def hosts(self, cluster: str) -> tuple[str, ...]:
        """Return the names under which people reach the agent of a cluster."""
        return self._hosts.get(cluster, ())

    def disconnect(self, cluster: str) -> None:
        """End the connections of a cluster's agent, whose token counts no more."""
        for subscriber in self._subscribers:
            if subscriber.cluster == cluster:
                subscriber.put(None)

    def connected(self) -> set[str]:
        """Return the clusters whose agents are connected to this process."""
        return {subscriber.cluster for subscriber in self._subscribers}

    async def run(self) -> None:
        """Follow the directory, for ever."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(GATHER_S)
            self._changed.clear()
            new = self._read()
            message = difference(self._replica, new)
            self._replica = new
            if message is not None:
                for subscriber in self._subscribers:
                    subscriber.put(message)

    async def stream(self, cluster: str) -> AsyncIterator[bytes]:
        """Yield the lines for one agent until it goes."""
        subscriber = _Subscriber(cluster)
        # No await between reading the state and subscribing: nothing is missed, nothing told twice.
        first: list[Message] = [self._hello(cluster), Snapshot(replica=self._replica)]
        was_connected = cluster in self.connected()
        self._subscribers.add(subscriber)
        if not was_connected:
            self._connected(cluster, True)
        try:
            for message in first:
                yield encode(message)
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        told = await subscriber.queue.get()
                except TimeoutError:
                    told = Heartbeat(revision=self._replica.revision)
                if told is None:
                    return
                yield encode(told)
        finally:
            self._subscribers.discard(subscriber)
            if cluster not in self.connected():
                self._connected(cluster, False)

    def _hello(self, cluster: str) -> Hello:
        return Hello(cluster=cluster, hosts=self._hosts.get(cluster, ()))

    def _read(self) -> Replica:
        made = replica_of(
            self._directory, signing_public_key=self._signing_public_key, lease_s=self._lease_s, revision=""
        )
        revision = hashlib.sha256(identity.encode(made)).hexdigest()[:32]
        return msgspec.structs.replace(made, revision=revision)
