"""What a request to a Kubernetes API asks for: verb, resource, namespace, name, told from method and path.

The rules are those of the API server (k8s.io/apiserver, endpoints/request, RequestInfoFactory), because a
scope that reads a request in another way than the API server does can be got round. Where the API server is
lenient about odd methods, this is strict: a method that is not known has no verb and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

# Segments below namespaces/NAME that belong to the Namespace itself.
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_STREAMING_SUBRESOURCES = frozenset({"attach", "exec", "log", "portforward", "proxy"})


class RequestInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. For paths that are no resource: only verb and path."""

    verb: str
    """Kubernetes verb; for other paths the method in lower case; "" when the method is unknown."""
    path: str
    """The decoded path, beginning with a slash."""
    is_resource: bool = False
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""

    @property
    def is_long_running(self) -> bool:
        """True for what may stay open for hours: watches, logs, exec, attach, port-forward, proxies."""
        return self.verb == "watch" or self.subresource in _STREAMING_SUBRESOURCES


def request_info(method: str, segments: Sequence[str], query: Sequence[tuple[str, str]]) -> RequestInfo:
    """Read a request to an API server.

    `segments`: the decoded path below the API server's root, without empty segments.
    `query`: decoded parameters in order. Methods are case-sensitive (RFC 9110 section 9.1).
    """
    path = "/" + "/".join(segments)
    grouped = len(segments) >= 4 and segments[0] == "apis"
    if not grouped and not (len(segments) >= 3 and segments[0] == "api"):
        return RequestInfo(verb=method.lower() if method in _VERBS else "", path=path)
    group, version, *rest = segments[1:] if grouped else ("", *segments[1:])
    verb = _VERBS.get(method, "")
    if rest[0] == "watch" and len(rest) > 1:  # the old form of watches, still served
        verb, rest = "watch" if verb else "", rest[1:]
    namespace, rest = _namespace(rest)
    resource, name, subresource = (*rest[:3], "", "", "")[:3]
    if not name:
        verb = _collection_verb(verb, query)
    return RequestInfo(
        verb=verb,
        path=path,
        is_resource=True,
        group=group,
        version=version,
        namespace=namespace,
        resource=resource,
        subresource=subresource,
        name=name,
    )


def _namespace(rest: list[str]) -> tuple[str, list[str]]:
    if rest[0] != "namespaces" or len(rest) < 2:
        return "", rest
    namespace = rest[1]
    if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
        rest = rest[2:]
    return namespace, rest


def _collection_verb(verb: str, query: Sequence[tuple[str, str]]) -> str:
    if verb == "delete":
        return "deletecollection"
    if verb == "get":
        # A boolean parameter is false only when absent, "false" or "0" (apimachinery, string to bool).
        watches = [value.lower() not in ("false", "0") for key, value in query if key == "watch"]
        return "watch" if any(watches) else "list"
    return verb
