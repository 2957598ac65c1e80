"""What a watch makes of bytes as they come from a connection."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loft.core.resource import PODS
from loft.kube import request as requests
from loft.kube import watch as watching
from loft.kube.errors import ApiError, Gone, Unavailable
from loft.kube.lines import Lines
from loft.kube.request import Request
from loft.kube.watch import Watch


def line(kind: str, version: int, name: str = "a") -> bytes:
    obj = {"metadata": {"name": name, "resourceVersion": str(version)}}
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


ERROR = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}).encode() + b"\n"


class Bytes:
    """A connection that gives these pieces and ends; then nothing more is accepted."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = list(pieces)
        self.closed = False

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def close(self) -> None:
        self.closed = True


def follow(connections: list[list[bytes]]) -> tuple[list[tuple[str, str]], list[str], Watch, BaseException]:
    """Return (events, versions asked for, the watch, how it ended)."""
    asked: list[str] = []
    opened: list[Bytes] = []

    async def connect(request: Request) -> Bytes:
        asked.append(dict(request.query).get("resourceVersion", ""))
        if len(opened) == len(connections):
            raise Unavailable(0, "Unreachable", "no more connections")
        opened.append(Bytes(connections[len(opened)]))
        return opened[-1]

    async def main() -> tuple[list[tuple[str, str]], Watch, BaseException]:
        watch = Watch(connect, lambda version: requests.watch(PODS, resource_version=version), "1")
        events = []
        try:
            async for event in watch:
                seen = event.object["metadata"]["resourceVersion"]
                events.append((event.type, seen))
        except ApiError as error:
            return events, watch, error
        raise AssertionError("a watch never ends by itself")

    events, watch, error = asyncio.run(main())
    assert all(connection.closed for connection in opened)
    return events, asked, watch, error


def test_it_goes_on_from_what_was_seen() -> None:
    events, asked, watch, error = follow(
        [[line("ADDED", 2), line("MODIFIED", 3)], [line("BOOKMARK", 9)], [line("DELETED", 10)]]
    )
    assert events == [("ADDED", "2"), ("MODIFIED", "3"), ("DELETED", "10")]
    assert asked == ["1", "3", "9", "10"]
    assert watch.resource_version == "10"
    assert isinstance(error, Unavailable)


def test_too_old_is_gone() -> None:
    events, _, _, error = follow([[line("ADDED", 2), ERROR]])
    assert events == [("ADDED", "2")]
    assert isinstance(error, Gone)


def test_a_server_that_ends_every_watch_at_once_is_a_failure() -> None:
    _, asked, _, error = follow([[], [], []])
    assert isinstance(error, Unavailable)
    assert "at once" in error.message
    assert len(asked) == 1


@pytest.mark.parametrize("junk", [b"<html>\n", b"{}\n", b'{"type": 7}\n', b'{"type": "ADDED", "object": 7}\n'])
def test_what_is_no_event_is_a_failure(junk: bytes) -> None:
    events, _, _, error = follow([[line("ADDED", 2), junk]])
    assert events == [("ADDED", "2")]
    assert isinstance(error, Unavailable)


def test_an_event_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "Lines", partial(Lines, 1000))
    _, _, _, error = follow([[b"x" * 300] * 10])
    assert error.reason == "TooLarge"  # type: ignore[attr-defined]


@pytest.mark.law
@given(st.lists(st.integers(2, 10**6), min_size=1, max_size=8), st.data())
def test_pieces_may_be_cut_anywhere(versions: list[int], data: Any) -> None:
    whole = b"".join(line("ADDED", version, "ä\\n") for version in versions)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a != b]
    events, _, watch, _ = follow([pieces])
    assert events == [("ADDED", str(version)) for version in versions]
    assert watch.resource_version == str(versions[-1])
