"""Starts etcd in this pod when it may, and tends the membership while this replica leads.

Replicas tell each other by an annotation of their own pods that they have no data; the rest etcd knows itself. So
whatever dies in between, the next look finds out where it was. Decided is in `members.py`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import aiohttp
import msgspec

from loft.core.resource import PODS
from loft.hypervisor import certs, members, problems
from loft.hypervisor.certificates import Place
from loft.hypervisor.config import Config
from loft.hypervisor.control_plane_files import store_configuration
from loft.hypervisor.core import objects
from loft.hypervisor.members import Add, Change, Join, Lost, Member, Promote, Remove, Wait
from loft.hypervisor.replica import Places
from loft.kube.client import Client
from loft.kube.errors import ApiError

log = logging.getLogger(__name__)

ANNOTATION = "loft.sh/store"
"""On a replica's pod: `empty` while it has no data and is not yet taken in."""
EMPTY = "empty"
LOOK_S = 0.5
TEND_S = 2.0
CALL_S = 10.0
LEARNS = "can only promote a learner member which is in sync"


class StoreError(Exception):
    """Etcd refused or did not answer; the message is its own."""


class Beginning:
    """The start of etcd in one pod."""

    def __init__(self, host: Client, config: Config, place: Place, places: Places) -> None:
        self._host, self._config, self._place, self._places = host, config, place, places
        self._wanted = members.peers(config)
        self._noted = ""
        self._joins = False
        self.missing = ""
        """What is waited for."""

    async def run(self, served: str) -> None:
        """Write etcd's file and let it and the API server start; returns when there is data, or will be at once.

        Args:
            served: the newest version of Kubernetes that has served this virtual cluster, "" for a new one.
        """
        if not self.has_data() and self._is_lost_without_data(served):
            await self._wait_for_data()
        elif self._config.replicas > 1:
            await self._say(is_empty=False)
        self._write(",".join(f"{name}={url}" for name, url in self._wanted.items()), is_new=True)
        certs.let_start(self._places.pki, "etcd", "kube-apiserver")

    def _is_lost_without_data(self, served: str) -> bool:
        return bool(served) and (self._config.replicas > 1 or self._config.store_stays)

    async def _wait_for_data(self) -> None:
        """Return when others have taken this one in and it has begun, or when somebody has restored its store."""
        # Before it votes an API server could read nothing, and would end.
        while not self.has_data() or (self._joins and not await self._votes()):
            try:
                if not self.has_data():
                    await self._look()
            except ApiError as error:
                log.warning("the store's beginning: %s", error)
            await asyncio.sleep(LOOK_S)
        await self._say(is_empty=False)
        self.missing = ""

    async def _look(self) -> None:
        verdict = members.beginning(
            self._place.pod_name, self._wanted, await self._ask_others(), await self._empty_ones()
        )
        # Taken back before it begins: who has begun must not be taken for one that has lost what it had.
        await self._say(is_empty=not isinstance(verdict, Join))
        match verdict:
            case Join(initial_cluster):
                self._write(initial_cluster, is_new=False)
                certs.let_start(self._places.pki, "etcd")
                self._joins, self.missing = True, "joining the store's cluster"
            case Wait(why):
                self.missing = why
            case Lost(problem):
                self.missing = problem
                await self._note(problem)

    def has_data(self) -> bool:
        """Whether there is a store, or one that was restored and is taken at etcd's next start."""
        found = (self._places.store / folder for folder in ("etcd/member/wal", "restored/member/wal"))
        return any(any(folder.glob("*.wal")) for folder in found if folder.is_dir())

    def _write(self, initial_cluster: str, *, is_new: bool) -> None:
        limit = self._config.store_limit
        certs.write_files(
            self._places.pki, store_configuration(self._place, initial_cluster, limit_bytes=limit, is_new=is_new)
        )

    async def _votes(self) -> bool:
        mine = self._wanted[self._place.pod_name]
        try:
            known = await ask_own(self._places.store_socket)
        except StoreError as error:
            log.debug("members, asked here: %s", error)
            return False
        return any(mine in member.peer_urls and not member.is_learner for member in known)

    async def _say(self, *, is_empty: bool) -> None:
        await say(self._host, (self._config.namespace, self._place.pod_name), is_empty=is_empty)

    async def _note(self, problem: str) -> None:
        if self._noted != problem:
            log.error("%s", problem)
            await problems.note(self._host, self._config, problem)
            self._noted = problem

    async def _empty_ones(self) -> frozenset[str]:
        return await empty_pods(self._host, self._config) | {self._place.pod_name}

    async def _ask_others(self) -> tuple[Member, ...] | None:
        """Return what the first other replica that answers says."""
        for name, url in self._wanted.items():
            if name != self._place.pod_name:
                try:
                    return await ask_peer(url, self._places.pki / "etcd")
                except StoreError as error:
                    log.debug("members, asked at %s: %s", name, error)
        return None


