"""selves: who am I. Nothing is stored; the one object is made from the caller's credential."""

from __future__ import annotations

from loft.apiserver.call import Call, ListOptions, Object, Page
from loft.apiserver.refusal import not_found
from loft.apiserver.store import Refusing
from loft.core.resource import Resource
from loft.kube.client import Client
from loft.management.who import entity, key_of, teams_of, user_of

SELVES = Resource("management.loft.sh", "v1", "selves", "Self", namespaced=False)
NAME = "self"


class Selves(Refusing):
    """See declaration.Store."""

    def __init__(self, client: Client) -> None:
        super().__init__(SELVES)
        self._client = client

    async def create(self, call: Call, obj: Object) -> Object:
        """Answer; the object that was sent says nothing."""
        return await self._self(call)

    async def get(self, call: Call) -> Object:
        """Answer by the name `self` or the caller's own."""
        if call.name not in (NAME, call.caller.user_name, call.caller.team_name):
            raise not_found(SELVES, call.name)
        return await self._self(call)

    async def list(self, call: Call, options: ListOptions) -> Page:
        """Answer: there is exactly one."""
        return Page(items=[await self._self(call)])

    async def _self(self, call: Call) -> Object:
        caller = call.caller
        status: Object = {"subject": caller.user, "groups": list(caller.groups)}
        teams = [entity(team) for team in await teams_of(self._client, caller)]
        if (user := await user_of(self._client, caller)) is not None:
            status["user"] = entity(user) | {"teams": teams}
        elif caller.team_name:
            status["team"] = next((team for team in teams if team["name"] == caller.team_name), None)
        if (key := await key_of(self._client, caller)) is not None:
            status |= {"accessKey": key.metadata.name, "accessKeyType": key.spec.type}
        name = caller.user_name or caller.team_name or NAME
        return {
            "apiVersion": SELVES.api_version,
            "kind": SELVES.kind,
            "metadata": {"name": name},
            "spec": {},
            "status": {key: value for key, value in status.items() if value},
        }
