"""The daemon of one embedded cluster: makes its network and files, runs its processes, renews its certificates.

Started by `run.start` as a process of its own; ends in order on SIGTERM. A lock makes sure there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import fcntl
import logging
import os
import secrets
import signal
import sys
from datetime import UTC, datetime

import msgspec

from loft.embedded import addons, certificates, cleanup, configuration, images, network
from loft.embedded.components import processes
from loft.embedded.layout import Layout
from loft.embedded.registry import layout_of
from loft.kube.client import Client
from loft.kube.config import load_kubeconfig
from loft.kube.keep import keep_running
from loft.supervise.supervisor import Status, Supervisor

log = logging.getLogger(__name__)

RENEWAL_CHECK_S = 3600.0

USERS_OF = {
    "apiserver": "kube-apiserver",
    "apiserver-kubelet-client": "kube-apiserver",
    "front-proxy-client": "kube-apiserver",
    "kubelet": "kubelet",
    "kubelet-client": "kubelet",
    "controller-manager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
    "kube-proxy": "kube-proxy",
}
"""Which process must be started again when a certificate is new."""


class DaemonStatus(msgspec.Struct):
    """What `run.status` reads."""

    phase: str
    """starting, running or failed."""
    message: str = ""
    processes: list[Status] = []


class Daemon:
    """One cluster's processes and loops."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._status = DaemonStatus("starting", "preparing")
        self._supervisor: Supervisor | None = None

    async def run(self) -> None:
        """Run until SIGTERM."""
        loop = asyncio.get_running_loop()
        layout = self._layout
        self._say("starting", "making certificates and the network")
        prepare(layout)
        supervisor = Supervisor(processes(layout), pid_directory=layout.run / "pids", on_change=self._changed)
        self._supervisor = supervisor
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.stop)
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

    async def _work(self, supervisor: Supervisor) -> None:
        layout = self._layout
        self._say("starting", "waiting for the API server")
        await supervisor.ready()
        async with Client(
            load_kubeconfig(str(layout.pki / "super-admin.kubeconfig")), user_agent="loft-embedded"
        ) as client:
            self._say("starting", "importing images (the first time this takes about 15 s)")
            # Before any pod of ours is made: a missing image would be looked for in a registry.
            await asyncio.to_thread(self._import_images)
            await keep_running("add-ons", lambda: addons.apply_addons(client, layout))
            self._say("running", "")
            async with asyncio.TaskGroup() as group:
                group.create_task(keep_running("add-on loops", lambda: addons.run_addons(client, layout)))
                group.create_task(keep_running("certificates", lambda: self._renew(supervisor)))

    def _import_images(self) -> None:
        # Made here again when a source changed since the start was asked for; usually there is nothing to do.
        images.import_images(self._layout, images.ensure_images(log.info), log.info)

    async def _renew(self, supervisor: Supervisor) -> None:
        while True:
            await asyncio.sleep(RENEWAL_CHECK_S)
            made = certificates.ensure(self._layout, datetime.now(UTC))
            for name in sorted({USERS_OF[item] for item in made if item in USERS_OF}):
                log.info("certificates renewed: starting %s again", name)
                await supervisor.restart(name)

    def _say(self, phase: str, message: str) -> None:
        self._status.phase, self._status.message = phase, message
        self._write()

    def _changed(self, status: Status) -> None:
        log.info("%s: %s", status.name, status.state)
        self._write()

    def _write(self) -> None:
        if self._supervisor:
            self._status.processes = self._supervisor.status()
        write_status(self._layout, self._status)


def write_status(layout: Layout, status: DaemonStatus) -> None:
    """Replace the status file atomically."""
    path = layout.run / "status.json"
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(status))
    temporary.rename(path)


def prepare(layout: Layout) -> None:
    """Make directories, certificates, configuration, cgroups and the network; may be repeated."""
    for folder in (layout.config / "cni", layout.logs, layout.pod_logs, layout.run, layout.storage):
        folder.mkdir(parents=True, exist_ok=True)
    layout.directory.chmod(0o711)
    layout.run.chmod(0o700)
    certificates.ensure(layout, datetime.now(UTC))
    for path, text in configuration.files(layout, _encryption_key(layout)).items():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)
    (layout.config / "resolv.conf").write_text("")
    cleanup.make_cgroups(layout)
    network.apply(layout)


def _encryption_key(layout: Layout) -> str:
    path = layout.pki / "encryption.key"
    if not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(base64.b64encode(secrets.token_bytes(32)).decode())
    return path.read_text()


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
    lock = os.open(layout.directory / "daemon.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("the daemon of this cluster runs already", file=sys.stderr)
        return 3
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    try:
        asyncio.run(Daemon(layout).run())
    except Exception as error:
        log.exception("the daemon failed")
        write_status(layout, DaemonStatus("failed", f"{error}"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
