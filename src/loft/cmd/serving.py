"""Certificates and registrations that the servers share: a given certificate, the APIService's authority."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import Any

from loft.core.resource import APISERVICES, SECRETS
from loft.kube.client import Client
from loft.kube.informer import Informer
from loft.pki.authority import KeyPair, expires

log = logging.getLogger(__name__)

Object = dict[str, Any]


def given_pair(secret: Object | None) -> KeyPair | None:
    """Return the certificate of a kubernetes.io/tls Secret, None when there is none that can be used. Pure."""
    data = (secret or {}).get("data") or {}
    try:
        pair = KeyPair(cert=base64.b64decode(data["tls.crt"]), key=base64.b64decode(data["tls.key"]))
        expires(pair.cert)
    except (KeyError, ValueError):
        return None
    return pair


async def follow_certificate(client: Client, namespace: str, name: str, use: Callable[[KeyPair], None]) -> None:
    """Use the certificate of a Secret now and whenever it changes, for ever."""
    informer = Informer(client, SECRETS, namespace, field_selector=f"metadata.name={name}")

    def changed(_key: str, _old: Object | None, new: Object | None) -> None:
        pair = given_pair(new)
        if pair is None:
            log.error("Secret %s/%s holds no certificate that can be used; the last one stays", namespace, name)
        else:
            use(pair)

    informer.subscribe(changed)
    await informer.run()


async def register(client: Client, name: str, ca: bytes) -> None:
    """Tell the API server by which authority it verifies our aggregated API. Raises: ApiError."""
    bundle = base64.b64encode(ca).decode()
    found = await client.get(APISERVICES, name)
    if (found.get("spec") or {}).get("caBundle") != bundle:
        await client.patch(APISERVICES, name, {"spec": {"caBundle": bundle}}, kind="merge", manager="loft")
