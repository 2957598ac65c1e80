"""Which keys and certificates a virtual cluster has, and which file each component finds them in.

Nothing here reads or writes: `new_authorities` makes what is made once per virtual cluster (kept in the Secret
`vc-NAME-certs`), `component_files` derives the short-lived rest from it, per pod. There is one authority for each
kind of trust, so that a certificate for one purpose can never be presented for another:

    ca               the API server's serving certificate and the people and components that are its clients
    kubelet-ca       the serving certificates of the virtual nodes (the hypervisor)
    kubelet-client-ca the API server as client of the virtual nodes
    front-proxy-ca   the API server as client of aggregated API servers
    etcd-ca          members of etcd among themselves
    webhook-ca       the hypervisor's admission webhook

Source: kubernetes.io/docs/setup/best-practices/certificates.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import datetime

import msgspec
from cryptography import x509

from loft.pki.authority import CLOCK_SKEW, KeyPair, due, issue, leaf_of, new_authority
from loft.pki.serviceaccount import new_signing_key

AUTHORITIES = ("ca", "kubelet-ca", "kubelet-client-ca", "front-proxy-ca", "etcd-ca", "webhook-ca")

NEXT, OLD = "next.", "old."
"""Before the names of entries that are trusted beside the others while authorities are exchanged, see rotation.py."""

ADMIN_USER = "loft:admin"
ADMIN_GROUP = "loft:virtualcluster:admin"
GATEWAY_USER = "loft:gateway"
HYPERVISOR_USER = "loft:hypervisor"
KUBELET_CLIENT_USER = "loft:kube-apiserver"
FRONT_PROXY_USER = "front-proxy-client"

CREDENTIAL_FILE = "hypervisor/credential.json"
RENEWAL_CHECK_S = 30.0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a control plane runs, as far as certificates name it."""

    name: str
    """The virtual cluster, which is also its Service."""
    namespace: str
    service_ip: str
    """ClusterIP of the Service on the host."""
    pod_name: str
    pod_ip: str
    extra_names: tuple[str, ...] = ()
    """More names or IP addresses people use to reach it (chart value `certificates.extraSANs`)."""
    validity_hours: float = 24 * 365


class ClientPairs(msgspec.Struct, frozen=True, kw_only=True):
    """The client certificates handed out in Secrets of the host namespace."""

    admin: KeyPair
    gateway: KeyPair


def new_authorities(name: str, now: datetime, *, days: float = 3650) -> dict[str, bytes]:
    """Make the data of the Secret `vc-NAME-certs`: every authority and the ServiceAccount signing key."""
    data: dict[str, bytes] = {}
    for authority in AUTHORITIES:
        pair = new_authority(f"loft:{name}:{authority}", now, days=days)
        data[f"{authority}.crt"] = pair.cert
        data[f"{authority}.key"] = pair.key
    data["sa.key"], data["sa.pub"] = new_signing_key()
    return data


def authority(data: Mapping[str, bytes], name: str) -> KeyPair:
    """Return one authority of the Secret.

    Raises: KeyError naming the missing entry; a Secret made by somebody else must not be half-used.
    """
    return KeyPair(cert=data[f"{name}.crt"], key=data[f"{name}.key"])


def trusted(data: Mapping[str, bytes], entry: str) -> bytes:
    """Return what is trusted for an entry (`ca.crt`, `sa.pub`): itself, and others while they are exchanged."""
    found = (data[entry], data.get(f"{NEXT}{entry}", b""), data.get(f"{OLD}{entry}", b""))
    return b"".join(text if text.endswith(b"\n") else text + b"\n" for text in found if text)


def missing_entries(data: Mapping[str, bytes]) -> list[str]:
    """Return the entries that the Secret should have and does not."""
    wanted = [f"{name}.{end}" for name in AUTHORITIES for end in ("crt", "key")]
    return [name for name in (*wanted, "sa.key", "sa.pub") if not data.get(name)]


def server_names(place: Place) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (DNS names, IP addresses) the API server's certificate is valid for."""
    short = f"{place.name}.{place.namespace}"
    dns = [place.name, short, f"{short}.svc", f"{short}.svc.cluster.local", "localhost"]
    dns += ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    ips = ["127.0.0.1", place.service_ip, place.pod_ip]
    for extra in place.extra_names:
        (ips if _is_address(extra) else dns).append(extra)
    return tuple(dict.fromkeys(dns)), tuple(dict.fromkeys(ip for ip in ips if ip and ip != "None"))


