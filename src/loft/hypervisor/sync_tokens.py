"""ServiceAccount tokens of Pods: asked for at the virtual API server, kept fresh in host Secrets."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from loft.core.action import Delete
from loft.core.resource import SECRETS, SERVICEACCOUNTS
from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.side import on_host
from loft.hypervisor.kinds.pod_lifecycle import is_finished
from loft.hypervisor.kinds.pod_volumes import TokenSource, token_secret_name, token_sources
from loft.hypervisor.kinds.serviceaccount import TOKEN_OF_POD, Token, due_in_s, needs_tokens, plan_tokens, token_request
from loft.hypervisor.sync_world import World
from loft.hypervisor.sync_writes import NameOccupied, Writer
from loft.kube import request as requests
from loft.kube.client import Client


class Tokens:
    """Issues, renews and removes the tokens of Pods."""

    def __init__(self, virtual: Client, world: World, writer: Writer) -> None:
        self._virtual = virtual
        self._world = world
        self._writer = writer

    async def ensure(self, pod: Object) -> None:
        """Make sure that the host Secret of a Pod's tokens exists and none is due. Raises: ApiError."""
        if not needs_tokens(pod):
            return
        now = datetime.now(UTC)
        secret = self._secret(pod)
        if secret is not None and due_in_s(secret, now, self._world.settings.token_key) > 0:
            return
        sources = token_sources(pod)
        issued = await asyncio.gather(*[self._issue(pod, source) for source in sources])
        tokens = {source.key: token for source, token in zip(sources, issued, strict=True)}
        about = (self._world.settings, now)
        try:
            await self._writer.execute(plan_tokens(pod, secret, tokens, self._world.names, about))
        except NameOccupied:
            # The name holds the Pod's uid, so it can only be our own Secret that the cache has not seen yet.
            return

    async def renew(self, pod: Object) -> float | None:
        """Renew the tokens of a running Pod when due; return the seconds until that is due again."""
        if not needs_tokens(pod) or is_finished(pod):
            return None
        await self.ensure(pod)
        secret = self._secret(pod)
        key = self._world.settings.token_key
        return max(1.0, due_in_s(secret, datetime.now(UTC), key)) if secret is not None else 1.0

    async def remove(self, key: str) -> None:
        """Remove the tokens of Pods of this key that are gone on both sides."""
        if "Secret" not in self._world.host:
            return
        paired = self._world.pair("Pod", key)
        living = {objects.owner_uid(host) for host in [*paired.stale, *([paired.host] if paired.host else [])]}
        if paired.virtual is not None:
            living.add(objects.uid(paired.virtual))
        for secret in self._world.host["Secret"].by_index("key", f"{TOKEN_OF_POD}:{key}"):
            if objects.owner_uid(secret) not in living and not objects.is_deleting(secret):
                namespace, name = objects.namespace(secret), objects.name(secret)
                await self._writer.execute([on_host(Delete(SECRETS, namespace, name, uid=objects.uid(secret)))])

    def _secret(self, pod: Object) -> Object | None:
        names = self._world.names
        informer = self._world.host.get("Secret")
        return informer.get(f"{names.host_namespace}/{token_secret_name(pod, names)}") if informer else None

    async def _issue(self, pod: Object, source: TokenSource) -> Token:
        body = token_request(pod, source)
        answer = await self._virtual.call(requests.create(SERVICEACCOUNTS, body, subresource="token"))
        status = answer["status"]
        return str(status["token"]), datetime.fromisoformat(status["expirationTimestamp"])
