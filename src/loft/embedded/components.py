"""The processes of an embedded cluster: their command lines, what comes after what, when each is ready. Pure."""

from __future__ import annotations

import os

from loft.embedded.layout import (
    API_PORT,
    CONTROLLER_MANAGER_PORT,
    KUBELET_PORT,
    PROXY_HEALTH_PORT,
    SCHEDULER_PORT,
    Layout,
)
from loft.supervise import probe
from loft.supervise.process import Probe, Process


def processes(layout: Layout) -> list[Process]:
    """Return all components; the API server stops before its etcd, which it needs to end."""
    return [
        _process(layout, "etcd", etcd(layout), ready=probe.unix(layout.etcd_socket)),
        _process(
            layout,
            "kube-apiserver",
            apiserver(layout),
            ready=probe.https(layout.node_ip, API_PORT, "/readyz", layout.pki / "ca.crt"),
            after=("etcd",),
        ),
        _process(
            layout,
            "kube-controller-manager",
            controller_manager(layout),
            ready=probe.https(layout.node_ip, CONTROLLER_MANAGER_PORT, "/healthz", layout.pki / "ca.crt"),
            after=("kube-apiserver",),
        ),
        _process(
            layout,
            "kube-scheduler",
            scheduler(layout),
            ready=probe.https(layout.node_ip, SCHEDULER_PORT, "/readyz", layout.pki / "ca.crt"),
            after=("kube-apiserver",),
        ),
        Process(
            name="containerd",
            argv=(
                *layout.enter,
                "containerd",
                "--config",
                str(layout.config / "containerd.toml"),
                "--log-level",
                "warn",
            ),
            ready=probe.unix(layout.containerd_address),
            log=layout.logs / "containerd.log",
        ),
        _process(
            layout,
            "kubelet",
            kubelet(layout),
            ready=probe.tcp(layout.node_ip, KUBELET_PORT),
            after=("kube-apiserver", "containerd"),
        ),
        _process(
            layout,
            "kube-proxy",
            ["kube-proxy", f"--config={layout.config}/kube-proxy.json"],
            ready=probe.http(layout.node_ip, PROXY_HEALTH_PORT, "/livez"),
            after=("kube-apiserver",),
        ),
    ]


def _process(
    layout: Layout, name: str, argv: list[str], *, ready: Probe | None = None, after: tuple[str, ...] = ()
) -> Process:
    return Process(
        name=name,
        argv=(*layout.enter, str(layout.binaries / argv[0]), *argv[1:]),
        env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "HOME": str(layout.directory)},
        ready=ready,
        after=after,
        log=layout.logs / f"{name}.log",
    )


def etcd(layout: Layout) -> list[str]:
    """Return etcd's command line: one member that answers on sockets only root can open."""
    # etcd wants host:port for what it advertises; nobody dials that and nothing listens there.
    peer = "http://localhost:2380"
    return [
        "etcd",
        f"--name={layout.name}",
        f"--data-dir={layout.directory}/etcd",
        f"--listen-client-urls=unix://{layout.etcd_socket}",
        "--advertise-client-urls=http://localhost:2379",
        f"--listen-peer-urls=unix://{layout.run}/etcd-peer.sock",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={layout.name}={peer}",
        "--log-level=warn",
    ]


def apiserver(layout: Layout) -> list[str]:
    """Return the API server's command line. Source: kubernetes.io, kube-apiserver reference."""
    pki = layout.pki
    return [
        "kube-apiserver",
        f"--advertise-address={layout.node_ip}",
        f"--bind-address={layout.node_ip}",
        f"--secure-port={API_PORT}",
        f"--etcd-servers=unix://{layout.etcd_socket}",
        f"--service-cluster-ip-range={layout.service_cidr}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        f"--authentication-config={layout.config}/authentication.json",
        f"--encryption-provider-config={layout.config}/encryption.json",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        "--tls-min-version=VersionTLS12",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
        f"--proxy-client-key-file={pki}/front-proxy-client.key",
        "--enable-aggregator-routing=true",
        "--profiling=false",
        "--event-ttl=1h",
        # Watches are cut at once when it stops: their clients are ours and list again.
        "--shutdown-watch-termination-grace-period=0s",
        "--shutdown-send-retry-after=true",
    ]


def controller_manager(layout: Layout) -> list[str]:
    """Return the controller manager's command line."""
    pki = layout.pki
    return [
        "kube-controller-manager",
        f"--kubeconfig={pki}/controller-manager.kubeconfig",
        f"--authentication-kubeconfig={pki}/controller-manager.kubeconfig",
        f"--authorization-kubeconfig={pki}/controller-manager.kubeconfig",
        f"--bind-address={layout.node_ip}",
        f"--secure-port={CONTROLLER_MANAGER_PORT}",
        f"--tls-cert-file={pki}/controller-manager.crt",
        f"--tls-private-key-file={pki}/controller-manager.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--profiling=false",
    ]


def scheduler(layout: Layout) -> list[str]:
    """Return the scheduler's command line."""
    config = layout.pki / "scheduler.kubeconfig"
    return [
        "kube-scheduler",
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        f"--bind-address={layout.node_ip}",
        f"--secure-port={SCHEDULER_PORT}",
        f"--tls-cert-file={layout.pki}/scheduler.crt",
        f"--tls-private-key-file={layout.pki}/scheduler.key",
        "--leader-elect=false",
        "--profiling=false",
    ]


def kubelet(layout: Layout) -> list[str]:
    """Return the kubelet's command line."""
    return [
        "kubelet",
        f"--config={layout.config}/kubelet.json",
        f"--kubeconfig={layout.pki}/kubelet-client.kubeconfig",
        f"--hostname-override={layout.node_name}",
        f"--node-ip={layout.node_ip}",
        f"--root-dir={layout.directory}/kubelet",
        f"--cert-dir={layout.run}/kubelet",
    ]
