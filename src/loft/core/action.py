"""Writes as values: what a plan wants to have done, for an executor to do.

A plan never writes. Because its outcome is data, one executor can dry-run, log, count and interrupt
(failpoints) every write of the platform, and a test can compare plans without any server.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from loft.core.resource import Resource

PatchKind = Literal["merge", "json", "strategic", "apply"]
Propagation = Literal["", "Background", "Foreground", "Orphan"]


class Apply(msgspec.Struct, frozen=True, tag=True, tag_field="action"):
    """Server-side apply of the fields in `body`, owned afterwards by the field manager `manager`.

    Namespace and name are those in `body.metadata`. A `metadata.uid` in the body is a precondition: the object
    must exist with that uid (the API server answers Conflict otherwise, and creates nothing).
    """

    resource: Resource
    body: dict[str, Any]
    manager: str
    force: bool = True
    """Take fields over from other managers; without it a foreign owner is a Conflict."""
    subresource: str = ""


class Create(msgspec.Struct, frozen=True, tag=True, tag_field="action"):
    """Create `body`; AlreadyExists is an error. With a subresource: a POST to it (`binding`, `token`, `eviction`)."""

    resource: Resource
    body: dict[str, Any]
    subresource: str = ""


class Update(msgspec.Struct, frozen=True, tag=True, tag_field="action"):
    """Replace the object; `metadata.resourceVersion` in the body makes it conditional (Conflict when outdated)."""

    resource: Resource
    body: dict[str, Any]
    subresource: str = ""


class Patch(msgspec.Struct, frozen=True, tag=True, tag_field="action"):
    """Change fields of one object. `patch` is a list for kind "json", an object otherwise.

    With `uid`, an object re-created under the same name is left alone (Conflict).
    """

    resource: Resource
    namespace: str
    name: str
    patch: dict[str, Any] | list[Any]
    kind: PatchKind = "merge"
    subresource: str = ""
    uid: str = ""


class Delete(msgspec.Struct, frozen=True, tag=True, tag_field="action"):
    """Delete one object; that it is gone already, or that another uid has its name, counts as done."""

    resource: Resource
    namespace: str
    name: str
    uid: str = ""
    grace_s: int | None = None
    """Grace period in seconds; None leaves it to the object, 0 removes a Pod without waiting for its kubelet."""
    propagation: Propagation = ""


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="action"):
    """Tell the people who look at an object; never fails the plan that it belongs to.

    `about` is the object itself (apiVersion, kind and metadata are read) and `reason` is CamelCase.
    """

    about: dict[str, Any]
    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


Action = Apply | Create | Update | Patch | Delete | Event
