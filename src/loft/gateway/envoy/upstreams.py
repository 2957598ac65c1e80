"""Upstream clusters and their secrets: how Envoy reaches agents, API servers and the platform. Pure.

Every TLS upstream is verified: authority and name, always. Each has a twin for upgraded connections, which
is HTTP/1.1 only (HTTP/2 loses the method of SPDY requests) and never uses a connection twice (so that bytes
sent after a refused upgrade can never become somebody else's request, CVE-2018-1002105).
"""

from __future__ import annotations

import ipaddress
from typing import Literal

import msgspec

from loft.gateway import upstream as names
from loft.gateway.envoy.proto import CLUSTER, SECRET, Json, inline, pipe, secret_reference, socket_address, typed
from loft.gateway.settings import ApiServerRoute, ClusterRoute, VirtualClusterRoute, host_port
from loft.pki.authority import KeyPair

Resources = dict[tuple[str, str], Json]
"""(type, name) -> resource."""

Protocol = Literal["http1", "http2", "auto", "upgrade"]

IMPERSONATOR = "impersonator-token"
"""Secret with the bearer token of the agent's impersonating ServiceAccount."""

_CONNECT_TIMEOUT = "5s"
# Envoy's own limit of 1024 requests for each upstream would be eaten up by watches.
_BREAKER = {"max_connections": 10000, "max_pending_requests": 10000, "max_requests": 100000, "max_retries": 100}
_KEEPALIVE = {"keepalive_probes": 3, "keepalive_time": 30, "keepalive_interval": 10}
_UPSTREAM_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """How an upstream is verified, and what we show it."""

    secret: str
    """Name under which its secrets are known."""
    ca: bytes
    server_name: str
    client: KeyPair | None = None


def agent(route: ClusterRoute) -> Resources:
    """Return the upstreams of a connected cluster; none while it has no address."""
    if not route.endpoint:
        return {}
    name = names.agent(route.name)
    tls = _tls(name, route.ca, route.client, route.server_name or host_port(route.endpoint)[0])
    return {
        **_secrets(tls),
        **_cluster(name, route.endpoint, tls, "http2"),
        **_cluster(names.upgrade(name), route.endpoint, tls, "upgrade"),
    }


def virtual_cluster(route: VirtualClusterRoute) -> Resources:
    """Return the upstreams of a virtual cluster's API server."""
    name = names.virtual_cluster(route.namespace, route.name)
    tls = _tls(name, route.ca, route.client, route.server_name or host_port(route.address)[0])
    found = {
        **_secrets(tls),
        **_cluster(name, route.address, tls, "auto"),
        **_cluster(names.upgrade(name), route.address, tls, "upgrade"),
    }
    if route.allow_service_accounts:
        # Without our certificate: the API server would take it for the caller and not look at the token.
        anonymous = msgspec.structs.replace(tls, client=None)
        plain = names.bearer(name)
        found |= _cluster(plain, route.address, anonymous, "auto")
        found |= _cluster(names.upgrade(plain), route.address, anonymous, "upgrade")
    return found


def api_server(route: ApiServerRoute) -> Resources:
    """Return the upstreams of the agent's own API server; the impersonator's token is added to each request."""
    tls = _tls(names.API_SERVER, route.ca, None, route.server_name or host_port(route.address)[0])
    return {
        **_secrets(tls),
        **_cluster(names.API_SERVER, route.address, tls, "auto", injects_token=True),
        **_cluster(names.upgrade(names.API_SERVER), route.address, tls, "upgrade", injects_token=True),
    }


def management(route: ApiServerRoute) -> Resources:
    """Return the upstream of the management API, which knows us by our front-proxy certificate."""
    tls = _tls(names.MANAGEMENT, route.ca, route.client, route.server_name or host_port(route.address)[0])
    return {**_secrets(tls), **_cluster(names.MANAGEMENT, route.address, tls, "http1")}


def platform(socket: str) -> Resources:
    """Return the upstream of the platform's own application on a unix socket."""
    return {
        (CLUSTER, names.PLATFORM): {
            **_base(names.PLATFORM, pipe(socket), "STATIC"),
            "typed_extension_protocol_options": _protocol("http1", injects_token=False),
        }
    }


def token_secret(token: str) -> Resources:
    """Return the impersonator's token as a secret. Raises: ValueError for what cannot be a header value."""
    if not token.isascii() or not token.isprintable() or not token:
        raise ValueError("the impersonator's token is not one line of printable characters")
    return {
        (SECRET, IMPERSONATOR): {
            "name": IMPERSONATOR,
            "generic_secret": {"secret": {"inline_string": f"Bearer {token}"}},
        }
    }


