"""Ends what the daemon's supervisor does not own: containers, their shims, mounts and cgroups of one cluster."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from loft.embedded.layout import Layout

CGROUPS = Path("/sys/fs/cgroup")


def cgroup_roots(layout: Layout) -> list[Path]:
    """Return the cluster's directory in each cgroup hierarchy that has one (v1 controllers or v2)."""
    candidates = [CGROUPS, *[path for path in CGROUPS.iterdir() if path.is_dir()]] if CGROUPS.exists() else []
    found = [path / layout.cgroup.strip("/") for path in candidates]
    return [path for path in found if path.is_dir()]


def make_cgroups(layout: Layout) -> None:
    """Make the cluster's directory in every hierarchy; the kubelet demands that its root exists."""
    for controller in CGROUPS.iterdir():
        if (controller / "cgroup.procs").exists() and controller.is_dir():
            path = controller / layout.cgroup.strip("/")
            path.mkdir(parents=True, exist_ok=True)
            _copy_cpuset(path)


def _copy_cpuset(path: Path) -> None:
    """A new cpuset of cgroup v1 is empty and takes no process until it is given what its parent has."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        for folder in (path.parent, path):
            file = folder / name
            if file.exists() and not file.read_text().strip():
                file.write_text((folder.parent / name).read_text())


def kill_containers(layout: Layout) -> None:
    """End every process in the cluster's cgroups and every shim of its containerd; repeated until none is left."""
    for _ in range(50):
        found = _members(layout) | _shims(layout)
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)


def _members(layout: Layout) -> set[int]:
    pids: set[int] = set()
    for root in cgroup_roots(layout):
        for procs in root.rglob("cgroup.procs"):
            try:
                pids |= {int(line) for line in procs.read_text().split()}
            except OSError:
                continue
    return pids - {os.getpid()}


def _shims(layout: Layout) -> set[int]:
    wanted = str(layout.containerd_address).encode()
    pids = set()
    for proc in Path("/proc").iterdir():
        if proc.name.isdigit():
            try:
                words = (proc / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words and words[0].endswith(b"containerd-shim-runc-v2") and wanted in words:
                pids.add(int(proc.name))
    return pids


def unmount(layout: Layout) -> None:
    """Unmount everything below the cluster's directory, deepest first."""
    prefix = f"{layout.directory}/"
    for _ in range(3):
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        ours = sorted((path for path in mounts if path.startswith(prefix)), key=len, reverse=True)
        if not ours:
            return
        for path in ours:
            subprocess.run(["umount", "-l", path], capture_output=True, check=False, timeout=30)


def remove_cgroups(layout: Layout) -> None:
    """Remove the cluster's cgroup directories, which must be empty of processes."""
    for root in cgroup_roots(layout):
        for folder in sorted((path for path in root.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts)):
            _rmdir(folder)
        _rmdir(root)
        _rmdir(root.parent)


def _rmdir(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return


def forget_runtime(layout: Layout) -> None:
    """Remove what does not outlive the containers: sockets, network leases, state of containerd."""
    unmount(layout)
    shutil.rmtree(layout.run, ignore_errors=True)


def remove_state(layout: Layout) -> None:
    """Remove everything durable of the cluster. Mounts must be gone: their content would be removed with it."""
    prefix = f"{layout.directory}/"
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[1].startswith(prefix):
            raise OSError(f"{line.split()[1]} is still mounted; nothing below {layout.directory} was removed")
    shutil.rmtree(layout.directory, ignore_errors=False) if layout.directory.exists() else None
