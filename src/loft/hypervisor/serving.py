"""TLS for what the hypervisor serves: the kubelet API of virtual nodes, the admission webhook, metrics.k8s.io."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from loft.hypervisor.certificates import metrics_pair, node_serving_pair, trusted, webhook_pair
from loft.hypervisor.metrics_plan import SERVER_NAME
from loft.hypervisor.splice import Stream
from loft.pki.authority import KeyPair, due

log = logging.getLogger(__name__)

HANDSHAKE_S = 10.0


def server_context(pair: KeyPair, *, client_ca: bytes = b"") -> ssl.SSLContext:
    """Return a server's context (TLS 1.2 and up, HTTP/1.1); with `client_ca`, clients must prove themselves by it.

    The key never reaches a file system: the standard library reads from files only, so it gets one in memory.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca.decode())
    handle = os.memfd_create("loft-serving-certificate", os.MFD_CLOEXEC)
    with os.fdopen(handle, "wb") as file:
        file.write(pair.cert + b"\n" + pair.key)
        file.flush()
        context.load_cert_chain(Path("/proc/self/fd") / str(handle))
    return context


class Peer(msgspec.Struct, frozen=True):
    """Who a verified client certificate says that somebody is, as Kubernetes reads it: user and groups."""

    name: str = ""
    groups: tuple[str, ...] = ()


def peer(tls: ssl.SSLObject | None) -> Peer:
    """Return the holder of a verified client certificate, nobody when there is none."""
    certificate = tls.getpeercert() if tls else None
    subject = (certificate or {}).get("subject", ())
    facts = [pair for relative_name in subject for pair in relative_name if isinstance(pair, tuple)]
    names = [str(pair[1]) for pair in facts if pair[0] == "commonName"]
    return Peer(names[0] if names else "", tuple(str(pair[1]) for pair in facts if pair[0] == "organizationName"))


async def secured(stream: Stream, context: ssl.SSLContext, what: str, *, client_name: str = "") -> bool:
    """Make a connection speak TLS; return whether it may be served.

    Args:
        stream: as it was accepted.
        context: the server's; where a client is asked for, it asks for its certificate.
        what: says in the log which connection it is.
        client_name: who alone may call, "" when that is known already.
    """
    writer = stream[1]
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            await writer.start_tls(context)
    except (OSError, TimeoutError) as error:
        log.info("%s: TLS failed: %s", what, error)
        return False
    if client_name and peer(writer.get_extra_info("ssl_object")).name != client_name:
        log.warning("%s: not the API server's certificate", what)
        return False
    return True


class ServingContexts:
    """TLS contexts by node address (and one for the webhook), issued when first used and again when due."""

    def __init__(self, data: dict[str, bytes], hours: float) -> None:
        self._data = data
        self._hours = hours
        self._known: dict[str, tuple[bytes, ssl.SSLContext]] = {}

    def node(self, address: str) -> ssl.SSLContext:
        """Return the context for connections to the virtual node at an address."""
        return self._get(address)

    def webhook(self) -> ssl.SSLContext:
        """Return the context of the admission webhook."""
        return self._get("")

    def metrics(self) -> ssl.SSLContext:
        """Return the context of metrics.k8s.io."""
        return self._get(SERVER_NAME)

    def _get(self, address: str) -> ssl.SSLContext:
        now = datetime.now(UTC)
        known = self._known.get(address)
        if known is None or due(known[0], now):
            pair, client_ca = self._issue(address, now)
            known = self._known[address] = (pair.cert, server_context(pair, client_ca=client_ca))
        return known[1]

    def _issue(self, address: str, now: datetime) -> tuple[KeyPair, bytes]:
        if not address:
            return webhook_pair(self._data, now, self._hours), b""
        if address == SERVER_NAME:
            return metrics_pair(self._data, address, now, self._hours), trusted(self._data, "front-proxy-ca.crt")
        return node_serving_pair(self._data, address, now, self._hours), trusted(self._data, "kubelet-client-ca.crt")
