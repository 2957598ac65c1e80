"""What the chart `loft` tells the central instance."""

from __future__ import annotations

import msgspec

from loft.identity.replica import LEASE_S_DEFAULT


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The file that the chart renders into ConfigMap `loft-config`, key `config.json`."""

    admin_username: str = "admin"
    admin_email: str = ""
    local_cluster: str = ""
    """Name of the centre's own cluster; "" when it is not connected."""
    local_cluster_display_name: str = ""
    hosts: list[str] = []
    """Names and addresses in the certificate for people."""
    agent_url: str = ""
    """https://host:port under which agents of other clusters reach us."""
    agent_ca: str = ""
    """PEM of its authority when it is not ours."""
    agent_image: str = ""
    agent_service_type: str = "NodePort"
    lease_seconds: int = LEASE_S_DEFAULT
    certificate_secret: str = ""
    trusted_proxy_hops: int = 0
    api_service: bool = True