async def say(host: Client, pod: tuple[str, str], *, is_empty: bool) -> None:
    """Tell the other replicas whether a pod (namespace, name) waits to be taken in. Raises: ApiError."""
    found = await host.get(PODS, pod[1], pod[0])
    if (objects.annotations(found).get(ANNOTATION) == EMPTY) != is_empty:
        patch = {"metadata": {"annotations": {ANNOTATION: EMPTY if is_empty else None}}}
        await host.patch(PODS, pod[1], patch, pod[0])


async def empty_pods(host: Client, config: Config) -> frozenset[str]:
    """Return the pods of replicas that have said that they have no data. Raises: ApiError."""
    selector = f"app.kubernetes.io/name=virtualcluster,app.kubernetes.io/instance={config.name}"
    found = await host.list(PODS, config.namespace, label_selector=selector)
    return frozenset(objects.name(item) for item in found.items if objects.annotations(item).get(ANNOTATION) == EMPTY)


async def ask_peer(url: str, folder: Path) -> tuple[Member, ...]:
    """Ask a member at its peers' port, as a member; answers also without a majority. Raises: StoreError."""
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.load_cert_chain(folder / "peer.crt", folder / "peer.key")
    connector = aiohttp.TCPConnector(ssl=context)
    return await _asked(connector, "GET", f"{url}/members", None)


async def ask_own(socket: Path) -> tuple[Member, ...]:
    """Ask this replica's etcd, which answers what a majority knows. Raises: StoreError."""
    return await _asked(aiohttp.UnixConnector(str(socket)), "POST", "http://etcd/v3/cluster/member/list", {})


async def perform(socket: Path, change: Change) -> bool:
    """Make a change; False when a learner has not caught up yet. Raises: StoreError."""
    verb, body = _call_for(change)
    try:
        await _asked(aiohttp.UnixConnector(str(socket)), "POST", f"http://etcd/v3/cluster/member/{verb}", body)
    except StoreError as error:
        if isinstance(change, Promote) and LEARNS in str(error):
            return False
        raise
    return True


async def tend(host: Client, config: Config, socket: Path, *, changed: Callable[[Change], None]) -> None:
    """Take in and let go members until cancelled; `changed` is told what was done."""
    wanted = members.peers(config)
    while True:
        try:
            # In this order, see members.plan.
            known = await ask_own(socket)
            change = members.plan(wanted, known, await empty_pods(host, config))
            if change is not None and await perform(socket, change):
                changed(change)
                continue
        except (StoreError, ApiError) as error:
            log.warning("the store's members: %s", error)
        await asyncio.sleep(TEND_S)


def _call_for(change: Change) -> tuple[str, dict[str, object]]:
    match change:
        case Add(url):
            return "add", {"peerURLs": [url], "isLearner": True}
        case Promote(number):
            return "promote", {"ID": str(number)}
        case Remove(number):
            return "remove", {"ID": str(number)}


async def _asked(
    connector: aiohttp.BaseConnector, method: str, url: str, body: dict[str, object] | None
) -> tuple[Member, ...]:
    limit = aiohttp.ClientTimeout(total=CALL_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit) as session,
            session.request(method, url, json=body) as answer,
        ):
            content = await answer.read()
            if answer.status != 200:
                raise StoreError(_message(content))
            return members.parse(content)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise StoreError(str(error) or type(error).__name__) from error


def _message(content: bytes) -> str:
    try:
        return str(msgspec.json.decode(content)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return content[:300].decode(errors="replace")
