"""Where a request goes, told from its raw path; a path that two readers could read in two ways is refused.

What is checked here is forwarded byte for byte: there is no normalisation between this decision and the
API server (Envoy's is off), so a path that any normalisation would change never gets further.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from loft.gateway.settings import Role

Kind = Literal["management", "cluster", "virtualcluster", "platform", "health"]

PATH_LENGTH_MAX = 16384
_QUERY_FIELDS_MAX = 500

_PRINTABLE = re.compile(r"[\x21-\x7e]*")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A place behind the gateway and what is asked there."""

    kind: Kind
    cluster: str = ""
    namespace: str = ""
    """Of a virtual cluster, on its host."""
    name: str = ""
    """Of a virtual cluster."""
    rest: str = "/"
    """Raw path and query below the API server's root (for platform and health: all of it)."""
    segments: tuple[str, ...] = ()
    """`rest` decoded, without the query."""
    query: tuple[tuple[str, str], ...] = ()


class BadTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Why a path leads nowhere."""

    code: int
    message: str


def parse(role: Role, raw: str) -> Target | BadTarget:
    """Read the raw `:path` (with query) of a request that came to a gateway of this role."""
    path, _, query = raw.partition("?")
    if (problem := _problem(raw, path)) is not None:
        return BadTarget(code=400, message=f"the path of the request is refused: {problem}")
    try:
        fields = tuple(parse_qsl(query, keep_blank_values=True, max_num_fields=_QUERY_FIELDS_MAX))
    except ValueError:
        return BadTarget(code=400, message="the query of the request has too many parameters")
    raw_segments = path.split("/")[1:]
    segments = tuple(unquote_to_bytes(segment).decode() for segment in raw_segments)
    if raw == "/healthz":
        return Target(kind="health", rest=raw, segments=segments)
    if role == "centre" and _is_platform(raw_segments):
        return Target(kind="platform", rest=raw, segments=segments, query=fields)
    if raw_segments[0] != "kubernetes":
        return _unknown(path)
    below = _below(role, raw_segments)
    if below is None:
        return _unknown(path)
    kind, names, depth = below
    rest = "/" + "/".join(raw_segments[depth:]) + raw[len(path) :]
    return Target(
        kind=kind,
        cluster=names[0],
        namespace=names[1],
        name=names[2],
        rest=rest,
        segments=tuple(segment for segment in segments[depth:] if segment),
        query=fields,
    )


def _is_platform(segments: list[str]) -> bool:
    return segments == ["version"] or segments[0] == "auth" or segments[:2] == ["agent", "v1"]


def _below(role: Role, segments: list[str]) -> tuple[Kind, tuple[str, str, str], int] | None:
    """Return kind, (cluster, namespace, name) and how many segments lead there."""
    kind = segments[1] if len(segments) > 1 else ""
    if kind == "management" and role == "centre":
        return "management", ("", "", ""), 2
    if kind not in ("cluster", "virtualcluster"):
        return None
    depth = 2 + (role == "centre") + 2 * (kind == "virtualcluster")
    names = segments[2:depth]
    if len(names) != depth - 2 or not all(_NAME.fullmatch(name) for name in names):
        return None
    cluster = names.pop(0) if role == "centre" else ""
    namespace, name = names or ("", "")
    return ("virtualcluster" if names else "cluster"), (cluster, namespace, name), depth


def _problem(raw: str, path: str) -> str | None:
    if len(raw) > PATH_LENGTH_MAX:
        return f"it is longer than {PATH_LENGTH_MAX} characters"
    if not raw.startswith("/"):
        return "it does not begin with a slash"
    if not _PRINTABLE.fullmatch(raw) or "#" in raw or "\\" in raw:
        return "it has a character that must be percent-encoded"
    if "//" in path:
        return "it has an empty segment (//)"
    if _ESCAPE.search(path):
        return "it has a % that begins no escape"
    return next((found for segment in path.split("/") if (found := _segment_problem(segment))), None)


def _segment_problem(segment: str) -> str | None:
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        return "an escape in it is not UTF-8"
    if any(character in "/\\" or ord(character) < 32 or ord(character) == 127 for character in text):
        return "it has an escaped slash, backslash or control character"
    # `..;x=1` is a parent directory to servers that cut path parameters off.
    if text.partition(";")[0] in (".", ".."):
        return "it has a . or .. segment"
    return None


def _unknown(path: str) -> BadTarget:
    return BadTarget(
        code=404, message=f"{path} is not served here; paths begin with /kubernetes/cluster, see `loft list clusters`"
    )
