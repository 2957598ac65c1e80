"""Removes what a virtual cluster has kept in an etcd that is run elsewhere, after it was deleted.

Only below the prefix of its own name: `/NAMESPACE/NAME/` holds nothing of anybody else; one that was chosen may.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import msgspec

from loft.core.resource import PODS
from loft.kube.client import Client

POLL_S = 0.5
CALL_S = 30.0


class ForgetError(Exception):
    """What is kept could not be removed; the message says at which endpoint and why."""


def key_range(namespace: str, name: str) -> tuple[bytes, bytes]:
    """Return (first key, first key behind) of all that a virtual cluster keeps. Pure. Raises: ValueError."""
    if not namespace or not name or "/" in namespace + name:
        raise ValueError(f"{namespace!r} and {name!r} are no namespace and name")
    start = f"/{namespace}/{name}/".encode()
    # The byte after "/" is "0".
    return start, start[:-1] + b"0"


async def ended(host: Client, namespace: str, pods: Sequence[str]) -> None:
    """Wait until the pods are gone: an API server that ends still writes. Raises: ApiError."""
    left = list(pods)
    while left:
        if await host.find(PODS, left[0], namespace) is None:
            left.pop(0)
        else:
            await asyncio.sleep(POLL_S)


async def forget(endpoints: Sequence[str], folder: Path, keys: tuple[bytes, bytes]) -> int:
    """Remove a range of keys at the first endpoint that answers; return how many there were.

    Args:
        endpoints: `https://HOST:PORT` each.
        folder: holds `ca.crt`, `tls.crt` and `tls.key`.
        keys: see `key_range`.
    Raises: ForgetError.
    """
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    body = {name: base64.b64encode(key).decode() for name, key in zip(("key", "range_end"), keys, strict=True)}
    said = []
    limit = aiohttp.ClientTimeout(total=CALL_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), timeout=limit) as session:
        for endpoint in endpoints:
            try:
                async with session.post(f"{endpoint}/v3/kv/deleterange", json=body) as answer:
                    content = await answer.read()
                    if answer.status == 200:
                        return int(msgspec.json.decode(content).get("deleted", 0))
                    said.append(f"{endpoint}: {content[:300].decode(errors='replace')}")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                said.append(f"{endpoint}: {error or type(error).__name__}")
    raise ForgetError("; ".join(said))
