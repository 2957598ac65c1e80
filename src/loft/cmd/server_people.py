"""The centre's people: the directory fed by informers, and the first user."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from loft.core.resource import ACCESSKEYS, SECRETS, TEAMS, USERS
from loft.identity.directory import Directory
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from loft.kube.informer import Informer
from loft.management.users import PASSWORD_KEY, password_secret_name

log = logging.getLogger(__name__)

Object = dict[str, Any]
ADMIN_TEAM = "loft-admins"
ADMIN_PASSWORD_SECRET = "loft-admin-password"
ACTIVITY_S = 60.0
ACTIVITY_STEP = timedelta(minutes=5)


class People:
    """Keeps a Directory as the API server has it."""

    def __init__(self, client: Client, changed: Callable[[], None]) -> None:
        """`changed()` is called after each change of the directory."""
        self.directory = Directory()
        self._client = client
        self._informers = [Informer(client, resource) for resource in (USERS, TEAMS, ACCESSKEYS)]
        setters = (self.directory.set_user, self.directory.set_team, self.directory.set_access_key)
        removers = (self.directory.remove_user, self.directory.remove_team, self.directory.remove_access_key)
        for informer, put, remove in zip(self._informers, setters, removers, strict=True):
            informer.subscribe(_feeder(put, remove, changed))

    async def run(self) -> None:
        """Follow, for ever."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers:
                group.create_task(informer.run())

    async def synced(self) -> None:
        """Wait until everybody is known."""
        for informer in self._informers:
            await informer.synced()

    async def keep_activity(self) -> None:
        """Write down when keys were last used, coarsely: each write goes to every agent."""
        while True:
            await asyncio.sleep(ACTIVITY_S)
            for name, used in self.directory.last_used().items():
                key = self.directory.access_key(name)
                written = _time(key.status.last_activity) if key is not None else None
                if key is None or (written is not None and used - written < ACTIVITY_STEP):
                    continue
                text = used.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                body = {"metadata": {"uid": key.metadata.uid}, "status": {"lastActivity": text}}
                try:
                    await self._client.patch(ACCESSKEYS, name, body, kind="merge", subresource="status", manager="loft")
                except (NotFound, Conflict):
                    continue
                except ApiError as error:
                    log.warning("the last use of keys cannot be written: %s", error)
                    break


def _feeder(
    put: Callable[[Any], None], remove: Callable[[str], None], changed: Callable[[], None]
) -> Callable[[str, Object | None, Object | None], None]:
    def feed(key: str, _old: Object | None, new: Object | None) -> None:
        try:
            if new is None:
                remove(key)
            else:
                put(new)
        except ValueError as error:
            # An object of a wrong shape lets nobody in; and it must not keep the others out.
            log.error("%s is ignored: %s", key, error)
            remove(key)
        changed()

    return feed


async def ensure_admin(client: Client, namespace: str, username: str, email: str) -> None:
    """Make the first user and the administrators' team, if nobody is there yet. Raises: ApiError.

    A first user whom somebody has deleted later stays deleted, as long as there is anybody else.
    """
    if (await client.list(USERS)).items:
        return
    given = await client.find(SECRETS, ADMIN_PASSWORD_SECRET, namespace)
    stored = base64.b64decode(((given or {}).get("data") or {}).get("hash") or "").decode().strip()
    spec: Object = {"username": username, "displayName": "Administrator"}
    if email:
        spec["email"] = email
    if stored:
        name = password_secret_name(username)
        # Copied: the user may change it, and the next upgrade of the chart must not turn it back.
        await _create(
            client,
            SECRETS,
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": namespace, "labels": {"loft.sh/managed-by": "loft"}},
                "data": {PASSWORD_KEY: base64.b64encode(stored.encode()).decode()},
            },
        )
        spec["passwordRef"] = {"secretName": name, "secretNamespace": namespace, "key": PASSWORD_KEY}
    else:
        log.warning("user %s has no password: give admin.passwordHash to chart loft", username)
    team = {"displayName": "Global Admins", "users": [username]}
    await _create(client, TEAMS, _object(TEAMS, ADMIN_TEAM, team))
    await _create(client, USERS, _object(USERS, username, spec))


def _object(resource: Any, name: str, spec: Object) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}


async def _create(client: Client, resource: Any, body: Object) -> None:
    try:
        await client.create(resource, body)
    except AlreadyExists:
        return


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
