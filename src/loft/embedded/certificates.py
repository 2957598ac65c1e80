"""Keys and certificates of an embedded cluster: what exists, who signs it, when it is made anew.

One authority for each kind of trust: the cluster (API server, kubelet, clients) and the front proxy of the
aggregation layer. Everything but the service-account key is renewed in the last third of its life; authorities
keep their keys. Nothing stored is a member of system:masters: see `first_binding_endpoint`.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import msgspec

from loft.embedded.layout import Layout
from loft.kube.config import Endpoint, to_kubeconfig
from loft.pki import authority
from loft.pki.authority import KeyPair, Leaf
from loft.pki.serviceaccount import new_signing_key

LIFE_DAYS = 365

ADMIN_GROUP = "loft:cluster-admins"
"""Group of the administrator's kubeconfig; bound to cluster-admin when the cluster is first started."""


class Certificate(msgspec.Struct, frozen=True):
    """One leaf certificate that has to exist."""

    name: str
    ca: str
    leaf: Leaf


def wanted(layout: Layout) -> tuple[Certificate, ...]:
    """Return every leaf certificate of a cluster. Source: kubernetes.io, "PKI certificates and requirements"."""
    node = f"system:node:{layout.node_name}"
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    api = Leaf(
        common_name="kube-apiserver",
        dns=("localhost", *names),
        ips=("127.0.0.1", layout.node_ip, layout.kubernetes_service_ip),
        usage="server",
    )
    kubelet = Leaf(
        common_name=node,
        organizations=("system:nodes",),
        dns=(layout.node_name,),
        ips=(layout.node_ip, "127.0.0.1"),
        usage="server",
    )
    return (
        Certificate("apiserver", "ca", api),
        Certificate("apiserver-kubelet-client", "ca", _client("kube-apiserver-kubelet-client")),
        Certificate("front-proxy-client", "front-proxy-ca", _client("front-proxy-client")),
        Certificate("kubelet", "ca", kubelet),
        Certificate("kubelet-client", "ca", _client(node, "system:nodes")),
        Certificate("controller-manager", "ca", _client("system:kube-controller-manager", serves=layout.node_ip)),
        Certificate("scheduler", "ca", _client("system:kube-scheduler", serves=layout.node_ip)),
        Certificate("kube-proxy", "ca", _client("system:kube-proxy")),
        Certificate("admin", "ca", _client("loft-admin", ADMIN_GROUP)),
    )


def _client(user: str, *groups: str, serves: str = "") -> Leaf:
    return Leaf(
        common_name=user,
        organizations=groups,
        ips=(serves,) if serves else (),
        usage="both" if serves else "client",
    )


CLIENTS = ("kubelet-client", "controller-manager", "scheduler", "kube-proxy", "admin")
"""Certificates that get a kubeconfig beside them."""


def ensure(layout: Layout, now: datetime) -> list[str]:
    """Make what is missing or due for renewal; return the names of what was made, authorities included."""
    layout.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    made: list[str] = []
    authorities = {name: _authority(layout, name, now, made) for name in ("ca", "front-proxy-ca")}
    if not (layout.pki / "sa.key").exists():
        private, public = new_signing_key()
        _write(layout.pki / "sa.pub", public)
        _write(layout.pki / "sa.key", private)
    for certificate in wanted(layout):
        ca = authorities[certificate.ca]
        cert, key = _paths(layout, certificate.name)
        if not _is_good(certificate, cert, ca.cert, now):
            pair = _issue(certificate, ca, now)
            _write(key, pair.key)
            _write(cert, pair.cert)
            made.append(certificate.name)
        if certificate.name in CLIENTS:
            # Compared, not written along: an interruption between the two must not leave them apart.
            text = _kubeconfig(layout, KeyPair(cert=cert.read_bytes(), key=key.read_bytes()), ca.cert)
            _write_changed(_kubeconfig_path(layout, certificate.name), text)
    return made


def first_binding_endpoint(layout: Layout, now: datetime) -> Endpoint:
    """Return a way into a cluster in which nobody has any rights yet.

    RBAC binds nobody but the group system:masters when a cluster is new, so somebody in it must make the first
    binding. This certificate lives for an hour, is never stored, and is made only when the administrator's
    group is not bound.
    """
    ca_cert, ca_key = _paths(layout, "ca")
    ca = KeyPair(cert=ca_cert.read_bytes(), key=ca_key.read_bytes())
    pair = authority.issue(
        ca, common_name="loft-first-binding", organizations=("system:masters",), usage="client", now=now, hours=1
    )
    return Endpoint(server=layout.api_url, ca_data=ca.cert, client_cert=pair.cert, client_key=pair.key)


def _issue(certificate: Certificate, ca: KeyPair, now: datetime) -> KeyPair:
    leaf = certificate.leaf
    return authority.issue(
        ca,
        common_name=leaf.common_name,
        organizations=leaf.organizations,
        dns=leaf.dns,
        ips=leaf.ips,
        usage=leaf.usage,
        now=now,
        days=LIFE_DAYS,
    )


def _paths(layout: Layout, name: str) -> tuple[Path, Path]:
    return layout.pki / f"{name}.crt", layout.pki / f"{name}.key"


def _is_good(certificate: Certificate, path: Path, ca: bytes, now: datetime) -> bool:
    if not path.exists() or not path.with_suffix(".key").exists():
        return False
    cert = path.read_bytes()
    try:
        says_it = authority.leaf_of(cert) == certificate.leaf
    except ValueError:
        return False
    return says_it and authority.issued_by(cert, ca) and not authority.due(cert, now)


def _authority(layout: Layout, name: str, now: datetime, made: list[str]) -> KeyPair:
    cert, key = _paths(layout, name)
    if cert.exists() and key.exists():
        pair = KeyPair(cert=cert.read_bytes(), key=key.read_bytes())
        if not authority.due(pair.cert, now):
            return pair
        pair = authority.renew_authority(pair, now)
    else:
        pair = authority.new_authority(f"loft {layout.name} {name}", now)
    _write(key, pair.key)
    _write(cert, pair.cert)
    made.append(name)
    return pair


def _kubeconfig_path(layout: Layout, name: str) -> Path:
    return layout.kubeconfig if name == "admin" else layout.pki / f"{name}.kubeconfig"


def _kubeconfig(layout: Layout, pair: KeyPair, ca: bytes) -> bytes:
    endpoint = Endpoint(server=layout.api_url, ca_data=ca, client_cert=pair.cert, client_key=pair.key)
    return to_kubeconfig(endpoint, layout.name)


def _write_changed(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        _write(path, data)


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
