"""Issues agents' certificates: the agent makes the keys, the centre says what the certificates are for."""

from __future__ import annotations

import ipaddress
from datetime import datetime

import msgspec

from loft.pki.authority import KeyPair, Leaf, sign_request
from loft.tenancy.cluster.plan import agent_name

PURPOSES = ("centre", "people")
DAYS = 90
REQUEST_BYTES_MAX = 16 * 1024


class CertificateRequests(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent asks for: certificate requests (PEM) by purpose."""

    requests: dict[str, str]
    namespace: str = "loft"
    """Of the agent, for the names of its Services."""


class Certificates(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates (PEM) by purpose, and the authority that signed them."""

    certificates: dict[str, str]
    ca: str


def leaf_for(purpose: str, cluster: str, namespace: str, hosts: tuple[str, ...]) -> Leaf:
    """Return what the certificate of an agent says. Pure. Raises: ValueError for an unknown purpose."""
    if purpose == "centre":
        return Leaf(common_name=agent_name(cluster), dns=(agent_name(cluster),), usage="server")
    if purpose == "people":
        names = [*hosts, "localhost", "127.0.0.1", f"loft-agent.{namespace}.svc"]
        return Leaf(common_name=f"loft agent of {cluster}"[:64], **split(names), usage="server")
    raise ValueError(f"there are no certificates for {purpose[:40]!r}; there are: {', '.join(PURPOSES)}")


def split(names: list[str]) -> dict[str, tuple[str, ...]]:
    """Return names as `dns` and `ips`, each once."""
    dns: list[str] = []
    ips: list[str] = []
    for name in dict.fromkeys(names):
        try:
            ips.append(str(ipaddress.ip_address(name)))
        except ValueError:
            dns.append(name)
    return {"dns": tuple(dns), "ips": tuple(ips)}


def issue_all(
    wanted: CertificateRequests, cluster: str, hosts: tuple[str, ...], ca: KeyPair, now: datetime
) -> Certificates:
    """Sign an agent's requests. Raises: ValueError for a request that cannot be read or is for something else."""
    made: dict[str, str] = {}
    for purpose, text in wanted.requests.items():
        if len(text) > REQUEST_BYTES_MAX:
            raise ValueError("a certificate request is too large")
        leaf = leaf_for(purpose, cluster, wanted.namespace, hosts)
        made[purpose] = sign_request(ca, text.encode(), leaf, now=now, days=DAYS).decode()
    return Certificates(certificates=made, ca=ca.cert.decode())