def certificate_secret(name: str, pair: KeyPair) -> Resources:
    """Return a certificate with its key as a secret."""
    certificate = {"certificate_chain": inline(pair.cert), "private_key": inline(pair.key)}
    return {(SECRET, name): {"name": name, "tls_certificate": certificate}}


def authority_secret(name: str, ca: bytes) -> Resources:
    """Return authorities to verify peers with as a secret."""
    return {(SECRET, name): {"name": name, "validation_context": {"trusted_ca": inline(ca)}}}


def _tls(secret: str, ca: bytes, client: KeyPair | None, server_name: str) -> Tls:
    if not ca:
        raise ValueError(f"upstream {secret} has no authority to verify it with")
    return Tls(secret=secret, ca=ca, server_name=server_name, client=client)


def _secrets(tls: Tls) -> Resources:
    found = authority_secret(f"ca/{tls.secret}", tls.ca)
    if tls.client is not None:
        found |= certificate_secret(f"client/{tls.secret}", tls.client)
    return found


def _cluster(name: str, address: str, tls: Tls, protocol: Protocol, *, injects_token: bool = False) -> Resources:
    host, port = host_port(address)
    discovery = "STATIC" if _is_ip(host) else "STRICT_DNS"
    body = {
        **_base(name, socket_address(host, port), discovery),
        "transport_socket": _transport(tls, protocol),
        "typed_extension_protocol_options": _protocol(protocol, injects_token=injects_token),
    }
    return {(CLUSTER, name): body}


def _base(name: str, address: Json, discovery: str) -> Json:
    endpoint = {"endpoint": {"address": address}}
    return {
        "name": name,
        "type": discovery,
        "dns_lookup_family": "ALL",
        "connect_timeout": _CONNECT_TIMEOUT,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "per_connection_buffer_limit_bytes": 1 << 20,
        "circuit_breakers": {"thresholds": [_BREAKER]},
        "upstream_connection_options": {"tcp_keepalive": _KEEPALIVE},
    }


def _transport(tls: Tls, protocol: Protocol) -> Json:
    is_ip = _is_ip(tls.server_name)
    expected = {"san_type": "IP_ADDRESS" if is_ip else "DNS", "matcher": {"exact": tls.server_name}}
    context: Json = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [expected]},
            "validation_context_sds_secret_config": secret_reference(f"ca/{tls.secret}"),
        },
    }
    if protocol in ("http1", "upgrade"):
        context["alpn_protocols"] = ["http/1.1"]
    if tls.client is not None:
        context["tls_certificate_sds_secret_configs"] = [secret_reference(f"client/{tls.secret}")]
    fields: Json = {"common_tls_context": context}
    if not is_ip:
        fields["sni"] = tls.server_name
    return typed("envoy.transport_sockets.tls", "extensions.transport_sockets.tls.v3.UpstreamTlsContext", **fields)


def _protocol(protocol: Protocol, *, injects_token: bool) -> Json:
    http2 = {
        "initial_stream_window_size": 1 << 18,
        "initial_connection_window_size": 1 << 24,
        "connection_keepalive": {"interval": "30s", "timeout": "10s"},
    }
    options: dict[Protocol, Json] = {
        "http1": {"explicit_http_config": {"http_protocol_options": {}}},
        "http2": {"explicit_http_config": {"http2_protocol_options": http2}},
        "auto": {"auto_config": {"http_protocol_options": {}, "http2_protocol_options": http2}},
        "upgrade": {
            "explicit_http_config": {"http_protocol_options": {}},
            "common_http_protocol_options": {"max_requests_per_connection": 1},
        },
    }
    fields = options[protocol]
    if injects_token:
        fields["http_filters"] = [_token_filter(), typed(*_CODEC)]
    return {_UPSTREAM_HTTP: typed("", _UPSTREAM_HTTP.removeprefix("envoy."), **fields)["typed_config"]}


_CODEC = ("envoy.filters.http.upstream_codec", "extensions.filters.http.upstream_codec.v3.UpstreamCodec")


def _token_filter() -> Json:
    generic = typed(
        "envoy.http.injected_credentials.generic",
        "extensions.http.injected_credentials.generic.v3.Generic",
        credential=secret_reference(IMPERSONATOR),
        header="Authorization",
    )
    return typed(
        "envoy.filters.http.credential_injector",
        "extensions.filters.http.credential_injector.v3.CredentialInjector",
        credential=generic,
        overwrite=True,
        allow_request_without_credential=False,
    )


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
