"""Names of Envoy's message types, and the small shapes that occur everywhere. Pure."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_PREFIX = "type.googleapis.com/envoy."
LISTENER = _PREFIX + "config.listener.v3.Listener"
CLUSTER = _PREFIX + "config.cluster.v3.Cluster"
SECRET = _PREFIX + "extensions.transport_sockets.tls.v3.Secret"
RESOURCE_TYPES = (SECRET, CLUSTER, LISTENER)
"""In the order in which a change is sent: what is referred to comes first."""

FROM_ADS: Json = {"ads": {}, "resource_api_version": "V3"}


def typed(name: str, message: str, **fields: Any) -> Json:
    """Return an extension: its name and its typed configuration (`message` without the common prefix)."""
    return {"name": name, "typed_config": {"@type": _PREFIX + message, **fields}}


def secret_reference(name: str) -> Json:
    """Return a reference to a secret that comes by SDS, so that it can change while connections live."""
    return {"name": name, "sds_config": FROM_ADS}


def pipe(path: str) -> Json:
    """Return the address of a unix socket."""
    return {"pipe": {"path": path}}


def socket_address(host: str, port: int) -> Json:
    """Return a TCP address."""
    return {"socket_address": {"address": host, "port_value": port}}


def inline(data: bytes) -> Json:
    """Return a data source from PEM text."""
    return {"inline_string": data.decode()}
