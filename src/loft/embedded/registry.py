"""Which clusters this machine has: each name keeps its index, and so its addresses, until it is uninstalled."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from loft.embedded import network
from loft.embedded.layout import CLUSTERS_MAX, MAIN_CLUSTER, Layout, cache_root, state_root
from loft.embedded.lock import locked


class RegistryError(Exception):
    """The name cannot be given a place; the message says what to do."""


def known() -> dict[str, int]:
    """Return the index of each cluster that was ever started and not uninstalled.

    Raises: RegistryError when the file cannot be understood; it is written atomically, so that is not our doing.
    """
    try:
        return parse(_file().read_text())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RegistryError(f"{_file()} cannot be read: {error.strerror}") from error
    except ValueError as error:
        content = json.dumps(dict(sorted(_remembered().items(), key=lambda item: item[1])))
        raise RegistryError(
            f"{_file()} is damaged ({error}); write {content} into it, which the clusters' own files say"
        ) from error


def parse(text: str) -> dict[str, int]:
    """Return the index of each cluster from the file's content. Raises: ValueError."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    for name, index in found.items():
        if type(index) is not int:
            raise ValueError(f"the index of {name!r} is no number")
        _layout(name, index)
    if len(set(found.values())) < len(found):
        raise ValueError("two clusters have the same index")
    return dict(found)


def _remembered() -> dict[str, int]:
    """Return the index of each cluster as its kubeconfig shows it: the API server's address follows from it."""
    found = {}
    for path in (state_root() / "clusters").glob("[a-z]*/kubeconfig"):
        with suppress(OSError, ValueError):
            text = path.read_text()
            for index in range(CLUSTERS_MAX):
                if _layout(path.parent.name, index).api_url in text:
                    found[path.parent.name] = index
    return found


def layout_of(name: str, *, create: bool = False) -> Layout | None:
    """Return the layout of a cluster, None when there is none of that name.

    Args:
        name: the cluster.
        create: give it the lowest free index.

    Raises: BadName, RegistryError when the machine is full.
    """
    _refuse_bad(name)
    if not create:
        indexes = known()
        return _layout(name, indexes[name]) if name in indexes else None
    with locked(_lock()):
        indexes = known()
        layout = _layout(name, _index(name, indexes))
        if name not in indexes:
            _save(indexes | {name: layout.index})
    return layout


def planned(name: str) -> Layout:
    """Return the layout that the cluster has or would be given; nothing is written. Raises: as `layout_of`."""
    _refuse_bad(name)
    return _layout(name, _index(name, known()))


def forget(name: str) -> None:
    """Give the index of an uninstalled cluster back; with the last one nothing of the registry stays."""
    with locked(_lock()):
        indexes = known()
        if indexes.pop(name, None) is not None:
            _save(indexes)
        if not indexes:
            _remove_state()


def _remove_state() -> None:
    for path in (_file(), _lock()):
        path.unlink(missing_ok=True)
    # Something else may lie there, or a lock that another command holds: then the directory stays.
    for folder in (state_root() / "clusters", state_root()):
        with suppress(OSError):
            folder.rmdir()


def _lock() -> Path:
    return state_root() / "clusters.lock"


def _refuse_bad(name: str) -> None:
    # Before anything is looked up or written: a name becomes a path.
    _layout(name, 0)


def _layout(name: str, index: int) -> Layout:
    return Layout(name=name, index=index, state_dir=state_root(), cache_dir=cache_root())


def _index(name: str, indexes: dict[str, int]) -> int:
    if name in indexes:
        return indexes[name]
    if name == MAIN_CLUSTER:
        return 0
    taken = set(indexes.values())
    free = (i for i in range(1, CLUSTERS_MAX) if i not in taken and network.is_index_free(i, state_root()))
    found = next(free, None)
    if found is None:
        raise RegistryError(f"this machine has {CLUSTERS_MAX} clusters already; uninstall one first")
    return found


def _file() -> Path:
    return state_root() / "clusters.json"


def _save(indexes: dict[str, int]) -> None:
    temporary = _file().with_suffix(".new")
    with temporary.open("w") as file:
        json.dump(indexes, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(_file())
