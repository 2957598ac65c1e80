"""Configuration of an Envoy that only passes requests on: TLS in, TLS out, the same headers for all; pure.

It decides nothing and writes no log, so it is what Envoy costs by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from loft.gateway.envoy.proto import pipe, socket_address, typed
from loft.pki.authority import KeyPair

TLS = "extensions.transport_sockets.tls.v3."


class Plain(msgspec.Struct, frozen=True, kw_only=True):
    """Where it listens, where requests go, and what they get."""

    port: int
    """On loopback."""
    admin: Path
    """Unix socket of Envoy's own administration."""
    serving: KeyPair
    address: str
    """IPv4 address of the API server."""
    api_port: int
    ca: bytes
    headers: tuple[tuple[str, str], ...]
    """A name may come several times."""


def configuration(plain: Plain) -> dict[str, Any]:
    """Return Envoy's start configuration."""
    return {
        "admin": {"address": pipe(str(plain.admin))},
        "static_resources": {"listeners": [_listener(plain)], "clusters": [_upstream(plain)]},
    }


def _listener(plain: Plain) -> dict[str, Any]:
    pair = {
        "certificate_chain": {"inline_string": plain.serving.cert.decode()},
        "private_key": {"inline_string": plain.serving.key.decode()},
    }
    tls = {"tls_certificates": [pair], "alpn_protocols": ["h2", "http/1.1"]}
    several = {name for name, _ in plain.headers if [other for other, _ in plain.headers].count(name) > 1}
    added = [
        {
            "header": {"key": name, "value": value},
            "append_action": "APPEND_IF_EXISTS_OR_ADD" if name in several else "OVERWRITE_IF_EXISTS_OR_ADD",
        }
        for name, value in plain.headers
    ]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "api", "timeout": "0s"}, "request_headers_to_add": added}
    manager = typed(
        "hcm",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="plain",
        http_filters=[typed("router", "extensions.filters.http.router.v3.Router")],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    )
    chain = {
        "filters": [manager],
        "transport_socket": typed("tls", TLS + "DownstreamTlsContext", common_tls_context=tls),
    }
    return {"name": "plain", "address": socket_address("127.0.0.1", plain.port), "filter_chains": [chain]}


def _upstream(plain: Plain) -> dict[str, Any]:
    context = {"validation_context": {"trusted_ca": {"inline_string": plain.ca.decode()}}}
    protocols: dict[str, Any] = {"auto_config": {"http_protocol_options": {}, "http2_protocol_options": {}}}
    options = "extensions.upstreams.http.v3.HttpProtocolOptions"
    endpoint = {"endpoint": {"address": socket_address(plain.address, plain.api_port)}}
    return {
        "name": "api",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "api", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket": typed("tls", TLS + "UpstreamTlsContext", common_tls_context=context),
        "typed_extension_protocol_options": {f"envoy.{options}": typed("", options, **protocols)["typed_config"]},
    }
