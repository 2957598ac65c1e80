"""What the chart `loft-agent` tells an agent, and what its Secret says about the centre."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from loft.tenancy.replica.follower import Centre


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The file that the chart renders into ConfigMap `loft-agent-config`, key `config.json`."""

    certificate_secret: str = ""
    hosts: list[str] = []
    trusted_proxy_hops: int = 0
    api_service: bool = True
    virtual_cluster_defaults: dict[str, Any] = {}
    virtual_cluster_fixed: dict[str, Any] = {}
    warm_virtual_clusters: int = 0


def centre_of(secret: dict[str, Any] | None) -> Centre | None:
    """Return what the Secret `loft-agent-centre` says, None while it says nothing that can be used. Pure."""
    data = (secret or {}).get("data") or {}
    try:
        fields = {key: base64.b64decode(value).decode() for key, value in data.items()}
    except (binascii.Error, UnicodeDecodeError):
        return None
    if not fields.get("url", "").startswith("https://") or not fields.get("token") or not fields.get("cluster"):
        return None
    return Centre(url=fields["url"], token=fields["token"], cluster=fields["cluster"], ca=fields.get("ca", "").encode())
