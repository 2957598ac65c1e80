"""The agent's side: dials out to the centre, keeps a directory current, lives on its copy while the centre is away."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec

from loft.core.backoff import Backoff
from loft.identity.directory import Directory
from loft.identity.replica import Replica, directory_of
from loft.kube.lines import Lines, LineTooLong
from loft.tenancy.replica import wire
from loft.tenancy.replica.sealed import Restored, why_not_usable

log = logging.getLogger(__name__)

RETRY = Backoff(base_s=0.5, cap_s=10.0)
CONNECT_S = 10.0
PATH = "/agent/v1/replica"


class Centre(msgspec.Struct, frozen=True, kw_only=True):
    """Where the centre is, and how both know each other."""

    url: str
    token: str
    cluster: str
    ca: bytes = b""
    """PEM; the only authority that is believed. Empty: those of the operating system."""

    def __repr__(self) -> str:
        return f"Centre(url={self.url!r}, cluster={self.cluster!r})"

    def tls(self) -> ssl.SSLContext:
        """Return how its certificate is verified. Raises: ssl.SSLError when the authority cannot be read."""
        context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


class CentreError(Exception):
    """The centre cannot be reached, or refuses; the message says which."""


class State(msgspec.Struct, kw_only=True):
    """What the agent knows at the moment."""

    replica: Replica
    heard: datetime
    directory: Directory


class Follower:
    """Keeps a State current; `changed(state)` is called when the directory is replaced or the replica changes."""

    def __init__(
        self,
        centre: Centre,
        *,
        changed: Callable[[State], None],
        told: Callable[[wire.Hello], None] = lambda _: None,
        version: str = "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._centre = centre
        self._changed = changed
        self._told = told
        self._version = version
        self._clock = clock
        self.state: State | None = None
        self.is_connected = False

    def restore(self, restored: Restored) -> bool:
        """Go on with a stored replica while its lease lasts; False (and a line in the log) when it does not."""
        if why := why_not_usable(restored, self._clock()):
            log.warning("the stored replica of users and keys is not used: %s", why)
            return False
        self._replace(restored.replica, restored.heard)
        return True

    async def run(self) -> None:
        """Stay connected, for ever."""
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._follow()
            except (CentreError, aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
                lived_s = asyncio.get_running_loop().time() - began
                failures = 1 if lived_s > wire.HEARTBEAT_S else failures + 1
                wait_s = RETRY.delay_s(failures, random.random())
                log.warning(
                    "no connection to the centre %s: %s; again in %.1f s",
                    self._centre.url,
                    str(error) or type(error).__name__,
                    wait_s,
                )
                await asyncio.sleep(wait_s)
            finally:
                self.is_connected = False

    async def _follow(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=wire.SILENCE_S_MAX)
        headers = {"Authorization": f"Bearer {self._centre.token}", "User-Agent": f"loft-agent/{self._version}"}
        connector = aiohttp.TCPConnector(ssl=self._centre.tls())
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session,
            session.get(self._centre.url.rstrip("/") + PATH, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                detail = (await answer.content.read(500)).decode("utf-8", "replace").strip()
                raise CentreError(f"it answers {answer.status}: {detail}")
            lines = Lines(wire.LINE_BYTES_MAX)
            async for piece in answer.content.iter_any():
                try:
                    complete = lines.feed(piece)
                except LineTooLong as error:
                    raise CentreError(f"it sends a line without end: {error}") from error
                for line in complete:
                    self._take(wire.decode(line))
        raise CentreError("it closed the connection")

    def _take(self, message: wire.Message) -> None:
        now = self._clock()
        if isinstance(message, wire.Hello):
            if message.cluster != self._centre.cluster:
                raise CentreError(f"it takes this cluster for {message.cluster!r}, not {self._centre.cluster!r}")
            self._told(message)
            return
        if isinstance(message, wire.Snapshot):
            self.is_connected = True
            self._replace(message.replica, now)
            return
        state = self.state
        if state is None or not self.is_connected:
            raise CentreError("it tells of changes before the whole")
        state.heard = now
        state.directory.valid_until = now + timedelta(seconds=state.replica.lease_s)
        if isinstance(message, wire.Delta):
            wire.change_directory(state.directory, message)
            state.replica = wire.applied(state.replica, message)
            self._changed(state)
        elif message.revision != state.replica.revision:
            raise CentreError("it is at another revision than we are")

    def _replace(self, replica: Replica, heard: datetime) -> None:
        directory = directory_of(replica, heard)
        if self.state is not None:
            directory.take_over_last_used(self.state.directory)
        self.state = State(replica=replica, heard=heard, directory=directory)
        self._changed(self.state)
