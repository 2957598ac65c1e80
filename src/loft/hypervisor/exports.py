"""The kubeconfigs of a virtual cluster: which Secret holds which server, context and certificate. Pure.

Inside of the host cluster the Service's name leads there; from outside an Ingress, a load balancer or whatever the
values name. All of them hold the same client certificate, which is valid at the virtual API server only.
"""

from __future__ import annotations

import msgspec

from loft.hypervisor.config import Config
from loft.kube.config import Endpoint, to_kubeconfig
from loft.pki.authority import KeyPair


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One Secret with a kubeconfig."""

    namespace: str
    name: str
    server: str
    context: str


def balancer_addresses(service: dict[str, object]) -> tuple[str, ...]:
    """Return the addresses that a Service's load balancer has by now."""
    status = msgspec.convert(service.get("status") or {}, dict[str, object])
    balancer = msgspec.convert(status.get("loadBalancer") or {}, dict[str, list[dict[str, object]] | None])
    found = [str(item.get("ip") or item.get("hostname") or "") for item in balancer.get("ingress") or ()]
    return tuple(dict.fromkeys(address for address in found if address))


def outside_server(config: Config, addresses: tuple[str, ...]) -> str:
    """Return the server by which people outside of the host cluster come, "" when there is no way yet.

    Args:
        addresses: of the load balancer.
    """
    if config.ingress_host:
        return f"https://{config.ingress_host}:443"
    if addresses:
        host = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        return f"https://{host}:443"
    return ""


def targets(config: Config, addresses: tuple[str, ...]) -> list[Target]:
    """Return all Secrets with a kubeconfig; the first is `vc-NAME`, which is always there."""
    inside = f"https://{config.name}.{config.namespace}.svc:443"
    context = config.export_context or config.name
    own = Target(
        namespace=config.namespace, name=f"vc-{config.name}", server=config.export_server or inside, context=context
    )
    others = [
        Target(
            namespace=export.namespace or config.namespace,
            name=export.name,
            server=export.server or config.export_server or outside_server(config, addresses) or inside,
            context=export.context or context,
        )
        for export in config.exports
    ]
    return [own, *others]


def contents(target: Target, ca: bytes, admin: KeyPair) -> dict[str, bytes]:
    """Return a Secret's data: a kubeconfig, and its parts for programs that read no such file."""
    endpoint = Endpoint(server=target.server, ca_data=ca, client_cert=admin.cert, client_key=admin.key)
    return {
        "config": to_kubeconfig(endpoint, target.context),
        "certificate-authority": ca,
        "client-certificate": admin.cert,
        "client-key": admin.key,
    }
