"""What a plan asks for: writes to an API server as values.

Because actions are values they can be compared in tests, printed before they are done, counted and
bounded in one place. Every update and delete of an object that was seen carries its uid, so that a
re-created object of the same name is never hit by a decision about the old one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from loft.core.resource import Resource

Object = dict[str, Any]


class Apply(msgspec.Struct, frozen=True, tag=True):
    """Server-side apply of `body` by field manager `manager`."""

    resource: Resource
    body: Object
    manager: str
    force: bool = True
    subresource: str = ""


class Create(msgspec.Struct, frozen=True, tag=True):
    """Create `body`; fails when it exists."""

    resource: Resource
    body: Object


class Update(msgspec.Struct, frozen=True, tag=True):
    """Replace the object; `body` carries uid and resourceVersion, which the server checks."""

    resource: Resource
    body: Object
    subresource: str = ""


class Patch(msgspec.Struct, frozen=True, tag=True):
    """Patch by JSON merge (`merge`), RFC 6902 (`json`) or `strategic`; a uid is made part of a merge patch."""

    resource: Resource
    namespace: str
    name: str
    patch: Any
    kind: str = "merge"
    subresource: str = ""
    uid: str = ""


class Delete(msgspec.Struct, frozen=True, tag=True):
    """Delete one object; with a uid only if it is still that object. An absent object is success."""

    resource: Resource
    namespace: str
    name: str
    uid: str = ""
    grace_s: int | None = None
    propagation: str = ""


class Event(msgspec.Struct, frozen=True, tag=True):
    """Tell the owner of an object something, as a Kubernetes Event on it."""

    about: Object
    """The object itself (apiVersion, kind and metadata are used)."""
    reason: str
    """CamelCase, for machines."""
    message: str
    """One sentence for people: what is wrong and what to do."""
    type: str = "Normal"


Action = Apply | Create | Update | Patch | Delete | Event


def target(action: Action) -> str:
    """Return `verb plural namespace/name`, for logs, metrics and failpoints."""
    if isinstance(action, Event):
        metadata = action.about.get("metadata", {})
        return f"event {metadata.get('namespace', '')}/{metadata.get('name', '')}"
    if isinstance(action, Patch | Delete):
        namespace, name = action.namespace, action.name
    else:
        metadata = action.body.get("metadata", {})
        namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
    return f"{type(action).__name__.lower()} {action.resource.plural} {namespace}/{name}"
