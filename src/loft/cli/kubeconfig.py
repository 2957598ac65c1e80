"""Kubeconfig files: pure edits of a document, and the file rules of kubectl around them.

Rules: `$KUBECONFIG` is a list (empty parts and doubles dropped); a stanza is changed in the file that
defines it, a new one goes to the first file that exists, else to the last of the list; `current-context`
goes to the file that sets it. Source: kubernetes.io, "Organizing Cluster Access Using kubeconfig Files",
and client-go's `FILE.lock` protocol. Unknown fields and the order of entries are kept.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import yaml

from loft.cli.failure import Failure, one_line

LOCK_WAIT_S = 10.0
LOCK_STALE_S = 60.0
MARK = "loft.sh/context"
"""Name of the extension that marks entries as ours; others are never removed."""

Document = dict[str, Any]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML without time stamps: a date stays the text it was."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def empty() -> Document:
    """Return a kubeconfig without entries."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [],
        "contexts": [],
        "users": [],
        "current-context": "",
    }


def put(document: Document, section: str, name: str, key: str, value: dict[str, Any]) -> None:
    """Set the entry `name` of a section (`clusters`, `users`, `contexts`), keeping its place when it exists."""
    value = value | {"extensions": [{"name": MARK, "extension": {"managed-by": "loft"}}]}
    entries = document.get(section) or []
    document[section] = entries
    for entry in entries:
        if entry.get("name") == name:
            entry[key] = value
            return
    entries.append({"name": name, key: value})


def has(document: Document, section: str, name: str) -> bool:
    """Return whether a section has an entry of that name."""
    return any(entry.get("name") == name for entry in document.get(section) or [])


def is_ours(document: Document, section: str, name: str, key: str) -> bool:
    """Return whether the entry carries our mark."""
    for entry in document.get(section) or []:
        if entry.get("name") == name:
            extensions = (entry.get(key) or {}).get("extensions") or []
            return any(extension.get("name") == MARK for extension in extensions)
    return False


def remove(document: Document, name: str) -> bool:
    """Remove the context, cluster and user of one name as far as they are ours; return whether anything went."""
    gone = False
    for section, key in (("contexts", "context"), ("clusters", "cluster"), ("users", "user")):
        if is_ours(document, section, name, key):
            document[section] = [entry for entry in document[section] if entry.get("name") != name]
            gone = True
    return gone


def files() -> list[str]:
    """Return the kubeconfig files in order of precedence."""
    listed = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    unique = list(dict.fromkeys(os.path.abspath(part) for part in listed))
    if unique:
        return unique
    default = os.path.expanduser(os.path.join("~", ".kube", "config"))
    if default.startswith("~"):
        raise Failure("there is no home directory for the kubeconfig: set HOME or KUBECONFIG")
    return [default]


def read(path: str) -> Document:
    """Return the document of one file, an empty one when the file is missing or empty.

    Raises: Failure when it cannot be parsed: such a file is never written.
    """
    try:
        with open(path, encoding="utf-8") as file:
            document = yaml.load(file, Loader=_Loader)
    except FileNotFoundError:
        return empty()
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise Failure(f"cannot read kubeconfig {path}: {one_line(error)}; repair it, nothing was changed") from error
    if document is None:
        return empty()
    if wrong := _why_no_kubeconfig(document):
        raise Failure(f"{path} is no kubeconfig: {wrong}; repair it, nothing was changed")
    return dict(document)


def _why_no_kubeconfig(document: Any) -> str:
    if not isinstance(document, dict):
        return "it is not a mapping"
    for section, key in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
        entries = document.get(section) or []
        if not isinstance(entries, list):
            return f"{section} is not a list"
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get(key) or {}, dict):
                return f"an entry of {section} is not a mapping"
            extensions = (entry.get(key) or {}).get("extensions") or []
            if not isinstance(extensions, list) or not all(isinstance(item, dict) for item in extensions):
                return f"the extensions of an entry of {section} are not a list of mappings"
    return ""


def check() -> None:
    """Refuse what could not be written later, before something is made or deleted whose context belongs there.

    Raises: Failure.
    """
    for path in files():
        read(path)
        folder = os.path.dirname(os.path.realpath(path))
        _make_folder(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise Failure(f"cannot write kubeconfig {path}: {folder} is not writable; nothing was changed")


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make {folder}: {one_line(error)}; nothing was changed") from error


def dump(document: Document) -> str:
    """Return the document as YAML text."""
    return yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)


def write(path: str, document: Document) -> None:
    """Replace the file atomically, following links, keeping mode and owner of an existing file.

    Raises: Failure when the disk is full or the folder not writable; the old file is then untouched.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    temporary = ""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".kubeconfig-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(dump(document))
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            old = os.stat(target)
            os.chmod(temporary, old.st_mode & 0o777)
            if os.geteuid() == 0:
                os.chown(temporary, old.st_uid, old.st_gid)
        os.replace(temporary, target)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise Failure(f"cannot write kubeconfig {path}: {one_line(error)}; it is unchanged") from error


@contextmanager
def locked(paths: list[str]) -> Iterator[None]:
    """Hold client-go's lock files of the given kubeconfigs.

    Raises: Failure when a lock is still held after 10 s; one older than a minute is taken as left behind.
    """
    held: list[str] = []
    try:
        for path in sorted(set(paths)):
            _take(f"{path}.lock")
            held.append(f"{path}.lock")
        yield
    finally:
        for lock in held:
            with suppress(FileNotFoundError):
                os.unlink(lock)


def _take(lock: str) -> None:
    deadline = time.monotonic() + LOCK_WAIT_S
    _make_folder(os.path.dirname(lock))
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0o000))
            return
        except FileExistsError:
            pass
        except OSError as error:
            raise Failure(f"cannot lock the kubeconfig by {lock}: {one_line(error)}; nothing was changed") from error
        try:
            if time.time() - os.stat(lock).st_mtime > LOCK_STALE_S:
                os.unlink(lock)
                continue
        except FileNotFoundError:
            continue
        if time.monotonic() > deadline:
            raise Failure(
                f"another program has locked the kubeconfig for {LOCK_WAIT_S:.0f} s; if none is running, "
                f"remove {lock}; nothing was changed"
            )
        time.sleep(0.05 + random.random() / 10)


def edit(change: Callable[[Document], None], *, name: str, sets_current: bool) -> None:
    """Apply `change` to the file that defines the context `name` (or where a new one belongs).

    The current context is moved only by the file that already sets it, so `change` must set
    `current-context` in the document it is given and this function puts it where it belongs.
    """
    paths = files()
    with locked(paths):
        documents = {path: read(path) for path in paths}
        home = next((path for path in paths if has(documents[path], "contexts", name)), "")
        home = home or next((path for path in paths if os.path.exists(path)), paths[-1])
        chooser = next((path for path in paths if documents[path].get("current-context")), home)
        before = str(documents[home].get("current-context") or "")
        change(documents[home])
        wanted = str(documents[home].get("current-context") or "")
        touched = {home}
        if sets_current and chooser != home:
            documents[home]["current-context"] = before
            documents[chooser]["current-context"] = wanted
            touched.add(chooser)
        for path in touched:
            write(path, documents[path])


def current_context() -> str:
    """Return the current context over all files, "" when none is set."""
    for path in files():
        current = read(path).get("current-context")
        if current:
            return str(current)
    return ""


def exists(name: str) -> bool:
    """Return whether a context of that name is defined in any file."""
    return any(has(read(path), "contexts", name) for path in files())