def component_files(data: Mapping[str, bytes], place: Place, now: datetime) -> dict[str, bytes]:
    """Issue what the components of one pod need: relative path -> content, one folder for each component.

    A component mounts its own folder only, so none can read another's keys.
    """
    hours = place.validity_hours
    ca, clients = authority(data, "ca"), trusted(data, "ca.crt")
    dns, ips = server_names(place)
    files = {
        "kube-apiserver/ca.crt": clients,
        "kube-apiserver/front-proxy-ca.crt": trusted(data, "front-proxy-ca.crt"),
        "kube-apiserver/kubelet-ca.crt": trusted(data, "kubelet-ca.crt"),
        "kube-apiserver/sa.pub": trusted(data, "sa.pub"),
        "kube-apiserver/sa.key": data["sa.key"],
        "kube-controller-manager/ca.crt": clients,
        "kube-controller-manager/sa.key": data["sa.key"],
        "kube-scheduler/ca.crt": clients,
        "etcd/ca.crt": trusted(data, "etcd-ca.crt"),
    }
    server = issue(ca, common_name="kube-apiserver", dns=dns, ips=ips, usage="server", now=now, hours=hours)
    pairs = {
        "kube-apiserver/server": server,
        "kube-apiserver/kubelet-client": _client(data, "kubelet-client-ca", KUBELET_CLIENT_USER, now, hours),
        "kube-apiserver/front-proxy": _client(data, "front-proxy-ca", FRONT_PROXY_USER, now, hours),
        "kube-controller-manager/client": _client(data, "ca", "system:kube-controller-manager", now, hours),
        "kube-scheduler/client": _client(data, "ca", "system:kube-scheduler", now, hours),
        "etcd/peer": _etcd_peer(data, place, now),
    }
    for path, pair in pairs.items():
        files[f"{path}.crt"], files[f"{path}.key"] = pair.cert, pair.key
    own = _client(data, "ca", HYPERVISOR_USER, now, hours)
    files["hypervisor/ca.crt"] = clients
    files["hypervisor/client.crt"] = own.cert
    files[CREDENTIAL_FILE] = credential(own)
    return files


def is_short_of(cert: bytes, place: Place) -> bool:
    """Tell whether a serving certificate lacks a name or address by which the API server is reached now."""
    dns, ips = server_names(place)
    found = leaf_of(cert)
    return not (set(dns) <= set(found.dns) and set(ips) <= set(found.ips))


def check_interval_s(validity_hours: float) -> float:
    """Return how often certificates are looked at: often enough within the third in which they are renewed."""
    return min(RENEWAL_CHECK_S, validity_hours * 3600 / 24)


def credential(pair: KeyPair) -> bytes:
    """Return a client certificate as ExecCredential, by which a client notices in time that there is a newer one."""
    begin, end = lifetime(pair.cert)
    status = {
        "clientCertificateData": pair.cert.decode(),
        "clientKeyData": pair.key.decode(),
        # From the last sixth on the file holds a newer one: it is renewed in the last third.
        "expirationTimestamp": (end - (end - begin - CLOCK_SKEW) / 6).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    body = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    return msgspec.json.encode(body)


def node_serving_pair(data: Mapping[str, bytes], address: str, now: datetime, hours: float) -> KeyPair:
    """Issue the kubelet certificate of the virtual node that the API server reaches at `address`."""
    ca = authority(data, "kubelet-ca")
    return issue(ca, common_name=f"node:{address}", ips=(address,), usage="server", now=now, hours=hours)


def webhook_pair(data: Mapping[str, bytes], now: datetime, hours: float) -> KeyPair:
    """Issue the serving certificate of the admission webhook, which listens on loopback only."""
    ca = authority(data, "webhook-ca")
    return issue(ca, common_name="webhook", ips=("127.0.0.1",), usage="server", now=now, hours=hours)


def metrics_pair(data: Mapping[str, bytes], name: str, now: datetime, hours: float) -> KeyPair:
    """Issue the serving certificate of metrics.k8s.io, which the API server expects under its Service's name."""
    return issue(
        authority(data, "webhook-ca"), common_name="metrics", dns=(name,), usage="server", now=now, hours=hours
    )


def client_pairs(data: Mapping[str, bytes], now: datetime, hours: float) -> ClientPairs:
    """Issue the certificates of people inside the namespace (kubeconfig) and of the gateway."""
    ca = authority(data, "ca")
    admin = issue(ca, common_name=ADMIN_USER, organizations=(ADMIN_GROUP,), usage="client", now=now, hours=hours)
    gateway = issue(ca, common_name=GATEWAY_USER, usage="client", now=now, hours=hours)
    return ClientPairs(admin=admin, gateway=gateway)


def next_renewal(files: Mapping[str, bytes], now: datetime) -> bool:
    """Tell whether any leaf among the files is in the last third of its lifetime."""
    return any(due(content, now) for path, content in files.items() if is_leaf(path))


def is_leaf(path: str) -> bool:
    """Tell whether a file holds a certificate that expires soon, not an authority or a key."""
    return path.endswith(".crt") and not path.rsplit("/", 1)[-1].endswith("ca.crt")


def lifetime(cert: bytes) -> tuple[datetime, datetime]:
    """Return begin and end of validity (UTC)."""
    loaded = x509.load_pem_x509_certificate(cert)
    return loaded.not_valid_before_utc, loaded.not_valid_after_utc


def _client(data: Mapping[str, bytes], ca: str, user: str, now: datetime, hours: float) -> KeyPair:
    return issue(authority(data, ca), common_name=user, usage="client", now=now, hours=hours)


def _etcd_peer(data: Mapping[str, bytes], place: Place, now: datetime) -> KeyPair:
    host = f"{place.pod_name}.{place.name}-headless.{place.namespace}.svc"
    return issue(
        authority(data, "etcd-ca"),
        common_name=place.pod_name,
        dns=(host, f"{host}.cluster.local", "localhost"),
        ips=tuple(ip for ip in (place.pod_ip, "127.0.0.1") if ip),
        usage="both",
        now=now,
        hours=place.validity_hours,
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
