"""The agent's certificates: keys made here, signed by the centre, kept in a Secret for restarts without it.

An authority of the agent's own serves where the centre must not be needed: the aggregated API, and the listener for
people until the centre has signed a certificate for it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import aiohttp
import msgspec

from loft.core.resource import SECRETS
from loft.kube.client import Client
from loft.kube.errors import ApiError
from loft.pki.authority import KeyPair, due, issue, issued_by, new_authority
from loft.pki.request import new_request
from loft.tenancy.cluster.certificates import CertificateRequests, Certificates, split
from loft.tenancy.replica.follower import Centre, CentreError
from loft.tenancy.secrets import ensure_secret

log = logging.getLogger(__name__)

NAME = "loft-agent-certificates"
MANAGER = "loft-agent"
PATH = "/agent/v1/certificates"
ANSWER_S = 20.0
ANSWER_BYTES_MAX = 1024 * 1024
LOOK_S = 300.0
RETRY_S = 5.0


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """What the centre signed."""

    centre: KeyPair
    """For the listener for the centre."""
    people: KeyPair
    ca: bytes
    hosts: tuple[str, ...] = ()
    """Names that were wanted in the certificate for people."""

    def is_current(self, hosts: tuple[str, ...], now: datetime) -> bool:
        """Tell whether it can be used as it is, for these names."""
        fits = all(issued_by(pair.cert, self.ca) for pair in (self.centre, self.people))
        return fits and self.hosts == hosts and not due(self.centre.cert, now) and not due(self.people.cert, now)


class Credentials:
    """Gets, keeps and renews them."""

    def __init__(
        self, client: Client, namespace: str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._clock = clock
        self._wake = asyncio.Event()
        self._hosts: tuple[str, ...] | None = None

    async def own_authority(self) -> KeyPair:
        """Return the agent's own authority, made once for all its replicas. Raises: ApiError."""

        def make() -> dict[str, bytes]:
            pair = new_authority("loft-agent", self._clock())
            return {"ca.crt": pair.cert, "ca.key": pair.key}

        data = await ensure_secret(self._client, (self._namespace, NAME), make, needs=("ca.crt", "ca.key"))
        return KeyPair(cert=data["ca.crt"], key=data["ca.key"])

    def own_certificate(self, authority: KeyPair, names: list[str]) -> KeyPair:
        """Return a certificate by the agent's own authority."""
        found, now = split(names), self._clock()
        return issue(
            authority,
            common_name="loft-agent",
            dns=found["dns"],
            ips=found["ips"],
            usage="server",
            now=now,
            days=90,
        )

    async def stored(self) -> Issued | None:
        """Return what the centre signed earlier, None when there is nothing. Raises: ApiError."""
        secret = await self._client.find(SECRETS, NAME, self._namespace)
        data = {key: base64.b64decode(value) for key, value in ((secret or {}).get("data") or {}).items()}
        fields = ("centre.crt", "centre.key", "people.crt", "people.key", "centre-ca.crt")
        if not all(data.get(field) for field in fields):
            return None
        return Issued(
            centre=KeyPair(cert=data["centre.crt"], key=data["centre.key"]),
            people=KeyPair(cert=data["people.crt"], key=data["people.key"]),
            ca=data["centre-ca.crt"],
            hosts=tuple(data.get("hosts", b"").decode().split()),
        )

    def set_hosts(self, hosts: tuple[str, ...]) -> None:
        """Say which names the certificate for people needs."""
        if hosts != self._hosts:
            self._hosts = hosts
            self._wake.set()

    async def keep(self, centre: Centre, use: Callable[[Issued], None]) -> None:
        """Hand what there is to `use`, and again whenever the centre has signed anew; for ever."""
        current = await self.stored()
        if current is not None:
            use(current)
        while True:
            wait_s = LOOK_S
            hosts = self._hosts
            # Without a word from the centre there is nobody to ask.
            if hosts is not None and (current is None or not current.is_current(hosts, self._clock())):
                try:
                    current = await self._request(centre, hosts)
                    use(current)
                    await self._store(current)
                except (CentreError, aiohttp.ClientError, OSError, TimeoutError, ApiError, ValueError) as error:
                    log.warning("no new certificates: %s", str(error) or type(error).__name__)
                    wait_s = RETRY_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _request(self, centre: Centre, hosts: tuple[str, ...]) -> Issued:
        keys, requests = {}, {}
        for purpose in ("centre", "people"):
            key, request = new_request(f"{purpose} {centre.cluster}")
            keys[purpose], requests[purpose] = key, request.decode()
        wish = CertificateRequests(requests=requests, namespace=self._namespace)
        made = await _post(centre, msgspec.json.encode(wish))
        pairs = {
            purpose: KeyPair(cert=made.certificates[purpose].encode(), key=keys[purpose])
            for purpose in keys
            if purpose in made.certificates
        }
        if len(pairs) != len(keys):
            raise CentreError("it has not signed all certificates")
        return Issued(centre=pairs["centre"], people=pairs["people"], ca=made.ca.encode(), hosts=hosts)

    async def _store(self, issued: Issued) -> None:
        fields = {
            "centre.crt": issued.centre.cert,
            "centre.key": issued.centre.key,
            "people.crt": issued.people.cert,
            "people.key": issued.people.key,
            "centre-ca.crt": issued.ca,
            "hosts": " ".join(issued.hosts).encode(),
        }
        data = {key: base64.b64encode(value).decode() for key, value in fields.items()}
        await self._client.patch(SECRETS, NAME, {"data": data}, self._namespace, "merge", manager=MANAGER)


async def _post(centre: Centre, content: bytes) -> Certificates:
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    headers = {"Authorization": f"Bearer {centre.token}", "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=centre.tls()), timeout=timeout) as session,
        session.post(centre.url.rstrip("/") + PATH, data=content, headers=headers, allow_redirects=False) as answer,
    ):
        text = await answer.content.read(ANSWER_BYTES_MAX)
        if answer.status != 200:
            raise CentreError(f"it answers {answer.status}: {text[:300].decode('utf-8', 'replace')}")
        try:
            return msgspec.json.decode(text, type=Certificates)
        except msgspec.DecodeError as error:
            raise CentreError(f"its answer cannot be read: {error}") from error
