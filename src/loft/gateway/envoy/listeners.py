"""Listeners: TLS for people, plain for an ingress, mutual TLS for the centre at an agent. Pure."""

from __future__ import annotations

from loft.gateway.envoy.chain import Front, connection_manager
from loft.gateway.envoy.proto import LISTENER, Json, secret_reference, socket_address, typed
from loft.gateway.envoy.upstreams import Resources
from loft.gateway.settings import CENTRE_URI, GatewaySettings

SERVING = "serving"
CENTRE_SERVING = "centre-serving"
CENTRE_AUTHORITY = "centre-authority"

_TLS = "extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def people(settings: GatewaySettings) -> Resources:
    """Return the listener with TLS that people and their tools use."""
    front = Front(name="people", role=settings.role, audit_log=_audit(settings))
    return _listener(settings, front, settings.tls_port, _server_tls(SERVING))


def plain(settings: GatewaySettings) -> Resources:
    """Return the listener behind an ingress, which terminates TLS; same chain, same checks."""
    if not settings.plain_port:
        return {}
    front = Front(
        name="plain", role=settings.role, trusted_hops=settings.trusted_proxy_hops, audit_log=_audit(settings)
    )
    return _listener(settings, front, settings.plain_port, None)


def centre(settings: GatewaySettings) -> Resources:
    """Return an agent's listener for the centre: nobody without the centre's certificate gets a word in."""
    front = Front(name="centre", role=settings.role, from_centre=True, trusted_hops=1, audit_log=_audit(settings))
    tls = _server_tls(CENTRE_SERVING)
    tls["typed_config"]["require_client_certificate"] = True
    expected = {"san_type": "URI", "matcher": {"exact": CENTRE_URI}}
    tls["typed_config"]["common_tls_context"]["combined_validation_context"] = {
        "default_validation_context": {"match_typed_subject_alt_names": [expected]},
        "validation_context_sds_secret_config": secret_reference(CENTRE_AUTHORITY),
    }
    return _listener(settings, front, settings.centre_port, tls)


def _listener(settings: GatewaySettings, front: Front, port: int, tls: Json | None) -> Resources:
    chain: Json = {"filters": [connection_manager(front)]}
    if tls is not None:
        chain["transport_socket"] = tls
        chain["transport_socket_connect_timeout"] = "10s"
    body = {
        "name": front.name,
        "address": socket_address(settings.address, port),
        "per_connection_buffer_limit_bytes": 1 << 20,
        "filter_chains": [chain],
    }
    return {(LISTENER, front.name): body}


def _server_tls(certificate: str) -> Json:
    context = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [secret_reference(certificate)],
    }
    # A ticket would outlive a change of authorities.
    return typed(
        "envoy.transport_sockets.tls", _TLS, common_tls_context=context, disable_stateless_session_resumption=True
    )


def _audit(settings: GatewaySettings) -> str:
    return str(settings.audit_log or "")
