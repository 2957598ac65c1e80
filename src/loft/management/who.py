"""What the stored users and teams say about a caller."""

from __future__ import annotations

from typing import Any

import msgspec

from loft.api.accesskey import AccessKey
from loft.apiserver.caller import Caller
from loft.core.resource import ACCESSKEYS, TEAMS, USERS
from loft.kube.client import Client

Object = dict[str, Any]


def entity(obj: Object) -> Object:
    """Return a User or Team as it is shown to others (EntityInfo)."""
    spec = obj.get("spec") or {}
    name = obj["metadata"]["name"]
    found = {
        "name": name,
        "displayName": spec.get("displayName"),
        "username": spec.get("username") or name,
        "email": spec.get("email"),
        "subject": spec.get("subject"),
    }
    return {key: value for key, value in found.items() if value}


async def user_of(client: Client, caller: Caller) -> Object | None:
    """Return the User object of a caller, None when there is none."""
    return await client.find(USERS, caller.user_name) if caller.user_name else None


async def teams_of(client: Client, caller: Caller) -> list[Object]:
    """Return the Team objects that a caller acts for, by name."""
    names = sorted(caller.teams)
    found = [await client.find(TEAMS, name) for name in names]
    return [team for team in found if team is not None]


async def key_of(client: Client, caller: Caller) -> AccessKey | None:
    """Return the access key that a request was made with, None when the gateway named none."""
    if not caller.key_name:
        return None
    stored = await client.find(ACCESSKEYS, caller.key_name)
    return msgspec.convert(stored, AccessKey) if stored is not None else None
