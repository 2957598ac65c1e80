"""Start, stop, uninstall and look at an embedded cluster: what `loft start` and its kin call."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from loft.embedded import cleanup, images, network, platform, registry
from loft.embedded.binaries import ensure as ensure_binaries
from loft.embedded.binaries import find_kubernetes
from loft.embedded.daemon import DaemonStatus
from loft.embedded.layout import Layout
from loft.embedded.lock import locked
from loft.embedded.machine import check
from loft.supervise import logs

Progress = Callable[[str], None]

START_S = 180.0
STOP_S = 90.0
FIRST_SIGN_S = 15.0
"""How long a new daemon may take until it holds its lock."""

DISK_FULL_BYTES = 64 * 1024**2
"""With less than this, something has failed for want of space before."""

POLL_S = 0.05


class StartError(Exception):
    """The cluster could not be started or stopped; the message says why and what to do."""


def start(name: str, progress: Progress) -> Layout:
    """Bring the cluster up and return its layout; does nothing when it runs.

    Resumes a start that was interrupted at any point, and adopts the containers of a daemon that was killed.
    Raises: StartError, PreflightError, BuildError, ImageError, CleanupError, RegistryError, BadName.
    """
    layout = registry.layout_of(name)
    if layout is not None and status(layout).phase == "running":
        return layout
    check(name)
    ensure_binaries(progress)
    built = images.ensure_images(progress)
    layout = registry.layout_of(name, create=True)
    assert layout is not None, "create=True always gives a layout"
    with locked(_lock(layout), lambda: progress("another command is at work on this cluster; waiting for it")):
        if not is_running(layout):
            if not cleanup.is_same_boot(layout):
                _clear(layout)
            (layout.run / "status.json").unlink(missing_ok=True)
            _spawn(layout)
        _wait_running(layout, progress)
        images.import_images(layout, built, progress)
    return layout


def add_versions(layout: Layout, versions: Sequence[str], progress: Progress) -> None:
    """Make other versions of Kubernetes usable by virtual clusters of a running cluster; built at the first time.

    Raises: BuildError, ImageError.
    """
    wanted = [images.kubernetes_image(version) for version in versions]
    ensure_binaries(progress, tuple(find_kubernetes(version) for version in versions))
    images.import_images(layout, images.ensure_images(progress, wanted), progress)


def stop(layout: Layout) -> None:
    """Stop everything of the cluster and keep its data; does nothing when it is stopped.

    Raises: StartError when the daemon does not end in time, CleanupError when something of it does not go.
    """
    with locked(_lock(layout)):
        _end_daemon(layout)
        _clear(layout)


def uninstall(layout: Layout) -> None:
    """Remove the cluster: processes, containers, mounts, devices, rules, cgroups and data. Raises: as `stop`."""
    with locked(_lock(layout)):
        _end_daemon(layout)
        _clear(layout)
        network.remove(layout)
        cleanup.remove_cgroups(layout)
        cleanup.remove_state(layout)
        if layout.is_main:
            platform.known_hosts_path(layout).unlink(missing_ok=True)
        _lock(layout).unlink()
        registry.forget(layout.name)


def is_running(layout: Layout) -> bool:
    """Return whether the cluster's daemon holds its lock."""
    try:
        handle = os.open(layout.directory / "daemon.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def status(layout: Layout) -> DaemonStatus:
    """Return what the daemon says of itself; without one: phase "failed" if it told why, else "stopped"."""
    alive = is_running(layout)
    try:
        said = msgspec.json.decode((layout.run / "status.json").read_bytes(), type=DaemonStatus)
    except (OSError, msgspec.DecodeError):
        return DaemonStatus("starting" if alive else "stopped")
    if alive or said.phase == "failed":
        return said
    return DaemonStatus("stopped")


def _lock(layout: Layout) -> Path:
    """Return the lock that lets one command at a time start, stop or remove the cluster.

    It lies beside the cluster's directory, which `uninstall` removes.
    """
    return layout.directory.parent / f".{layout.name}.lock"


def _clear(layout: Layout) -> None:
    """Remove what an ended cluster left running or mounted, so that the next start begins clean."""
    cleanup.end_containers(layout)
    network.forget_port_mappings(layout)
    cleanup.forget_runtime(layout)


def _spawn(layout: Layout) -> None:
    """Start the daemon, detached: no child of ours, no terminal, no session."""
    layout.logs.mkdir(parents=True, exist_ok=True)
    logs.bound(layout.logs / "daemon.log")
    with (layout.logs / "daemon.log").open("ab") as output:
        subprocess.run(
            ["setsid", "--fork", sys.executable, "-m", "loft.embedded.daemon", "--name", layout.name],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            check=True,
            timeout=30,
        )


def _wait_running(layout: Layout, progress: Progress) -> None:
    began = time.monotonic()
    said, seen = "", False
    while time.monotonic() < began + START_S:
        now = status(layout)
        if now.phase == "running":
            return
        seen = seen or is_running(layout)
        gone = not is_running(layout) and (seen or time.monotonic() > began + FIRST_SIGN_S)
        if now.phase == "failed" or gone:
            raise StartError(_why_failed(layout, now))
        if full := disk_full(layout):
            raise StartError(f"cluster {layout.name} could not be started: {full}")
        if now.message and now.message != said:
            said = now.message
            progress(f"{layout.name}: {said}")
        time.sleep(POLL_S)
    bad = ", ".join(f"{item.name} is {item.state}" for item in status(layout).processes if item.state != "ready")
    raise StartError(f"cluster {layout.name} is not up after {START_S:.0f} s: {bad or said} (logs in {layout.logs})")


def _why_failed(layout: Layout, now: DaemonStatus) -> str:
    # What the processes say then is cut off, or about something else.
    if full := disk_full(layout):
        return f"cluster {layout.name} could not be started: {full}"
    last = logs.last_lines(layout.logs / "daemon.log", 1)
    reason = now.message or (last[0] if last else "it ended without a word")
    return f"cluster {layout.name} could not be started: {reason} (see {layout.logs}/daemon.log)"


def disk_full(layout: Layout) -> str:
    """Return that the disk of the cluster is full and what to do, "" when it is not."""
    free = shutil.disk_usage(layout.directory).free
    if free >= DISK_FULL_BYTES:
        return ""
    return (
        f"the disk of {layout.directory} is full ({free >> 20} MiB free); free some space and start again, "
        "which goes on where this ended"
    )


def _end_daemon(layout: Layout) -> None:
    if not is_running(layout):
        return
    text = (layout.directory / "daemon.lock").read_text().strip()
    if text.isdigit():
        os.kill(int(text), signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while is_running(layout):
        if time.monotonic() > deadline:
            raise StartError(f"the daemon of {layout.name} (pid {text}) does not end; see {layout.logs}/daemon.log")
        time.sleep(POLL_S)
