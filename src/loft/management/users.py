"""users: the stored users, and `profile`, by which people change what is theirs: display name, picture, password.

A password is kept as argon2id hash in a Secret next to the server and can never be read.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import msgspec

from loft.api.management import UserProfile
from loft.apiserver.authorize import Reviewer
from loft.apiserver.call import Call, Object
from loft.apiserver.caller import Caller
from loft.apiserver.forward import Forwarded
from loft.apiserver.refusal import Cause, invalid
from loft.core.resource import SECRETS, USERS, Resource
from loft.identity.passwords import hash_password, verify_password
from loft.kube.client import Client
from loft.management.roles import RoleCheck

VIEW = Resource("management.loft.sh", "v1", "users", "User", namespaced=False)
MANAGER = "loft"
PASSWORD_KEY = "password"
SALT_BYTES = 16
PASSWORD_LENGTH_MIN = 8
_PROFILE_FIELDS = ("displayName", "icon")


def password_secret_name(user: str) -> str:
    """Return the name of the Secret that holds a user's password hash."""
    return f"loft-password-{user}"


def name_clash(obj: Object, others: list[Object]) -> str:
    """Return the name of another user with the same login name, "" when there is none. Pure."""
    mine = obj["metadata"].get("name")
    login = (obj.get("spec") or {}).get("username") or mine
    for other in others:
        name = other["metadata"]["name"]
        if name != mine and login in ((other.get("spec") or {}).get("username") or name, name):
            return str(name)
    return ""


class Users(Forwarded):
    """See declaration.Store; `namespace` is where the Secrets are."""

    def __init__(self, client: Client, reviewer: Reviewer, namespace: str, random: Callable[[int], bytes]) -> None:
        super().__init__(client, VIEW, USERS, check=self._check_user)
        self._roles = RoleCheck(client, reviewer, VIEW, USERS)
        self._client = client
        self._namespace = namespace
        self._random = random

    async def get(self, call: Call) -> Object:
        """Read a user, or their profile."""
        if call.subresource != "profile":
            return await super().get(call)
        return profile_of(await super().get(msgspec.structs.replace(call, subresource="")))

    async def create(self, call: Call, obj: Object) -> Object:
        """Create a user, or change a profile."""
        if call.subresource != "profile":
            return await super().create(call, obj)
        wish = msgspec.convert(obj, UserProfile)
        user = await super().get(msgspec.structs.replace(call, verb="get", subresource=""))
        spec: Object = {field: obj[field] for field in _PROFILE_FIELDS if obj.get(field) is not None}
        if wish.password is not None:
            await self._require_current(call.caller, user, wish)
            spec["passwordRef"] = await self._store_password(user, wish.password, dry_run=call.dry_run)
        if spec and not call.dry_run:
            # The uid makes sure that it is still this user.
            change = {"metadata": {"uid": user["metadata"]["uid"]}, "spec": spec}
            user = self.outward(await self._client.patch(USERS, call.name, change, kind="merge", manager=MANAGER))
        return profile_of(user)

    async def _check_user(self, call: Call, obj: Object) -> None:
        name = obj["metadata"].get("name") or call.name
        reference = (obj.get("spec") or {}).get("passwordRef") or {}
        if reference.get("secretNamespace") not in (None, "", self._namespace):
            text = f"password hashes are kept in namespace {self._namespace}"
            raise invalid(VIEW, name, Cause("spec.passwordRef.secretNamespace", text))
        await self._roles(call, obj)
        if other := name_clash(obj, (await self._client.list(USERS)).items):
            text = f"user {other!r} signs in under this name already; choose another"
            raise invalid(VIEW, name, Cause("spec.username", text, "FieldValueDuplicate"))

    async def _require_current(self, caller: Caller, user: Object, wish: UserProfile) -> None:
        """Refuse the change of one's own password without the old one; a stolen session must not be enough."""
        name = user["metadata"]["name"]
        if wish.password is not None and len(wish.password) < PASSWORD_LENGTH_MIN:
            raise invalid(VIEW, name, Cause("password", f"use at least {PASSWORD_LENGTH_MIN} characters"))
        if caller.user_name != name:
            return
        stored = await self._stored_password(user)
        if stored is None:
            return
        if not await asyncio.to_thread(verify_password, stored, wish.current_password or ""):
            raise invalid(VIEW, name, Cause("currentPassword", "is not the password you have now"))

    async def _stored_password(self, user: Object) -> str | None:
        reference = (user.get("spec") or {}).get("passwordRef") or {}
        if not reference.get("secretName"):
            return None
        secret = await self._client.find(
            SECRETS, reference["secretName"], reference.get("secretNamespace") or self._namespace
        )
        data: Any = ((secret or {}).get("data") or {}).get(reference.get("key") or PASSWORD_KEY)
        return base64.b64decode(data).decode() if data else None

    async def _store_password(self, user: Object, password: str, *, dry_run: bool) -> Object:
        name = user["metadata"]["name"]
        try:
            hashed = await asyncio.to_thread(hash_password, password, self._random(SALT_BYTES))
        except ValueError as error:
            raise invalid(VIEW, name, Cause("password", str(error))) from None
        secret = password_secret_name(name)
        owner = {"apiVersion": USERS.api_version, "kind": USERS.kind, "name": name, "uid": user["metadata"]["uid"]}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            # With its user the Secret is deleted, too.
            "metadata": {"name": secret, "namespace": self._namespace, "ownerReferences": [owner]},
            "data": {PASSWORD_KEY: base64.b64encode(hashed.encode()).decode()},
        }
        if not dry_run:
            await self._client.apply(SECRETS, body, manager=MANAGER)
        return {"secretName": secret, "secretNamespace": self._namespace, "key": PASSWORD_KEY}


def profile_of(user: Object) -> Object:
    """Return the profile of a user: never a password."""
    spec = user.get("spec") or {}
    shown = {field: spec[field] for field in _PROFILE_FIELDS if spec.get(field)}
    return {"apiVersion": VIEW.api_version, "kind": "UserProfile"} | shown
