"""The kubelet API as values: which call of the virtual API server asks for what, and what that is at the host's.

Only what the API server uses is answered; parameters are copied by name, so none that is unknown here can reach the
host. Everything else a kubelet offers is refused by name. Pure.
Source: the parameters of PodExecOptions, PodAttachOptions, PodPortForwardOptions and PodLogOptions (Kubernetes API
reference) and their names in kubelet's own API.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlencode

import msgspec

Query = tuple[tuple[str, str], ...]
Action = Literal["log", "exec", "attach", "portforward"]

_ACTIONS: dict[str, Action] = {
    "containerLogs": "log",
    "exec": "exec",
    "attach": "attach",
    "portForward": "portforward",
}
_METHODS: dict[Action, tuple[str, ...]] = {
    "log": ("GET",),
    "exec": ("GET", "POST"),
    "attach": ("GET", "POST"),
    "portforward": ("GET", "POST"),
}
_STREAMS = {"input": "stdin", "output": "stdout", "error": "stderr", "tty": "tty"}
_PARAMETERS: dict[Action, dict[str, str]] = {
    "log": {
        name: name
        for name in (
            "follow",
            "previous",
            "sinceSeconds",
            "sinceTime",
            "timestamps",
            "tailLines",
            "limitBytes",
            "stream",
        )
    },
    "exec": _STREAMS | {"command": "command"},
    "attach": _STREAMS,
    "portforward": {"port": "ports"},
}
_FLAGS = {"stdin", "stdout", "stderr", "tty"}
Whole = Literal["healthz", "pods", "stats/summary"]
_WHOLE: tuple[Whole, ...] = ("healthz", "pods", "stats/summary")


class Unsupported(Exception):
    """The kubelet API has this, the virtual node does not; `status` is the HTTP status to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PodCall(msgspec.Struct, frozen=True):
    """A call about one container or pod, still in the tenant's names."""

    action: Action
    namespace: str
    pod: str
    uid: str
    container: str
    query: Query
    """In the words of the host API server, the container left out."""


class NodeCall(msgspec.Struct, frozen=True):
    """A call about the whole node."""

    what: Whole


def parse(method: str, path: str, query: Query) -> PodCall | NodeCall:
    """Return what a request to the kubelet API asks for. Raises: Unsupported."""
    parts = path.strip("/").split("/")
    action = _ACTIONS.get(parts[0])
    if action is not None:
        if method not in _METHODS[action]:
            raise Unsupported(405, f"{method} is not supported for {parts[0]}")
        return _pod_call(action, parts[1:], query)
    for whole in _WHOLE:
        if whole == "/".join(parts):
            if method != "GET":
                raise Unsupported(405, f"{method} is not supported for /{whole}")
            return NodeCall(whole)
    raise Unsupported(501, f"/{parts[0][:64]} is not supported by a virtual node")


def host_target(call: PodCall, host_namespace: str, host_pod: str) -> str:
    """Return path and query of the same call at the host API server, about the host pod."""
    query = call.query if not call.container else (*call.query, ("container", call.container))
    path = f"/api/v1/namespaces/{host_namespace}/pods/{host_pod}/{call.action}"
    return f"{path}?{urlencode(query)}" if query else path


def _pod_call(action: Action, names: list[str], query: Query) -> PodCall:
    with_container = action != "portforward"
    shortest = 2 + with_container
    # Between pod and container there may be the pod's uid.
    longest = shortest if action == "log" else shortest + 1
    if not shortest <= len(names) <= longest or not all(names):
        raise Unsupported(404, "the path names no container")
    uid = names[2] if len(names) == shortest + 1 else ""
    container = names[-1] if with_container else ""
    return PodCall(action, names[0], names[1], uid, container, _translated(action, query))


def _translated(action: Action, query: Query) -> Query:
    known = _PARAMETERS[action]
    pairs = [(known[name], value) for name, value in query if name in known]
    return tuple((name, _flag(value) if name in _FLAGS else value) for name, value in pairs)


def _flag(value: str) -> str:
    # The API server sends 1 to a kubelet, and reads true or 1 itself.
    return "true" if value in ("1", "true") else "false"
