"""What Envoy is started with: where its control plane is, and limits; all else comes by xDS. Pure."""

from __future__ import annotations

from loft.gateway.envoy.chain import AUTHZ_CENTRE_CLUSTER, AUTHZ_CLUSTER
from loft.gateway.envoy.proto import FROM_ADS, Json, pipe, typed
from loft.gateway.settings import GatewaySettings

XDS_CLUSTER = "loft-xds"

ADMIN_SOCKET = "admin.sock"
XDS_SOCKET = "xds.sock"
AUTHZ_SOCKET = "authz.sock"
AUTHZ_CENTRE_SOCKET = "authz-centre.sock"

_HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CONNECTIONS_MAX = 50000


def bootstrap(settings: GatewaySettings) -> Json:
    """Return Envoy's bootstrap configuration. It holds no secret; every socket is a unix socket in our directory."""
    directory = settings.directory
    grpc = {"envoy_grpc": {"cluster_name": XDS_CLUSTER}}
    return {
        "node": {"id": f"loft-{settings.role}", "cluster": "loft"},
        "admin": {"address": {"pipe": {"path": str(directory / ADMIN_SOCKET), "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [grpc]},
            "cds_config": FROM_ADS,
            "lds_config": FROM_ADS,
        },
        "static_resources": {
            "clusters": [
                _control(XDS_CLUSTER, str(directory / XDS_SOCKET)),
                _control(AUTHZ_CLUSTER, str(directory / AUTHZ_SOCKET)),
                _control(AUTHZ_CENTRE_CLUSTER, str(directory / AUTHZ_CENTRE_SOCKET)),
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                typed(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=_CONNECTIONS_MAX,
                )
            ]
        },
        "layered_runtime": {"layers": [{"name": "fixed", "static_layer": {}}]},
    }


def _control(name: str, socket: str) -> Json:
    endpoint = {"endpoint": {"address": pipe(socket)}}
    keepalive = {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}
    options = typed("", _HTTP2.removeprefix("envoy."), explicit_http_config={"http2_protocol_options": keepalive})
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {_HTTP2: options["typed_config"]},
        "circuit_breakers": {"thresholds": [{"max_requests": 10000, "max_pending_requests": 10000}]},
    }
