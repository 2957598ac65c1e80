"""What is wrong with the control plane, noted where the agent sees it: an annotation of the StatefulSet.

A store that is full still answers reads, so nobody would know from a probe why all writes fail. etcd tells it at its
own health endpoint, on loopback.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from loft.core.resource import STATEFULSETS
from loft.hypervisor.config import Config
from loft.hypervisor.control_plane_files import STORE_HEALTH_PORT
from loft.kube.client import Client
from loft.kube.errors import ApiError

log = logging.getLogger(__name__)

ANNOTATION = "loft.sh/problem"
"""`Reason: message`; not there while all is well. Read by `tenancy/virtualcluster`."""
HEALTH_ADDRESS = ("127.0.0.1", STORE_HEALTH_PORT)
CHECK_S = 5.0
ANSWER_BYTES_MAX = 64 * 1024

FULL = (
    "StoreFull: the store has reached storage.limit and takes no writes; delete objects or raise the limit, "
    "then it opens again within a minute"
)


class _Health(msgspec.Struct, frozen=True):
    health: str = ""
    reason: str = ""


def problem_of(answer: bytes) -> str:
    """Return what etcd's health endpoint says is wrong with the store, "" for nothing that stays. Pure.

    Raises: ValueError when it is not an answer of etcd.
    """
    body = answer.partition(b"\r\n\r\n")[2]
    try:
        found = msgspec.json.decode(body, type=_Health)
    except msgspec.DecodeError as error:
        raise ValueError(f"not etcd's health: {error}") from error
    return FULL if found.health != "true" and "NOSPACE" in found.reason else ""


async def note(host: Client, config: Config, problem: str) -> None:
    """Write the annotation, or take it away. Raises: ApiError."""
    patch = {"metadata": {"annotations": {ANNOTATION: problem or None}}}
    await host.patch(STATEFULSETS, config.name, patch, config.namespace)


async def follow_store(host: Client, config: Config, address: tuple[str, int], said: Callable[[str], None]) -> None:
    """Keep the annotation true and tell `said` about every change; runs until cancelled."""
    noted: str | None = None
    while True:
        try:
            problem = problem_of(await _ask(address))
            if problem != noted:
                said(problem)
                await note(host, config, problem)
                noted = problem
        except (OSError, ValueError, TimeoutError, ApiError) as error:
            log.debug("the store's health: %s", error)
        await asyncio.sleep(CHECK_S)


async def _ask(address: tuple[str, int]) -> bytes:
    async with asyncio.timeout(CHECK_S):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(b"GET /health HTTP/1.0\r\nHost: etcd\r\n\r\n")
            return await reader.read(ANSWER_BYTES_MAX)
        finally:
            writer.close()
            await writer.wait_closed()
