"""Which form of an answer a client accepts: the object, a Table for `kubectl get`, or metadata only. Pure.

Source: RFC 9110 section 12.5.1; Kubernetes API concepts, "Receiving resources as Tables".
"""

from __future__ import annotations

from typing import Literal

import msgspec

from loft.apiserver.refusal import not_acceptable

Form = Literal["object", "table", "metadata"]
_JSON = ("application/json", "application/*", "*/*")


class Media(msgspec.Struct, frozen=True):
    """One entry of an Accept header."""

    type: str
    parameters: dict[str, str]
    quality: float


def media(accept: str) -> list[Media]:
    """Return the entries of an Accept header, best first; the client's order decides between equals."""
    entries = []
    for part in accept[:4096].split(","):
        name, *rest = (piece.strip() for piece in part.split(";"))
        if not name:
            continue
        parameters = {key.strip().lower(): value.strip() for key, _, value in (item.partition("=") for item in rest)}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        if quality > 0:
            entries.append(Media(name.lower(), parameters, quality))
    return sorted(entries, key=lambda entry: -entry.quality)


def form_of(accept: str) -> Form:
    """Return the form for an answer about objects. Raises: ApiError 406."""
    if not accept.strip():
        return "object"
    for entry in media(accept):
        if entry.type not in _JSON:
            continue
        wanted = entry.parameters.get("as", "")
        if not wanted:
            return "object"
        if entry.parameters.get("g") == "meta.k8s.io" and entry.parameters.get("v") == "v1":
            if wanted == "Table":
                return "table"
            if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                return "metadata"
    raise not_acceptable(accept[:200])


def wants_aggregated_discovery(accept: str) -> bool:
    """Tell whether the client prefers the discovery of all groups in one answer (version v2)."""
    for entry in media(accept):
        if entry.type in _JSON:
            return (
                entry.parameters.get("as") == "APIGroupDiscoveryList"
                and entry.parameters.get("g") == "apidiscovery.k8s.io"
                and entry.parameters.get("v") == "v2"
            ) or (entry.parameters.get("v") == "v2beta1" and _has_v2(accept))
    return False


def accepts_json(accept: str) -> bool:
    """Tell whether plain JSON is an acceptable answer."""
    return not accept.strip() or any(entry.type in _JSON and "as" not in entry.parameters for entry in media(accept))


def _has_v2(accept: str) -> bool:
    return any(
        entry.parameters.get("as") == "APIGroupDiscoveryList" and entry.parameters.get("v") == "v2"
        for entry in media(accept)
    )
