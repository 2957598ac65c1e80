"""Ends what the daemon's supervisor does not own: containers, their shims, mounts and cgroups of one cluster.

Containers outlive their daemon on purpose: when it was killed, the next one adopts them. They end with
`loft stop`, and they are known by the cgroups below which the kubelet put them and by the shim that names our
containerd. After a boot nothing of them is left but files, which `forget_runtime` removes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from loft.embedded.layout import Layout

CGROUPS = Path("/sys/fs/cgroup")
CONTAINER_LOGS = Path("/var/log/containers")
CNI_RESULTS = Path("/var/lib/cni/results")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

GRACE_S = 5.0
"""How long containers may take to end at `loft stop`; a cluster that stops is not a Pod that is deleted."""

KILL_S = 15.0


class CleanupError(Exception):
    """Something of the cluster does not go away; the message says what."""


def cgroup_roots(layout: Layout) -> list[Path]:
    """Return the cluster's directory in each cgroup hierarchy that has one (v1 controllers or v2)."""
    found = [path / layout.cgroup.strip("/") for path in _hierarchies()]
    return [path for path in found if path.is_dir()]


def _hierarchies() -> list[Path]:
    """Return the mounted hierarchies: /sys/fs/cgroup itself (v2), or what lies below it (v1)."""
    if (CGROUPS / "cgroup.procs").exists():
        return [CGROUPS]
    return sorted(path for path in CGROUPS.iterdir() if (path / "cgroup.procs").exists() and not path.is_symlink())


def make_cgroups(layout: Layout) -> None:
    """Make the cluster's directory in every hierarchy; the kubelet demands that its root exists."""
    for hierarchy in _hierarchies():
        path = hierarchy / layout.cgroup.strip("/")
        path.mkdir(parents=True, exist_ok=True)
        _copy_cpuset(path)


def leave_session(layout: Layout) -> None:
    """Move this process, and so its children, out of the login session it was started from.

    systemd ends a session's cgroup when it is told to (`KillUserProcesses`), and limits it. It looks at one
    hierarchy only: the unified one, or `systemd` of cgroup v1.
    """
    unified = (CGROUPS / "cgroup.procs").exists()
    hierarchy = CGROUPS if unified else CGROUPS / "systemd"
    if hierarchy.is_dir():
        place = hierarchy / layout.cgroup.strip("/") / "daemon"
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.procs").write_text(str(os.getpid()))


def _copy_cpuset(path: Path) -> None:
    """Give a new cpuset of cgroup v1 what its parent has: it is empty and takes no process otherwise."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        for folder in (path.parent, path):
            file = folder / name
            if file.exists() and not file.read_text().strip() and (folder.parent / name).exists():
                file.write_text((folder.parent / name).read_text())


def is_same_boot(layout: Layout) -> bool:
    """Tell whether the files in the run directory speak of processes of this boot."""
    try:
        return (layout.run / "boot").read_text() == BOOT_ID.read_text()
    except OSError:
        return False


def note_boot(layout: Layout) -> None:
    """Write down the boot whose processes the run directory speaks of."""
    (layout.run / "boot").write_text(BOOT_ID.read_text())


def end_containers(layout: Layout) -> None:
    """End every container and shim of the cluster: politely first, as their stop signal would do it.

    Raises: CleanupError when a process outlives SIGKILL.
    """
    # One without a handler never ends by SIGTERM: the kernel does not deliver it to a namespace's first process.
    polite = {pid for pid in _container_inits(layout) if _catches(pid, signal.SIGTERM)}
    for pid in polite:
        _kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while polite & set(_container_inits(layout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    deadline = time.monotonic() + KILL_S
    while found := _members(layout) | set(_shims(layout)):
        if time.monotonic() > deadline:
            raise CleanupError(f"processes {', '.join(map(str, sorted(found)))} do not end, not even when killed")
        for pid in found:
            _kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _catches(pid: int, number: int) -> bool:
    """Tell whether a process has a handler for a signal. Source: proc(5), SigCgt."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _members(layout: Layout) -> set[int]:
    pids: set[int] = set()
    for root in cgroup_roots(layout):
        for procs in root.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):  # the cgroup was removed while we looked
                pids |= {int(line) for line in procs.read_text().split()}
    return {pid for pid in pids if pid > 0} - {os.getpid()}


def _processes() -> dict[int, tuple[int, list[bytes]]]:
    """Return parent and command line of every process."""
    found = {}
    for proc in Path("/proc").iterdir():
        if proc.name.isdigit():
            with contextlib.suppress(OSError):
                words = (proc / "cmdline").read_bytes().split(b"\0")
                parent = (proc / "stat").read_text().rpartition(")")[2].split()[1]
                found[int(proc.name)] = (int(parent), words)
    return found


def _shims(layout: Layout) -> list[int]:
    wanted = str(layout.containerd_address).encode()
    return [
        pid
        for pid, (_, words) in _processes().items()
        if words[0].endswith(b"containerd-shim-runc-v2") and wanted in words
    ]


def _container_inits(layout: Layout) -> list[int]:
    """Return the first process of each container: the children of the shims (zombies have no command line)."""
    shims = set(_shims(layout))
    return [pid for pid, (parent, words) in _processes().items() if parent in shims and words != [b""]]


def unmount(layout: Layout) -> None:
    """Unmount everything below the cluster's directory, deepest first. Raises: CleanupError."""
    for _ in range(3):
        ours = sorted(_mounts(layout), key=len, reverse=True)
        if not ours:
            return
        for path in ours:
            subprocess.run(["umount", "-l", path], capture_output=True, check=False, timeout=30)
    if left := _mounts(layout):
        raise CleanupError(f"{left[0]} cannot be unmounted; end what uses it (see `fuser -vm {left[0]}`)")


def _mounts(layout: Layout) -> list[str]:
    prefix = f"{layout.directory}/"
    lines = Path("/proc/self/mounts").read_text().splitlines()
    # The kernel writes space, tab, newline and backslash as octal escapes.
    paths = (line.split()[1].encode().decode("unicode_escape") for line in lines)
    return [path for path in paths if path.startswith(prefix)]


def remove_cgroups(layout: Layout) -> None:
    """Remove the cluster's cgroup directories, which must be empty of processes."""
    for root in cgroup_roots(layout):
        folders = sorted((path for path in root.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
        for folder in [*folders, root, root.parent]:
            with contextlib.suppress(OSError):  # another cluster's is beside it, or a process is just ending
                folder.rmdir()


def forget_runtime(layout: Layout) -> None:
    """Remove what does not outlive the containers: sockets, network leases, state of containerd."""
    unmount(layout)
    shutil.rmtree(layout.run, ignore_errors=True)
    own = re.compile(re.escape(layout.name) + "-[0-9a-f]{64}-.*")
    for path in CNI_RESULTS.iterdir() if CNI_RESULTS.is_dir() else ():
        if own.fullmatch(path.name):
            path.unlink(missing_ok=True)


def remove_state(layout: Layout) -> None:
    """Remove everything durable of the cluster. Raises: CleanupError while something is mounted below it."""
    if left := _mounts(layout):
        raise CleanupError(f"{left[0]} is still mounted; nothing below {layout.directory} was removed")
    if CONTAINER_LOGS.is_dir():
        for path in CONTAINER_LOGS.iterdir():
            # The kubelet links each container's log here, whatever its own directories are.
            if path.is_symlink() and str(path.readlink()).startswith(f"{layout.directory}/"):
                path.unlink(missing_ok=True)
    if layout.directory.exists():
        shutil.rmtree(layout.directory)
