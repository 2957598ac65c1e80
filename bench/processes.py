"""What the processes of clusters and pods use: private memory and processor time, as the kernel counts them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec

from loft.embedded.layout import Layout

MEGABYTE = 1e6


class Memory(msgspec.Struct, frozen=True):
    """Private memory of a process, in bytes."""

    written: int
    """Belongs to this process alone and cannot be dropped; the same as RssAnon, and what figures are about."""
    mapped: int
    """Pages of files that no other process happens to have in use; the kernel may drop them at any moment."""


def memory(pid: int) -> Memory:
    """Return a process's private memory, from `smaps_rollup`. Raises: OSError when it has ended."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    return Memory(found["Private_Dirty"], found["Private_Clean"])


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used. Raises: OSError when it has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def of_cluster(layout: Layout) -> dict[str, int]:
    """Return the pid of each supervised process of an embedded cluster, and of its daemon."""
    found = {
        path.stem: int(json.loads(path.read_text())["pid"]) for path in sorted((layout.run / "pids").glob("*.pid"))
    }
    return found | {"daemon": int((layout.directory / "daemon.lock").read_text())}


def of_pod(pod: str) -> dict[str, int]:
    """Return the pid of each process in a pod of this machine, by its program or Python module."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            if (place / "root/etc/hostname").read_text().strip() == pod:
                name = words[2] if words[1:2] == [b"-m"] else words[0]
                found[Path(name.decode()).name] = int(place.name)
        except OSError:
            continue
    found.pop("pause", None)
    return found
