"""Start, stop, uninstall and look at an embedded cluster: what `loft start` and its kin call."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import msgspec

from loft.embedded import cleanup, images, network, registry
from loft.embedded.binaries import ensure as ensure_binaries
from loft.embedded.daemon import DaemonStatus
from loft.embedded.layout import Layout
from loft.embedded.preflight import check

Progress = Callable[[str], None]

START_S = 120.0
STOP_S = 60.0


class StartError(Exception):
    """The cluster could not be started; the message says why and what to do."""


def start(name: str, progress: Progress) -> Layout:
    """Bring the cluster up and return its layout; does nothing when it runs.

    Resumes a start that was interrupted at any point. Raises: StartError, PreflightError, BuildError.
    """
    layout = registry.layout_of(name)
    if layout is not None and is_running(layout) and status(layout).phase == "running":
        return layout
    check(name)
    ensure_binaries(progress)
    built = images.ensure_images(progress)
    layout = registry.layout_of(name, create=True)
    assert layout is not None, "create=True always gives a layout"
    if not is_running(layout):
        # A daemon that was killed leaves containers whose network and mounts the new one does not know.
        cleanup.kill_containers(layout)
        cleanup.forget_runtime(layout)
        _spawn(layout)
    _wait_running(layout, progress)
    images.import_images(layout, built, progress)
    return layout


def _spawn(layout: Layout) -> None:
    layout.logs.mkdir(parents=True, exist_ok=True)
    with (layout.logs / "daemon.log").open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "loft.embedded.daemon", "--name", layout.name],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )


def _wait_running(layout: Layout, progress: Progress) -> None:
    deadline = time.monotonic() + START_S
    said = ""
    while time.monotonic() < deadline:
        now = status(layout)
        if now.phase == "running":
            return
        if now.phase == "failed":
            raise StartError(
                f"cluster {layout.name} could not be started: {now.message} (see {layout.logs}/daemon.log)"
            )
        if now.message and now.message != said:
            said = now.message
            progress(f"{layout.name}: {said}")
        time.sleep(0.1)
    waiting = ", ".join(f"{item.name} is {item.state}" for item in status(layout).processes if item.state != "ready")
    raise StartError(
        f"cluster {layout.name} is not up after {START_S:.0f} s: {waiting or said} (logs in {layout.logs})"
    )


def is_running(layout: Layout) -> bool:
    """Return whether the cluster's daemon holds its lock."""
    try:
        handle = os.open(layout.directory / "daemon.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def status(layout: Layout) -> DaemonStatus:
    """Return what the daemon says of itself; phase "stopped" when there is none."""
    try:
        return msgspec.json.decode((layout.run / "status.json").read_bytes(), type=DaemonStatus)
    except (OSError, msgspec.DecodeError):
        return DaemonStatus("starting" if is_running(layout) else "stopped")


def stop(layout: Layout) -> None:
    """Stop everything of the cluster and keep its data; does nothing when it is stopped.

    Raises: StartError when the daemon does not end in time.
    """
    if is_running(layout):
        pid = int((layout.directory / "daemon.lock").read_text() or 0)
        if pid:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while is_running(layout):
            if time.monotonic() > deadline:
                raise StartError(f"the daemon of {layout.name} (pid {pid}) does not end; see {layout.logs}/daemon.log")
            time.sleep(0.1)
    cleanup.kill_containers(layout)
    cleanup.forget_runtime(layout)


def uninstall(layout: Layout) -> None:
    """Remove the cluster: processes, containers, mounts, devices, rules, cgroups and data."""
    stop(layout)
    network.remove(layout)
    cleanup.remove_cgroups(layout)
    cleanup.remove_state(layout)
    registry.forget(layout.name)
