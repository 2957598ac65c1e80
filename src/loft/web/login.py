"""Signing in with a password: the answer is an access key of type Login.

Unknown accounts, accounts without a password and wrong passwords get the same answer after the same work.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from loft.api.user import User
from loft.core.resource import ACCESSKEYS, SECRETS, USERS
from loft.identity.directory import Directory
from loft.identity.keys import KEY_BYTES, key_hash, new_key
from loft.identity.passwords import PASSWORD_LENGTH_MAX, verify_password
from loft.kube.client import Client
from loft.web.answers import Refused, answer, body, client_address
from loft.web.throttle import Throttle

log = logging.getLogger(__name__)

SESSION_S = 30 * 24 * 3600
"""A session ends when it was not used for so long."""
AT_ONCE_MAX = 4
"""Passwords hashed at the same time; each takes 64 MiB."""
WAITING_MAX = 32
BODY_BYTES_MAX = 16 * 1024
PASSWORD_KEY = "password"


class PasswordLoginRequest(msgspec.Struct, frozen=True):
    """What is posted."""

    username: str
    password: str


class Login:
    """`POST /auth/password/login`."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        directory: Directory,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`namespace` holds the Secrets with password hashes; a new key is put into `directory` at once."""
        self._client = client
        self._namespace = namespace
        self._directory = directory
        self._random = random
        self._clock = clock
        self._throttle = Throttle()
        self._hashing = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting = 0

    async def __call__(self, request: Request) -> Response:
        """Answer a login."""
        try:
            wish = msgspec.json.decode(await body(request, BODY_BYTES_MAX), type=PasswordLoginRequest)
        except msgspec.DecodeError as error:
            text = f'send {{"username": "…", "password": "…"}}: {error}'
            raise Refused(400, "BadRequest", text) from error
        account, address = wish.username[:PASSWORD_LENGTH_MAX], client_address(request)
        if wait_s := self._throttle.wait_s(account, address, self._clock()):
            raise Refused(429, "TooManyRequests", f"too many wrong passwords; wait {wait_s:.0f} s", wait_s)
        user = self._directory.by_login(account)
        if not await self._fits(user, wish.password):
            self._throttle.failed(account, address, self._clock())
            log.info("login of %r from %s refused", account[:100], address)
            raise Refused(401, "Unauthorized", "username or password is wrong")
        assert user is not None, "no password fits nobody"
        if user.spec.disabled:
            raise Refused(403, "Forbidden", f"user {user.metadata.name} is disabled; ask an administrator")
        self._throttle.succeeded(account, address)
        key = await self._new_key(user)
        log.info("login of %s from %s", user.metadata.name, address)
        return answer({"user": user.metadata.name, "username": account, "accessKey": key})

    async def _fits(self, user: User | None, password: str) -> bool:
        if self._waiting >= WAITING_MAX:
            raise Refused(429, "TooManyRequests", "too many logins at once; try again in a moment", 2.0)
        self._waiting += 1
        try:
            stored = await self._stored(user) if user is not None else None
            async with self._hashing:
                return await asyncio.to_thread(verify_password, stored, password)
        finally:
            self._waiting -= 1

    async def _stored(self, user: User) -> str | None:
        reference = user.spec.password_ref
        if reference is None or not reference.secret_name:
            return None
        # Only our own namespace: a reference is part of an object that others may write.
        if reference.secret_namespace not in ("", self._namespace):
            return None
        secret = await self._client.find(SECRETS, reference.secret_name, self._namespace)
        data = ((secret or {}).get("data") or {}).get(reference.key or PASSWORD_KEY) or ""
        try:
            return base64.b64decode(data).decode().strip() or None
        except (binascii.Error, UnicodeDecodeError):
            return None

    async def _new_key(self, user: User) -> str:
        key = new_key(self._random(KEY_BYTES))
        name = user.metadata.name
        owner = {"apiVersion": USERS.api_version, "kind": USERS.kind, "name": name, "uid": user.metadata.uid}
        spec: dict[str, Any] = {
            "user": name,
            "keyHash": key_hash(key),
            "type": "Login",
            "displayName": "Login",
            "ttl": SESSION_S,
            "ttlAfterLastActivity": True,
        }
        if user.spec.token_generation:
            spec["tokenGeneration"] = user.spec.token_generation
        stored = await self._client.create(
            ACCESSKEYS,
            {
                "apiVersion": ACCESSKEYS.api_version,
                "kind": ACCESSKEYS.kind,
                # With its user the key goes, too: one of the same name who comes later must not inherit it.
                "metadata": {"generateName": f"login-{name[:40].rstrip('-.')}-", "ownerReferences": [owner]},
                "spec": spec,
            },
        )
        # Whoever has the key may use it in the same instant; the informer would be a moment later.
        self._directory.set_access_key(stored)
        return key
