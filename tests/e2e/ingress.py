"""An ingress as somebody else runs it: a real Envoy that ends TLS with its own certificate and knows nothing of us."""

import contextlib
import json
import subprocess

from e2e.shell import wait_for
from loft.gateway.process import envoy_binary


def config(port, certificate, backend):
    """Return Envoy's configuration: https on 127.0.0.1:`port`, plain HTTP to `backend` (host, port)."""
    text = {name: {"inline_string": certificate[name].decode()} for name in ("certificate_chain", "private_key")}
    address = {"socket_address": {"address": backend[0], "port_value": backend[1]}}
    kinds = "type.googleapis.com/envoy.extensions"
    manager = {
        "@type": f"{kinds}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "stream_idle_timeout": "0s",
        "upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "SPDY/3.1"}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{kinds}.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "name": "https",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {
                "transport_socket": {
                    "name": "envoy.transport_sockets.tls",
                    "typed_config": {
                        "@type": f"{kinds}.transport_sockets.tls.v3.DownstreamTlsContext",
                        "common_tls_context": {"tls_certificates": [text], "alpn_protocols": ["h2", "http/1.1"]},
                    },
                },
                "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
            }
        ],
    }
    cluster = {
        "name": "backend",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "backend",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextlib.contextmanager
def running(folder, shell, port, authority, backend):
    """An ingress for localhost:`port` whose certificate `authority` (trustme.CA) has signed."""
    pair = authority.issue_cert("localhost")
    certificate = {
        "certificate_chain": pair.cert_chain_pems[0].bytes(),
        "private_key": pair.private_key_pem.bytes(),
    }
    path = folder / "envoy.json"
    path.write_text(json.dumps(config(port, certificate, backend)))
    with (folder / "envoy.log").open("w") as log:
        process = subprocess.Popen(
            [str(envoy_binary()), "-c", str(path), "--base-id", str(port), "--concurrency", "1"], stdout=log, stderr=log
        )
        try:
            healthz = ("curl", "-sk", f"https://localhost:{port}/healthz")
            wait_for(lambda: shell(*healthz, check=False).returncode == 0, 20)
            yield f"https://localhost:{port}"
        finally:
            process.terminate()
            process.wait(10)
