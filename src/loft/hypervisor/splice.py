"""Carry bytes between two connections, both ways, never holding more than the transports' own buffers.

A slow reader on one side stops the reading on the other (`drain`), so memory is bounded whatever a tenant sends.
"""

from __future__ import annotations

import asyncio

from loft.hypervisor.http1 import close

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CHUNK_BYTES = 64 * 1024
HALF_CLOSED_S = 600.0


async def splice(left: Stream, right: Stream, *, half_closed_s: float = HALF_CLOSED_S) -> None:
    """Carry bytes until the conversation is over, then close both writers.

    Half-close is kept where the transport can do it (not over TLS): what one side has still to say after the
    other's last byte gets through. Where it cannot, the end of one direction is the end of both. A side that says
    nothing for `half_closed_s` after the other has ended is not waited for any longer: it may never know.
    """
    moved = [0]
    forth = asyncio.ensure_future(_carry(left[0], right[1], moved))
    back = asyncio.ensure_future(_carry(right[0], left[1], moved))
    try:
        done, _ = await asyncio.wait([forth, back], return_when=asyncio.FIRST_COMPLETED)
        if all(task.result() for task in done):
            await _other_direction({forth, back} - done, moved, half_closed_s)
    finally:
        for task in (forth, back):
            task.cancel()
        await asyncio.gather(forth, back, return_exceptions=True)
        await asyncio.gather(close(left[1]), close(right[1]))


async def _other_direction(tasks: set[asyncio.Task[bool]], moved: list[int], silence_s: float) -> None:
    before = -1
    while tasks and moved[0] != before:
        before = moved[0]
        _, tasks = await asyncio.wait(tasks, timeout=silence_s)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, moved: list[int]) -> bool:
    """Return whether the other direction may go on; `moved` counts the bytes of both."""
    try:
        while data := await reader.read(CHUNK_BYTES):
            moved[0] += len(data)
            writer.write(data)
            await writer.drain()
        if not writer.can_write_eof():
            return False
        writer.write_eof()
    except OSError:
        return False
    return True
