"""Keys and certificates of an embedded cluster: what exists, who signs it, when it is made anew.

One authority for each kind of trust: the cluster (API server, kubelet, clients) and the front proxy of the
aggregation layer. Everything but the authorities and the service-account key is renewed in the last third
of its life. `super-admin` is the only credential in system:masters; it never leaves the state directory.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import msgspec

from loft.embedded.layout import Layout
from loft.kube.config import Endpoint, to_kubeconfig
from loft.pki import authority
from loft.pki.authority import KeyPair
from loft.pki.serviceaccount import new_signing_key

LIFE_DAYS = 365

ADMIN_GROUP = "loft:cluster-admins"
"""Group of the administrator's kubeconfig; bound to cluster-admin when the cluster is first started."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """One leaf certificate that has to exist."""

    name: str
    ca: str
    common_name: str
    organizations: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    usage: authority.Usage = "client"


def wanted(layout: Layout) -> tuple[Certificate, ...]:
    """Return every leaf certificate of a cluster. Source: kubernetes.io, "PKI certificates and requirements"."""
    node = f"system:node:{layout.node_name}"
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    return (
        Certificate(
            name="apiserver",
            ca="ca",
            common_name="kube-apiserver",
            usage="server",
            dns=("localhost", *names),
            ips=("127.0.0.1", layout.node_ip, layout.kubernetes_service_ip),
        ),
        Certificate(name="apiserver-kubelet-client", ca="ca", common_name="kube-apiserver-kubelet-client"),
        Certificate(name="front-proxy-client", ca="front-proxy-ca", common_name="front-proxy-client"),
        Certificate(
            name="kubelet",
            ca="ca",
            common_name=node,
            organizations=("system:nodes",),
            dns=(layout.node_name,),
            ips=(layout.node_ip, "127.0.0.1"),
            usage="server",
        ),
        Certificate(name="kubelet-client", ca="ca", common_name=node, organizations=("system:nodes",)),
        Certificate(name="controller-manager", ca="ca", common_name="system:kube-controller-manager"),
        Certificate(name="scheduler", ca="ca", common_name="system:kube-scheduler"),
        Certificate(name="kube-proxy", ca="ca", common_name="system:kube-proxy"),
        Certificate(name="admin", ca="ca", common_name="loft-admin", organizations=(ADMIN_GROUP,)),
        Certificate(name="super-admin", ca="ca", common_name="loft-super-admin", organizations=("system:masters",)),
    )


CLIENTS = ("kubelet-client", "controller-manager", "scheduler", "kube-proxy", "admin", "super-admin")
"""Certificates that get a kubeconfig beside them."""


def ensure(layout: Layout, now: datetime) -> list[str]:
    """Make what is missing or due for renewal; return the names of the leaf certificates made."""
    layout.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    authorities = {name: _authority(layout, name, now) for name in ("ca", "front-proxy-ca")}
    if not (layout.pki / "sa.key").exists():
        private, public = new_signing_key()
        _write(layout.pki / "sa.pub", public)
        _write(layout.pki / "sa.key", private)
    made = []
    for certificate in wanted(layout):
        ca = authorities[certificate.ca]
        if _is_good(layout.pki / f"{certificate.name}.crt", ca.cert, now):
            continue
        pair = authority.issue(
            ca,
            common_name=certificate.common_name,
            organizations=certificate.organizations,
            dns=certificate.dns,
            ips=certificate.ips,
            usage=certificate.usage,
            now=now,
            days=LIFE_DAYS,
        )
        _write(layout.pki / f"{certificate.name}.key", pair.key)
        _write(layout.pki / f"{certificate.name}.crt", pair.cert)
        made.append(certificate.name)
        if certificate.name in CLIENTS:
            _write(_kubeconfig_path(layout, certificate.name), _kubeconfig(layout, pair, ca.cert))
    return made


def _is_good(path: Path, ca: bytes, now: datetime) -> bool:
    if not path.exists() or not path.with_suffix(".key").exists():
        return False
    cert = path.read_bytes()
    return authority.issued_by(cert, ca) and not authority.due(cert, now)


def _authority(layout: Layout, name: str, now: datetime) -> KeyPair:
    cert, key = layout.pki / f"{name}.crt", layout.pki / f"{name}.key"
    if cert.exists() and key.exists():
        return KeyPair(cert=cert.read_bytes(), key=key.read_bytes())
    pair = authority.new_authority(f"loft {layout.name} {name}", now)
    _write(key, pair.key)
    _write(cert, pair.cert)
    return pair


def _kubeconfig_path(layout: Layout, name: str) -> Path:
    return layout.kubeconfig if name == "admin" else layout.pki / f"{name}.kubeconfig"


def _kubeconfig(layout: Layout, pair: KeyPair, ca: bytes) -> bytes:
    endpoint = Endpoint(server=layout.api_url, ca_data=ca, client_cert=pair.cert, client_key=pair.key)
    return to_kubeconfig(endpoint, layout.name)


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
