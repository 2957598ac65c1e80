"""Secrets that are made once and then kept: authorities and keys that others rely on."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from loft.core.resource import SECRETS
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists

LABELS = {"loft.sh/managed-by": "loft"}


async def ensure_secret(
    client: Client, place: tuple[str, str], make: Callable[[], Mapping[str, bytes]], *, needs: tuple[str, ...]
) -> dict[str, bytes]:
    """Return the data of a Secret (namespace, name), created if there is none; whoever creates it first, wins."""
    namespace, name = place
    found = await client.find(SECRETS, name, namespace)
    if found is None:
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "labels": LABELS},
            "data": {key: base64.b64encode(value).decode() for key, value in make().items()},
        }
        try:
            found = await client.create(SECRETS, body)
        except AlreadyExists:
            found = await client.get(SECRETS, name, namespace)
    data = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    if missing := [key for key in needs if not data.get(key)]:
        raise ValueError(f"Secret {namespace}/{name} has no {', '.join(missing)}; restore it from a backup")
    return data
