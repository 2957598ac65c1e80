"""One request to a resource, read from its URL: who, what, with which options. Pure.

Source of the parameters: Kubernetes API concepts (lists in chunks, watch, dry-run, field validation, apply).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from loft.apiserver.caller import Caller
from loft.apiserver.refusal import bad_request

Object = dict[str, Any]
LIMIT_MAX = 10_000
TIMEOUT_S_MAX = 3600
FIELD_MANAGER_LENGTH_MAX = 128


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A verb on a resource by somebody; `name` is "" for collections, `namespace` "" for all."""

    caller: Caller
    verb: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    dry_run: bool = False
    field_manager: str = ""
    field_validation: Literal["Ignore", "Warn", "Strict"] = "Warn"
    force: bool = False
    user_agent: str = ""

    @property
    def manager(self) -> str:
        """Field manager: as given, else the client's name, as the API server itself does it."""
        return self.field_manager or self.user_agent.split("/")[0][:FIELD_MANAGER_LENGTH_MAX] or "unknown"


class ListOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What part of a collection, and of which version."""

    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    continue_: str = ""
    resource_version: str = ""
    resource_version_match: str = ""


class WatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """From where to follow a collection, and for how long."""

    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    resource_version_match: str = ""
    timeout_s: int = 0
    bookmarks: bool = False
    send_initial_events: bool | None = None


class Page(msgspec.Struct, kw_only=True):
    """A chunk of a list."""

    items: list[Object]
    resource_version: str = ""
    continue_: str = ""
    remaining: int | None = None


class Event(msgspec.Struct):
    """ADDED, MODIFIED, DELETED, BOOKMARK, or ERROR with a Status."""

    type: str
    object: Object


class Change(msgspec.Struct, frozen=True):
    """A patch: `kind` is merge, json or apply; the content is decoded."""

    kind: str
    content: Any


Query = Mapping[str, str]


def call_options(query: Query) -> dict[str, Any]:
    """Return the fields of Call that a query holds. Raises: ApiError 400."""
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        raise bad_request(f"dryRun: {dry_run!r} is not supported, only All")
    validation = query.get("fieldValidation", "") or "Warn"
    if validation not in ("Ignore", "Warn", "Strict"):
        raise bad_request(f"fieldValidation: {validation!r} is none of Ignore, Warn, Strict")
    manager = query.get("fieldManager", "")
    if len(manager) > FIELD_MANAGER_LENGTH_MAX or not manager.isprintable():
        raise bad_request(f"fieldManager: at most {FIELD_MANAGER_LENGTH_MAX} printable characters")
    return {
        "dry_run": dry_run == "All",
        "field_validation": validation,
        "field_manager": manager,
        "force": _flag(query, "force"),
    }


def list_options(query: Query) -> ListOptions:
    """Read the parameters of a list. Raises: ApiError 400."""
    return ListOptions(
        label_selector=query.get("labelSelector", ""),
        field_selector=query.get("fieldSelector", ""),
        limit=_number(query, "limit", LIMIT_MAX),
        continue_=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        resource_version_match=query.get("resourceVersionMatch", ""),
    )


def watch_options(query: Query) -> WatchOptions:
    """Read the parameters of a watch. Raises: ApiError 400."""
    initial = _flag(query, "sendInitialEvents") if query.get("sendInitialEvents") else None
    return WatchOptions(
        label_selector=query.get("labelSelector", ""),
        field_selector=query.get("fieldSelector", ""),
        resource_version=query.get("resourceVersion", ""),
        resource_version_match=query.get("resourceVersionMatch", ""),
        timeout_s=_number(query, "timeoutSeconds", TIMEOUT_S_MAX),
        bookmarks=_flag(query, "allowWatchBookmarks"),
        send_initial_events=initial,
    )


def is_watch(query: Query) -> bool:
    """Tell whether a GET on a collection is a watch."""
    return _flag(query, "watch")


def _flag(query: Query, name: str) -> bool:
    value = query.get(name, "").lower()
    if value not in ("", "0", "1", "t", "f", "true", "false"):
        raise bad_request(f"{name}: {value!r} is neither true nor false")
    return value in ("1", "t", "true")


def _number(query: Query, name: str, most: int) -> int:
    value = query.get(name, "") or "0"
    if not value.isascii() or not value.isdigit() or len(value) > 18:
        raise bad_request(f"{name}: {value[:40]!r} is not a number from 0")
    return min(int(value), most)
