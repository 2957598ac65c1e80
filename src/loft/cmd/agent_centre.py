"""The agent's link to the centre: its settings from the Secret, the copy of users and keys, certificates."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import loft
from loft.cmd.agent_config import centre_of
from loft.core.resource import SECRETS
from loft.gateway.gateway import Gateway
from loft.gateway.settings import CentreListener
from loft.kube.client import Client
from loft.kube.errors import ApiError
from loft.kube.informer import Informer
from loft.tenancy.cluster.plan import AGENT_SECRET
from loft.tenancy.replica.credentials import Credentials, Issued
from loft.tenancy.replica.follower import Centre, Follower, State
from loft.tenancy.replica.keeping import Keeper
from loft.tenancy.replica.wire import Hello

log = logging.getLogger(__name__)

LOOK_S = 1.0
PATIENCE_S = 10.0
"""So long the gateway stays closed while nothing is known of anybody: requests would only be refused."""


async def wait_for_centre(client: Client, namespace: str) -> Centre:
    """Return the centre's address and our token as soon as the Secret has them."""
    said = False
    while True:
        try:
            centre = centre_of(await client.find(SECRETS, AGENT_SECRET, namespace))
            if centre is not None:
                return centre
            if not said:
                log.info(
                    "waiting for Secret %s/%s, in which the centre says how it is reached", namespace, AGENT_SECRET
                )
                said = True
        except ApiError as error:
            log.warning("Secret %s/%s: %s", namespace, AGENT_SECRET, error)
        await asyncio.sleep(LOOK_S)


async def watch_centre(client: Client, namespace: str, centre: Centre, changed: Callable[[], None]) -> None:
    """Call `changed` when the Secret says something else than at the start; for ever."""
    informer = Informer(client, SECRETS, namespace, field_selector=f"metadata.name={AGENT_SECRET}")

    def on_secret(_key: str, _old: object, new: dict[str, object] | None) -> None:
        found = centre_of(new)
        if found is not None and found != centre:
            log.warning("the centre's address or the agent's token has changed; starting anew")
            changed()

    informer.subscribe(on_secret)
    await informer.run()


class Link:
    """Feeds the gateway from the centre, or from what is stored of it."""

    def __init__(self, client: Client, namespace: str, centre: Centre, gateway: Gateway) -> None:
        self._centre = centre
        self._gateway = gateway
        self.credentials = Credentials(client, namespace)
        self.serves_people = True
        """Unset where the certificate for people is given by a Secret."""
        self._extra_hosts: tuple[str, ...] = ()
        self._keeper = Keeper(client, namespace, centre.cluster)
        self._known = asyncio.Event()
        self._follower = Follower(centre, changed=self._use, told=self._told, version=loft.__version__)

    def set_extra_hosts(self, hosts: tuple[str, ...]) -> None:
        """Names for the certificate for people besides those that the centre says."""
        self._extra_hosts = hosts

    async def restore(self) -> None:
        """Begin with what is stored, if its lease lasts."""
        try:
            restored = await self._keeper.restore()
        except (ApiError, ValueError) as error:
            log.warning("the stored replica of users and keys cannot be read: %s", error)
            return
        if restored is not None and self._follower.restore(restored):
            log.info("deciding by the stored replica of users and keys, last heard of at %s", restored.heard)

    async def known(self) -> None:
        """Wait until something is known of users and keys, but not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._known.wait()

    async def follow(self) -> None:
        """Stay connected, for ever."""
        await self._follower.run()

    async def store(self) -> None:
        """Keep the copy in the Secret, for ever; in the leading replica."""
        await self._keeper.run(lambda: self._follower.state)

    async def keep_certificates(self) -> None:
        """Have certificates signed and renewed, for ever."""
        await self.credentials.keep(self._centre, self._use_certificates)

    def _use(self, state: State) -> None:
        self._gateway.set_directory(state.directory)
        self._gateway.set_endpoint_token_key(state.replica.signing_public_key.encode())
        self._keeper.changed()
        self._known.set()

    def _told(self, hello: Hello) -> None:
        self.credentials.set_hosts(tuple(dict.fromkeys((*hello.hosts, *self._extra_hosts))))

    def _use_certificates(self, issued: Issued) -> None:
        self._gateway.set_centre_listener(CentreListener(serving=issued.centre, client_ca=issued.ca))
        if self.serves_people:
            self._gateway.set_serving_certificate(issued.people)
