"""Readiness probes: small questions to a process, asked again and again while it starts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from pathlib import Path

from loft.supervise.process import Probe

TIMEOUT_S = 3.0
_ANSWER_MAX = 4096

Connecting = Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]


def tcp(host: str, port: int) -> Probe:
    """Ready when the port accepts a connection."""

    async def ask() -> bool:
        return await _reachable(asyncio.open_connection(host, port))

    return ask


def unix(path: Path) -> Probe:
    """Ready when the socket accepts a connection (a file that a dead process left behind does not)."""

    async def ask() -> bool:
        return await _reachable(asyncio.open_unix_connection(str(path)))

    return ask


def https(host: str, port: int, path: str, ca: Path) -> Probe:
    """Ready when GET answers 200 with a certificate that `ca` vouches for and that names `host`.

    The file is read at each question, so that a renewed authority is seen.
    """

    async def ask() -> bool:
        try:
            context = ssl.create_default_context(cafile=str(ca))
            connecting = asyncio.open_connection(host, port, ssl=context, server_hostname=host)
            return await _answers_ok(connecting, host, path)
        except OSError:  # includes ssl.SSLError
            return False

    return ask


def http(host: str, port: int, path: str) -> Probe:
    """Ready when GET answers 200."""

    async def ask() -> bool:
        return await _answers_ok(asyncio.open_connection(host, port), host, path)

    return ask


def http_unix(socket: Path, path: str) -> Probe:
    """Ready when GET over the unix socket answers 200 (Envoy's admin interface, for one)."""

    async def ask() -> bool:
        return await _answers_ok(asyncio.open_unix_connection(str(socket)), "localhost", path)

    return ask


async def _reachable(connecting: Connecting) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await connecting
            writer.close()
            return True
    except (OSError, TimeoutError):
        return False


async def _answers_ok(connecting: Connecting, host: str, path: str) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await connecting
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
                line = await reader.readline()
                await reader.read(_ANSWER_MAX)
            finally:
                writer.close()
            words = line.split()
            return len(words) >= 2 and words[1] == b"200"
    except (OSError, TimeoutError, ValueError):
        return False
