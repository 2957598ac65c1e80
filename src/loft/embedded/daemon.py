"""The daemon of one embedded cluster: runs its processes and loops, and renews its certificates.

Started by `run.start` as a process of its own; ends in order on SIGTERM. A lock makes sure there is one. When
it is killed, its processes die with it and its containers go on; the next one adopts them.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from loft.core.resource import CLUSTERROLEBINDINGS, KNOWN, NODES
from loft.embedded import addons, certificates, cleanup, images
from loft.embedded.addons import roles
from loft.embedded.components import processes
from loft.embedded.layout import Layout
from loft.embedded.prepare import prepare
from loft.embedded.registry import layout_of
from loft.kube.client import Client
from loft.kube.config import load_kubeconfig
from loft.kube.errors import ApiError
from loft.kube.keep import keep_running
from loft.supervise import logs
from loft.supervise.supervisor import Status, Supervisor

log = logging.getLogger(__name__)

RENEWAL_CHECK_S = 3600.0
NODE_READY_S = 90.0
NODE_POLL_S = 0.2
LOCK_S = 3.0
RUNS_ALREADY = 3

USERS_OF: Mapping[str, tuple[str, ...]] = {
    "ca": ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"),
    "front-proxy-ca": ("kube-apiserver",),
    "apiserver": ("kube-apiserver",),
    "apiserver-kubelet-client": ("kube-apiserver",),
    "front-proxy-client": ("kube-apiserver",),
    "kubelet": ("kubelet",),
    "kubelet-client": ("kubelet",),
    "controller-manager": ("kube-controller-manager",),
    "scheduler": ("kube-scheduler",),
    "kube-proxy": ("kube-proxy",),
}
"""Which processes must be started again when a certificate is new."""


class DaemonStatus(msgspec.Struct):
    """What `run.status` reads."""

    phase: str
    """starting, running, stopping, stopped or failed."""
    message: str = ""
    processes: list[Status] = []


def affected(made: list[str]) -> list[str]:
    """Return the processes that must be started again, the API server first since the others watch it."""
    names = {name for item in made for name in USERS_OF.get(item, ())}
    return sorted(names, key=lambda name: (name != "kube-apiserver", name))


class Daemon:
    """One cluster's processes and loops."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._status = DaemonStatus("starting", "preparing")
        self._supervisor: Supervisor | None = None

    async def run(self) -> None:
        """Run until SIGTERM. Raises: whatever a part of our own failed with."""
        loop = asyncio.get_running_loop()
        layout = self._layout
        self._say("starting", "making certificates and the network")
        await asyncio.to_thread(prepare, layout, datetime.now(UTC))
        supervisor = Supervisor(processes(layout), pid_directory=layout.run / "pids", on_change=self._changed)
        self._supervisor = supervisor
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        work = asyncio.create_task(self._work(supervisor))
        # A fault in our own part must not leave half a cluster behind that looks alive.
        work.add_done_callback(lambda _: supervisor.stop())
        try:
            await supervisor.run()
        finally:
            work.cancel()
            (outcome,) = await asyncio.gather(work, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome

    def _stop(self) -> None:
        self._say("stopping", "")
        if self._supervisor is not None:
            self._supervisor.stop()

    async def _work(self, supervisor: Supervisor) -> None:
        self._say("starting", "waiting for the components")
        await supervisor.ready()
        await keep_running("the administrator's rights", self._bind_administrator)
        while True:
            # Anew with each certificate of the administrator: a connection pool keeps the one it began with.
            async with Client(load_kubeconfig(str(self._layout.kubeconfig)), user_agent="loft-embedded") as client:
                if self._status.phase == "starting":
                    await self._bring_up(client)
                    self._say("running", "")
                await self._serve(client, supervisor)

    async def _bind_administrator(self) -> None:
        """Bind the administrator's group if it is not: in a new cluster nobody has any rights."""
        endpoint = load_kubeconfig(str(self._layout.kubeconfig))
        async with Client(endpoint, user_agent="loft-embedded") as client:
            try:
                await client.get(CLUSTERROLEBINDINGS, certificates.ADMIN_GROUP)
                return
            except ApiError as error:
                if error.status not in (403, 404):
                    raise
        endpoint = certificates.first_binding_endpoint(self._layout, datetime.now(UTC))
        async with Client(endpoint, user_agent="loft-embedded") as client:
            for manifest in roles.manifests():
                resource = KNOWN[manifest["apiVersion"], manifest["kind"]]
                await client.apply(resource, manifest, manager=addons.MANAGER)

    async def _bring_up(self, client: Client) -> None:
        layout = self._layout
        self._say("starting", "importing images (the first time this takes about 15 s)")
        # Before any pod of ours is made: a missing image would be looked for in a registry.
        await asyncio.to_thread(self._import_images)
        self._say("starting", "applying DNS, metrics and volumes")
        await keep_running("add-ons", lambda: addons.apply_addons(client, layout))
        self._say("starting", "waiting for the node")
        try:
            async with asyncio.timeout(NODE_READY_S):
                while not await self._is_node_ready(client):  # noqa: ASYNC110 - the kubelet tells the API server
                    await asyncio.sleep(NODE_POLL_S)
        except TimeoutError as error:
            raise RuntimeError(
                f"the node is not ready after {NODE_READY_S:.0f} s; see {layout.logs}/kubelet.log"
            ) from error

    async def _is_node_ready(self, client: Client) -> bool:
        try:
            node = await client.get(NODES, self._layout.node_name)
        except ApiError:
            return False
        conditions = node.get("status", {}).get("conditions", [])
        return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

    def _import_images(self) -> None:
        # Made here again when a source changed since the start was asked for; usually there is nothing to do.
        images.import_images(self._layout, images.ensure_images(log.info), log.info)

    async def _serve(self, client: Client, supervisor: Supervisor) -> None:
        """Run the loops until the administrator's certificate is new."""
        layout = self._layout
        async with asyncio.TaskGroup() as group:
            loops = group.create_task(keep_running("add-on loops", lambda: addons.run_addons(client, layout)))
            await self._renew(supervisor)
            loops.cancel()

    async def _renew(self, supervisor: Supervisor) -> None:
        while True:
            await asyncio.sleep(RENEWAL_CHECK_S)
            logs.bound(self._layout.logs / "daemon.log")
            made = certificates.ensure(self._layout, datetime.now(UTC))
            for name in affected(made):
                log.info("certificates renewed: starting %s again", name)
                await supervisor.restart(name)
            if {"admin", "ca"} & set(made):
                return

    def _say(self, phase: str, message: str) -> None:
        self._status.phase, self._status.message = phase, message
        self._write()

    def _changed(self, status: Status) -> None:
        log.info("%s: %s", status.name, status.state)
        self._write()

    def _write(self) -> None:
        if self._supervisor:
            self._status.processes = self._supervisor.status()
        try:
            write_status(self._layout, self._status)
        except OSError as error:
            # On a full disk, say. Nobody can read how the cluster is then, but it must not end for that.
            log.warning("the status cannot be written: %s", error)


def write_status(layout: Layout, status: DaemonStatus) -> None:
    """Replace the status file atomically."""
    path = layout.run / "status.json"
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(status))
    temporary.rename(path)


def _lock(layout: Layout) -> bool:
    """Take the cluster's lock for as long as this process lives; return whether we got it.

    Tried for a while: whoever asks whether we run holds it for an instant.
    """
    handle = os.open(layout.directory / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
            continue
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        return True


def main() -> int:
    """Run the daemon of the cluster named on the command line."""
    parser = argparse.ArgumentParser(prog="loft-embedded")
    parser.add_argument("--name", required=True)
    layout = layout_of(parser.parse_args().name)
    if layout is None:
        print("no such cluster", file=sys.stderr)
        return 1
    layout.run.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not _lock(layout):
        print("the daemon of this cluster runs already", file=sys.stderr)
        return RUNS_ALREADY
    try:
        cleanup.leave_session(layout)
        asyncio.run(Daemon(layout).run())
    except Exception as error:
        log.exception("the daemon failed")
        write_status(layout, DaemonStatus("failed", str(error) or type(error).__name__))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
