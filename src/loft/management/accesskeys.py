"""ownedaccesskeys: the caller's own access keys. The key is in the answer to create and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from loft.api.accesskey import AccessKey
from loft.apiserver.backing import Backing
from loft.apiserver.call import Call, ListOptions, Object, Page
from loft.apiserver.caller import Caller
from loft.apiserver.refusal import Cause, invalid, not_found
from loft.apiserver.store import Refusing
from loft.core.resource import ACCESSKEYS, TEAMS, USERS, Resource
from loft.identity.keys import KEY_BYTES, key_hash, new_key
from loft.kube.client import Client
from loft.kube.errors import Forbidden, NotFound
from loft.management.who import key_of

OWNED_ACCESS_KEYS = Resource("management.loft.sh", "v1", "ownedaccesskeys", "OwnedAccessKey", namespaced=False)
SECRET_FIELDS = ("keyHash", "tokenGeneration")
CREATED_TYPES = ("", "User", "Login")


def outward(stored: Object) -> Object:
    """Return a stored AccessKey as its owner sees it: without the hash. Pure."""
    spec = {key: value for key, value in (stored.get("spec") or {}).items() if key not in SECRET_FIELDS}
    metadata = {key: value for key, value in stored["metadata"].items() if key != "managedFields"}
    return {
        "apiVersion": OWNED_ACCESS_KEYS.api_version,
        "kind": OWNED_ACCESS_KEYS.kind,
        "metadata": metadata,
        "spec": spec,
        "status": stored.get("status") or {},
    }


def is_own(caller: Caller, stored: Object) -> bool:
    """Tell whether an AccessKey belongs to the caller. Pure."""
    spec = stored.get("spec") or {}
    if caller.user_name:
        return bool(spec.get("user") == caller.user_name)
    return bool(caller.team_name and spec.get("team") == caller.team_name)


def causes(caller: Caller, spec: Object, parent: AccessKey | None) -> list[Cause]:
    """Return what is wrong with the wish for a key. Pure.

    A key with a scope makes only keys with the same scope, or the scope would be no limit.
    """
    found = []
    if spec.get("key"):
        found.append(Cause("spec.key", "leave it empty: keys are made by the server", "FieldValueForbidden"))
    for field, own in (("user", caller.user_name), ("team", caller.team_name)):
        if spec.get(field) and spec[field] != own:
            found.append(Cause(f"spec.{field}", "a key can be made for oneself only", "FieldValueForbidden"))
    if spec.get("type", "") not in CREATED_TYPES:
        found.append(Cause("spec.type", f"use one of {', '.join(CREATED_TYPES[1:])}", "FieldValueNotSupported"))
    if spec.get("ttl", 0) < 0:
        found.append(Cause("spec.ttl", "seconds, 0 for no end"))
    limit = msgspec.to_builtins(parent.spec.scope) if parent is not None and parent.spec.scope is not None else None
    if limit is not None and spec.get("scope", limit) != limit:
        text = "the key of this request is limited; it can only make keys with the same scope"
        found.append(Cause("spec.scope", text, "FieldValueForbidden"))
    return found


class OwnedAccessKeys(Refusing):
    """See declaration.Store."""

    def __init__(self, client: Client, random: Callable[[int], bytes]) -> None:
        """`random(n)` returns n bytes that nobody can guess."""
        super().__init__(OWNED_ACCESS_KEYS)
        self._client = client
        self._keys = Backing(client, ACCESSKEYS)
        self._random = random

    async def get(self, call: Call) -> Object:
        """Read one; those of others do not exist here."""
        return outward(await self._own(call))

    async def list(self, call: Call, options: ListOptions) -> Page:
        """Read the caller's own."""
        caller = call.caller
        own = f"spec.user={caller.user_name}" if caller.user_name else f"spec.team={caller.team_name}"
        selector = ",".join(filter(None, (own, options.field_selector)))
        page = await self._keys.list(call, msgspec.structs.replace(options, field_selector=selector))
        items = [outward(item) for item in page.items if is_own(caller, item)]
        return msgspec.structs.replace(page, items=items)

    async def create(self, call: Call, obj: Object) -> Object:
        """Make a key; the answer alone has it."""
        spec = obj.get("spec") or {}
        parent = await key_of(self._client, call.caller)
        if wrong := causes(call.caller, spec, parent):
            raise invalid(OWNED_ACCESS_KEYS, obj["metadata"].get("name", ""), *wrong)
        key = new_key(self._random(KEY_BYTES))
        stored = await self._stored(call.caller, obj, parent)
        stored["spec"]["keyHash"] = key_hash(key)
        answer = outward(await self._keys.create(call, stored))
        if not call.dry_run:
            answer["spec"]["key"] = key
        return answer

    async def delete(self, call: Call, options: Object) -> Object:
        """Delete one; it stops working at once."""
        stored = await self._own(call)
        options = options | {"preconditions": {"uid": stored["metadata"]["uid"]}}
        answer = await self._keys.delete(call, options)
        return answer if answer.get("kind") == "Status" else outward(answer)

    async def _own(self, call: Call) -> Object:
        try:
            stored = await self._keys.get(call)
        except NotFound:
            raise not_found(OWNED_ACCESS_KEYS, call.name) from None
        if not is_own(call.caller, stored):
            raise not_found(OWNED_ACCESS_KEYS, call.name)
        return stored

    async def _stored(self, caller: Caller, obj: Object, parent: AccessKey | None) -> Object:
        resource, name = (USERS, caller.user_name) if caller.user_name else (TEAMS, caller.team_name)
        owner = await self._client.find(resource, name)
        if owner is None:
            raise Forbidden(403, "Forbidden", f"{caller.user} does not exist (any more), so it can have no keys")
        wished = obj.get("spec") or {}
        kept = ("disabled", "displayName", "ttl", "ttlAfterLastActivity", "scope", "type")
        spec = {field: wished[field] for field in kept if wished.get(field)}
        spec |= {"user": name} if caller.user_name else {"team": name}
        if parent is not None:
            spec["parent"] = parent.metadata.name
            if parent.spec.scope is not None:
                spec["scope"] = msgspec.to_builtins(parent.spec.scope)
        if generation := (owner.get("spec") or {}).get("tokenGeneration"):
            spec["tokenGeneration"] = generation
        given = obj["metadata"]
        metadata = {field: given[field] for field in ("name", "labels", "annotations") if given.get(field)}
        if "name" not in metadata:
            metadata["generateName"] = given.get("generateName") or f"{name[:40].rstrip('-.')}-"
        # The key goes when its owner is deleted: one of the same name who comes later must not inherit it.
        reference = {"apiVersion": resource.api_version, "kind": resource.kind, "name": name}
        metadata["ownerReferences"] = [reference | {"uid": owner["metadata"]["uid"]}]
        return {"apiVersion": ACCESSKEYS.api_version, "kind": ACCESSKEYS.kind, "metadata": metadata, "spec": spec}
