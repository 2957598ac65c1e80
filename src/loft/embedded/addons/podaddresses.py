"""The addresses of pods at the moment their network is made, which is before any of their containers runs.

A pod's status tells its address up to a second after its first container started; by then a pod that a policy
isolates could have spoken to anybody. What the network plugins gave a pod lies in a directory of the CNI library
as soon as they are done, so that directory is watched. Source: kubernetes.io, "Network Policies": pods that are
made after a policy are isolated before they start.
"""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import json
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

RESULTS = Path("/var/lib/cni/results")
"""Where the CNI library keeps results when it is not told otherwise; shared by all clusters of a machine."""
IN_CLOSE_WRITE, IN_MOVED_TO, IN_DELETE = 0x8, 0x80, 0x200

Object = dict[str, Any]


def read_result(data: bytes, network: str) -> tuple[str, str] | None:
    """Return (uid, address) of the pod of one CNI result; None for another network or what cannot be read."""
    try:
        result = json.loads(data)
        if result["networkName"] != network:
            return None
        uid = dict(result["cniArgs"])["K8S_POD_UID"]
        addresses = [ipaddress.ip_interface(item["address"]).ip for item in result["result"]["ips"]]
        return uid, next(str(address) for address in addresses if address.version == 4)
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return None


def with_addresses(pods: Iterable[Object], addresses: dict[str, str]) -> list[Object]:
    """Return the pods with the addresses (by uid) that their network has, which may be newer than their status."""
    found = []
    for pod in pods:
        address = addresses.get(pod["metadata"].get("uid", ""))
        if address and address != pod["status"].get("podIP"):
            pod = pod | {"status": pod["status"] | {"podIP": address}}
        found.append(pod)
    return found


class PodAddresses:
    """Addresses of one network's pods by uid, kept current; `changed` is called after each change.

    Used within a running event loop as a context manager. Where the kernel watches no more directories (its limit is
    `fs.inotify.max_user_instances`), addresses are only looked at when they are asked for.
    """

    def __init__(self, network: str, changed: Callable[[], None], folder: Path = RESULTS) -> None:
        self._network = network
        self._changed = changed
        self._folder = folder
        self._known: dict[str, tuple[str, str]] = {}
        self._handle = -1

    def __enter__(self) -> PodAddresses:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        library = ctypes.CDLL(None, use_errno=True)
        self._handle = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE
        if self._handle < 0 or library.inotify_add_watch(self._handle, os.fsencode(self._folder), mask) < 0:
            reason = os.strerror(ctypes.get_errno())
            log.warning("%s cannot be watched: %s; new pods are isolated some time after their start", RESULTS, reason)
            self._close()
        else:
            asyncio.get_running_loop().add_reader(self._handle, self._event)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle >= 0:
            asyncio.get_running_loop().remove_reader(self._handle)
        self._close()

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def by_uid(self) -> dict[str, str]:
        """Return the address of each pod; of a pod whose network was made again the newest."""
        self._scan()
        return dict(self._known.values())

    def _event(self) -> None:
        # What happened is not looked at: the directory is, so that a lost event does not matter.
        os.read(self._handle, 1 << 16)
        before = dict(self._known)
        self._scan()
        if self._known != before:
            self._changed()

    def _scan(self) -> None:
        """Make the known results those of the directory."""
        names = {entry.name for entry in os.scandir(self._folder) if entry.name.startswith(f"{self._network}-")}
        for name in self._known.keys() - names:
            del self._known[name]
        for name in sorted(names - self._known.keys()):
            try:
                data = (self._folder / name).read_bytes()
            except FileNotFoundError:
                continue
            found = read_result(data, self._network)
            if found is not None:
                self._known[name] = found
