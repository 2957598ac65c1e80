"""Cuts the body of a watch into lines: bounded, and without copying a large object once for each piece it came in."""

from __future__ import annotations

LINE_BYTES_MAX = 32 * 1024 * 1024
"""One event. etcd stores 1.5 MiB by default; JSON of what it stores as protobuf is several times larger."""


class LineTooLong(ValueError):
    """A line exceeds the limit; what was fed so far is of no use any more."""


class Lines:
    """Takes chunks as they come, gives the lines that are complete."""

    def __init__(self, most: int = LINE_BYTES_MAX) -> None:
        """`most`: bytes of the longest line."""
        self._most = most
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the non-empty lines that end in this chunk, without their line feeds. Raises: LineTooLong."""
        *lines, tail = chunk.split(b"\n")
        if lines:
            # Joined only when a line is complete.
            lines[0] = b"".join([*self._rest, lines[0]])
            self._rest, self._size = [], 0
        self._rest.append(tail)
        self._size += len(tail)
        if self._size > self._most:
            raise LineTooLong(f"a line exceeds {self._most} bytes")
        return [line for line in lines if line.strip()]
