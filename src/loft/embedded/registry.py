"""Which clusters this machine has: each name keeps its index, and so its addresses, until it is uninstalled."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loft.embedded.layout import CLUSTERS_MAX, MAIN_CLUSTER, Layout, cache_root, state_root


class RegistryError(Exception):
    """The name cannot be given a place; the message says what to do."""


def known() -> dict[str, int]:
    """Return the index of each cluster that was ever started and not uninstalled."""
    try:
        return dict(json.loads(_file().read_text()))
    except FileNotFoundError:
        return {}


def layout_of(name: str, *, create: bool = False) -> Layout | None:
    """Return the layout of a cluster, None when there is none of that name.

    Args:
        name: the cluster.
        create: give it the lowest free index.

    Raises: BadName, RegistryError when the machine is full.
    """
    Layout(name=name, index=0, state_dir=state_root(), cache_dir=cache_root())
    with _locked():
        indexes = known()
        if name not in indexes:
            if not create:
                return None
            first = 0 if name == MAIN_CLUSTER else 1
            free = [index for index in range(first, CLUSTERS_MAX) if index not in indexes.values()]
            if not free or (name == MAIN_CLUSTER and free[0] != 0):
                raise RegistryError(f"this machine has {CLUSTERS_MAX} clusters already; uninstall one first")
            indexes[name] = free[0]
            _save(indexes)
    return Layout(name=name, index=indexes[name], state_dir=state_root(), cache_dir=cache_root())


def forget(name: str) -> None:
    """Give the index of an uninstalled cluster back."""
    with _locked():
        indexes = known()
        indexes.pop(name, None)
        _save(indexes)


def _file() -> Path:
    return state_root() / "clusters.json"


def _save(indexes: dict[str, int]) -> None:
    temporary = _file().with_suffix(".new")
    temporary.write_text(json.dumps(indexes))
    temporary.rename(_file())


@contextmanager
def _locked() -> Iterator[None]:
    state_root().mkdir(parents=True, exist_ok=True)
    handle = os.open(state_root() / "clusters.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
