"""Spaces, kept as Namespaces: see loft.cluster.spaceview for the two shapes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import msgspec

from loft.api.space import SPACE_LABEL
from loft.apiserver import jsonpatch
from loft.apiserver.authorize import Reviewer
from loft.apiserver.backing import Backing
from loft.apiserver.call import Call, Change, Event, ListOptions, Object, Page, WatchOptions
from loft.apiserver.refusal import Cause, already_exists, bad_request, invalid, not_found
from loft.cluster import owner
from loft.cluster.naming import why_not
from loft.cluster.policy import default_owner, require_assign, require_protected
from loft.cluster.spaceview import SPACES, is_space, owner_of, protected_changes, to_namespace, to_space
from loft.core.diff import apply_merge_patch
from loft.core.resource import NAMESPACES
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from loft.kube.execute import Executor

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""Times that a change is computed again because the namespace changed meanwhile."""


class Spaces:
    """See declaration.Store."""

    def __init__(self, client: Client, reviewer: Reviewer) -> None:
        self._client = client
        self._reviewer = reviewer
        self._namespaces = Backing(client, NAMESPACES, selector=f"{SPACE_LABEL}=true")
        self._executor = Executor(client, component=owner.MANAGER)

    async def get(self, call: Call) -> Object:
        """Read the namespace; one that is no space does not exist here."""
        return to_space(await self._namespace(call))

    async def list(self, call: Call, options: ListOptions) -> Page:
        """Read the namespaces that are spaces."""
        page = await self._namespaces.list(call, options)
        return msgspec.structs.replace(page, items=[to_space(item) for item in page.items])

    async def watch(self, call: Call, options: WatchOptions) -> AsyncIterator[Event]:
        """Follow the namespaces that are spaces."""
        async for event in self._namespaces.watch(call, options):
            yield event if event.type == "ERROR" else Event(event.type, to_space(event.object))

    async def create(self, call: Call, obj: Object) -> Object:
        """Create the namespace, then its owner's RoleBinding; without the second the first is taken back."""
        space = self._named(obj)
        name = space["metadata"]["name"]
        self._refuse_unsupported(space)
        if owner_of(space) == ("", ""):
            space["spec"] = (space.get("spec") or {}) | default_owner(call.caller)
        await self._check(call, {}, space, created=True)
        try:
            namespace = await self._namespaces.create(call, to_namespace(space))
        except AlreadyExists:
            raise already_exists(
                SPACES, name, "a space or namespace has this name; choose another, or use it if it is yours"
            ) from None
        if not call.dry_run:
            await self._bind(namespace)
        return to_space(namespace)

    async def update(self, call: Call, obj: Object) -> Object:
        """Replace labels, annotations and owner."""
        current = await self._namespace(call)
        return await self._replace(call, current, obj)

    async def patch(self, call: Call, change: Change) -> Object:
        """Apply goes to the namespace with the caller's field manager; other patches are computed here."""
        if change.kind == "apply":
            return await self._apply(call, change)
        for attempt in range(ATTEMPTS):
            current = await self._namespace(call)
            try:
                return await self._replace(call, current, _patched(to_space(current), change))
            except Conflict:
                named = isinstance(change.content, dict) and (change.content.get("metadata") or {})
                if attempt == ATTEMPTS - 1 or (named and named.get("resourceVersion")):
                    raise
        raise AssertionError("unreachable")

    async def delete(self, call: Call, options: Object) -> Object:
        """Delete the namespace and with it all that is in it."""
        current = await self._namespace(call)
        wanted = (options.get("preconditions") or {}).get("uid") or current["metadata"]["uid"]
        options = options | {"preconditions": (options.get("preconditions") or {}) | {"uid": wanted}}
        answer = await self._namespaces.delete(call, options)
        return answer if answer.get("kind") == "Status" else to_space(answer)

    # Steps

    async def _namespace(self, call: Call) -> Object:
        try:
            namespace = await self._namespaces.get(call)
        except NotFound:
            raise not_found(SPACES, call.name) from None
        if not is_space(namespace):
            raise not_found(SPACES, call.name)
        return namespace

    async def _replace(self, call: Call, current: Object, space: Object) -> Object:
        before = to_space(current)
        self._same_object(call, before, space)
        self._refuse_unsupported(space)
        space = _owner_kept(before, space)
        await self._check(call, before, space)
        body = to_namespace(space)
        body["metadata"].setdefault("resourceVersion", current["metadata"]["resourceVersion"])
        namespace = await self._namespaces.update(call, body)
        if not call.dry_run and owner_of(before) != owner_of(to_space(namespace)):
            await self._executor.execute(owner.plan(namespace, None))
        return to_space(namespace)

    async def _apply(self, call: Call, change: Change) -> Object:
        space = change.content
        self._refuse_unsupported(space)
        creating = call.verb == "create"
        if creating:
            space = self._named(space)
            # A namespace that is no space must not become one by somebody applying a Space of its name.
            if await self._client.find(NAMESPACES, call.name) is not None:
                raise already_exists(SPACES, call.name, "a namespace that is no space has this name; choose another")
            if owner_of(space) == ("", ""):
                space["spec"] = (space.get("spec") or {}) | default_owner(call.caller)
        before = {} if creating else await self.get(call)
        if before:
            space = _owner_kept(before, space)
        patch = Change("apply", to_namespace(space))
        trial = msgspec.structs.replace(call, dry_run=True)
        outcome = to_space(await self._namespaces.patch(trial, patch))
        await self._check(call, before, outcome, created=creating)
        if call.dry_run:
            return outcome
        namespace = await self._namespaces.patch(call, patch)
        if creating:
            await self._bind(namespace)
        elif owner_of(before) != owner_of(to_space(namespace)):
            await self._executor.execute(owner.plan(namespace, None))
        return to_space(namespace)

    async def _bind(self, namespace: Object) -> None:
        """Give the new space's owner their rights, or take the space back."""
        try:
            await self._executor.execute(owner.plan(namespace, None))
        except ApiError as error:
            metadata = namespace["metadata"]
            try:
                await self._client.delete(NAMESPACES, metadata["name"], uid=metadata["uid"])
            except ApiError as second:
                # The loop in loft.cluster.keeping gives the owner the rights as soon as the API server lets it.
                log.error("space %s is left without its owner's RoleBinding for now: %s", metadata["name"], second)
                return
            error.message = f"the space was not created, because its owner could not be given rights: {error.message}"
            raise

    async def _check(self, call: Call, before: Object, after: Object, *, created: bool = False) -> None:
        name = after["metadata"].get("name", call.name)
        user, team = owner_of(after)
        if user and team:
            raise invalid(SPACES, name, Cause("spec", "set user or team, not both"))
        own = created and (user, team) == ("", "") and not call.caller.is_ours
        if (created or owner_of(before) != (user, team)) and not own:
            await require_assign(self._reviewer, call.caller, name, user, team)
        await require_protected(self._reviewer, call.caller, name, protected_changes(before, after))

    @staticmethod
    def _named(space: Object) -> Object:
        space = space | {"metadata": dict(space["metadata"])}
        name = space["metadata"].get("name", "")
        if not name:
            raise invalid(SPACES, "", Cause("metadata.name", "a space needs a name", "FieldValueRequired"))
        if problem := why_not(name):
            raise invalid(SPACES, name, Cause("metadata.name", problem))
        return space

    @staticmethod
    def _same_object(call: Call, before: Object, after: Object) -> None:
        metadata = after.get("metadata")
        if not isinstance(metadata, dict) or metadata.get("name") != call.name:
            raise bad_request("metadata.name cannot change")
        if metadata.get("uid") and metadata["uid"] != before["metadata"]["uid"]:
            raise Conflict(409, "Conflict", f"space {call.name} is another one by now (its uid changed); read it again")

    @staticmethod
    def _refuse_unsupported(space: Object) -> None:
        if (space.get("spec") or {}).get("objects"):
            name = space["metadata"].get("name", "")
            text = "not supported: create the objects in the namespace after the space"
            raise invalid(SPACES, name, Cause("spec.objects", text, "FieldValueForbidden"))


def _owner_kept(before: Object, space: Object) -> Object:
    """Return the space with the owner it has had, when it names none: an owner is replaced, never lost."""
    if owner_of(space) != ("", ""):
        return space
    user, team = owner_of(before)
    owner_fields = {"user": user} if user else {"team": team} if team else {}
    return space | {"spec": (space.get("spec") or {}) | owner_fields}


def _patched(space: Object, change: Change) -> Object:
    if change.kind == "merge":
        merged: Object = apply_merge_patch(space, change.content)
        return merged
    try:
        patched = jsonpatch.apply(space, change.content)
    except jsonpatch.PatchError as error:
        raise bad_request(str(error)) from None
    if not isinstance(patched, dict):
        raise bad_request("the JSON patch leaves no object")
    return patched
