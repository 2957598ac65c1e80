"""Who has something in which namespace: an index over spaces and RoleBindings, read from caches.

It answers lists without asking the API server about every object. Reading and changing are decided by RBAC
elsewhere; here it is only about which spaces are shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from loft.api.space import SPACE_LABEL
from loft.apiserver.caller import Caller
from loft.cluster.spaceview import owner_of, to_space
from loft.core.resource import NAMESPACES, ROLEBINDINGS
from loft.kube.client import Client
from loft.kube.informer import Informer

Object = dict[str, Any]
SUBJECT = "subject"
PLACE = "place"
SERVICE_ACCOUNT = "system:serviceaccount:"


def subjects_of(binding: Object) -> list[str]:
    """Return the subjects of a RoleBinding as `User:NAME` or `Group:NAME`; a ServiceAccount is a user, too."""
    found = []
    for subject in binding.get("subjects") or []:
        kind, name = subject.get("kind"), subject.get("name", "")
        if kind == "ServiceAccount":
            kind, name = "User", f"{SERVICE_ACCOUNT}{subject.get('namespace', '')}:{name}"
        found.append(f"{kind}:{name}")
    return found


def places_of(binding: Object) -> list[str]:
    """Return `NAMESPACE SUBJECT` for each subject of a RoleBinding."""
    return [f"{binding['metadata']['namespace']} {subject}" for subject in subjects_of(binding)]


def subjects_for(caller: Caller) -> list[str]:
    """Return all subjects by which a RoleBinding may mean the caller.

    Everybody's group is left out: a RoleBinding for all users does not make a space one's own.
    """
    groups = [group for group in caller.groups if not group.startswith("system:")]
    return [f"User:{caller.user}", *(f"Group:{group}" for group in groups)]


def owns(caller: Caller, space: Object) -> bool:
    """Tell whether the caller, or a team of theirs, owns the space."""
    user, team = owner_of(space)
    return bool((user and user == caller.user_name) or (team and team in caller.teams))


class Tenants:
    """Caches of spaces and RoleBindings; `run` keeps them current."""

    def __init__(self, client: Client) -> None:
        self.spaces = Informer(client, NAMESPACES, label_selector=f"{SPACE_LABEL}=true")
        self.bindings = Informer(client, ROLEBINDINGS, indexers={SUBJECT: subjects_of, PLACE: places_of})

    async def run(self) -> None:
        """Follow the API server, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.spaces.run())
            tasks.create_task(self.bindings.run())

    async def synced(self) -> None:
        """Wait until both caches are filled."""
        await self.spaces.synced()
        await self.bindings.synced()

    @property
    def is_synced(self) -> bool:
        """Whether both caches are filled; before that nobody is shown anything by this index."""
        return self.spaces.is_synced and self.bindings.is_synced

    def namespaces_of(self, caller: Caller) -> set[str]:
        """Return the namespaces in which a RoleBinding names the caller."""
        found: set[str] = set()
        for subject in subjects_for(caller):
            found.update(binding["metadata"]["namespace"] for binding in self.bindings.by_index(SUBJECT, subject))
        return found

    def is_shown(self, caller: Caller, space: Object) -> bool:
        """Tell whether a list of spaces shows this one to the caller."""
        if owns(caller, space):
            return True
        name = space["metadata"]["name"]
        return any(self.bindings.by_index(PLACE, f"{name} {subject}") for subject in subjects_for(caller))

    def follow(self, caller: Caller, changed: Callable[[Object], None]) -> Callable[[], None]:
        """Call `changed` with each Space whose RoleBindings for the caller changed; returns how to end that."""
        wanted = set(subjects_for(caller))
        started = False

        def on_binding(key: str, old: Object | None, new: Object | None) -> None:
            if not started:
                return
            touched = {subject for binding in (old, new) if binding for subject in subjects_of(binding)}
            namespace = self.spaces.get(key.split("/")[0])
            if namespace is not None and touched & wanted:
                changed(to_space(namespace))

        self.bindings.subscribe(on_binding)
        started = True
        return lambda: self.bindings.unsubscribe(on_binding)
