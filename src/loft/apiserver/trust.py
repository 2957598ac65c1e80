"""Whose word about a caller is taken: front proxies known by their client certificate.

Two authorities are usual: the aggregation layer of the API server in front (its requestheader CA and names, read
from the ConfigMap kube-system/extension-apiserver-authentication), and our own gateway. TLS verifies that a
certificate was issued by one of them and is in date; which one, and whether the name is allowed, is decided
here. Certificates must be issued by the CA itself: intermediates are refused.
"""

from __future__ import annotations

import json
import logging
import ssl
import tempfile
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from loft.apiserver.caller import HeaderNames
from loft.core.resource import CONFIGMAPS
from loft.kube.client import Client
from loft.kube.informer import Informer
from loft.pki.authority import KeyPair

log = logging.getLogger(__name__)

REQUESTHEADER = "requestheader"
"""Name of the aggregation layer's authority."""
REQUESTHEADER_NAMESPACE = "kube-system"
REQUESTHEADER_NAME = "extension-apiserver-authentication"


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """A CA whose certificates make a front proxy."""

    name: str
    ca: bytes
    """PEM, one or more certificates."""
    allowed_names: tuple[str, ...] = ()
    """Common names that may be a front proxy; empty means any (as in the aggregation layer)."""
    headers: HeaderNames = HeaderNames()
    ours_only: bool = False
    """It may only speak for identities of the platform."""


class Trust:
    """The authorities and our serving certificate; both may change while the server runs."""

    def __init__(self, certificate: KeyPair, authorities: tuple[Authority, ...] = ()) -> None:
        self._certificate = certificate
        self._authorities = {authority.name: authority for authority in authorities}
        self._context = self._build()
        # The listener keeps this context for ever; each handshake is moved to the current one.
        self.listener_context = self._build()
        self.listener_context.sni_callback = self._use_current

    def set_authority(self, authority: Authority) -> None:
        """Add or replace an authority; connections that are open stay.

        Raises: ValueError when its CA cannot be read.
        """
        if self._authorities.get(authority.name) == authority:
            return
        self._change(self._certificate, self._authorities | {authority.name: authority})

    def knows(self, name: str) -> bool:
        """Tell whether an authority of this name is set; without it nobody is believed on its word."""
        return name in self._authorities

    def set_certificate(self, certificate: KeyPair) -> None:
        """Serve another certificate from now on. Raises: ValueError when it cannot be used."""
        self._change(certificate, self._authorities)

    def authority_of(self, certificate: bytes | None) -> Authority | None:
        """Return whose front proxy has this client certificate (DER, verified by TLS), None for nobody's."""
        if not certificate:
            return None
        leaf = x509.load_der_x509_certificate(certificate)
        names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        name = str(names[0].value) if len(names) == 1 else ""
        for authority in self._authorities.values():
            if authority.allowed_names and name not in authority.allowed_names:
                continue
            if any(_issued(leaf, ca) for ca in x509.load_pem_x509_certificates(authority.ca)):
                return authority
        return None

    def _change(self, certificate: KeyPair, authorities: dict[str, Authority]) -> None:
        before = self._certificate, self._authorities
        self._certificate, self._authorities = certificate, authorities
        try:
            self._context = self._build()
        except (ssl.SSLError, ValueError) as error:
            self._certificate, self._authorities = before
            raise ValueError(f"the certificates cannot be used: {error}") from error

    def _use_current(self, connection: ssl.SSLObject, _name: str, _context: ssl.SSLContext) -> None:
        connection.context = self._context

    def _build(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_OPTIONAL
        # The standard library loads certificate chains from files only; they live for this call.
        with tempfile.NamedTemporaryFile(prefix="loft-") as file:
            file.write(self._certificate.cert + b"\n" + self._certificate.key)
            file.flush()
            context.load_cert_chain(file.name)
        for authority in self._authorities.values():
            context.load_verify_locations(cadata=authority.ca.decode())
        return context


def requestheader_authority(data: dict[str, str]) -> Authority:
    """Read the ConfigMap in which an API server says how its aggregation layer proves itself.

    Raises: ValueError when it has no requestheader CA (then the aggregation layer is off).
    """
    ca = data.get("requestheader-client-ca-file", "")
    if not ca.strip():
        raise ValueError("the API server has no requestheader client CA; turn its aggregation layer on")

    def listed(key: str) -> tuple[str, ...]:
        found: Any = json.loads(data.get(key) or "[]")
        return tuple(str(item) for item in found)

    def lowered(key: str) -> tuple[str, ...]:
        return tuple(item.lower() for item in listed(key))

    return Authority(
        name=REQUESTHEADER,
        ca=ca.encode(),
        allowed_names=listed("requestheader-allowed-names"),
        headers=HeaderNames(
            user=lowered("requestheader-username-headers"),
            group=lowered("requestheader-group-headers"),
            uid=lowered("requestheader-uid-headers"),
            extra_prefix=lowered("requestheader-extra-headers-prefix"),
        ),
    )


async def follow_requestheader(client: Client, trust: Trust) -> None:
    """Keep the aggregation layer's authority current, for ever."""
    informer = Informer(
        client, CONFIGMAPS, REQUESTHEADER_NAMESPACE, field_selector=f"metadata.name={REQUESTHEADER_NAME}"
    )

    def changed(_key: str, _old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        try:
            trust.set_authority(requestheader_authority((new or {}).get("data") or {}))
        except ValueError as error:
            log.error("%s/%s: %s", REQUESTHEADER_NAMESPACE, REQUESTHEADER_NAME, error)

    informer.subscribe(changed)
    await informer.run()


def _issued(leaf: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):  # which one depends on the kind of key
        return False
    return True
