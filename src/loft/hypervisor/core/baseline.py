"""What a pod may ask of a node: the Pod Security Standards' baseline profile, as predicates on single fields.

Source: kubernetes.io/docs/concepts/security/pod-security-standards (baseline, as of 1.36). Everything here
returns True for a value that is harmless on a node which other tenants share.
"""

from __future__ import annotations

from typing import Any

RULE = "not allowed by Pod Security baseline"
HOST_FIELD = f"{RULE}: pods of a virtual cluster share their nodes with others"

CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
PROFILES = frozenset({"RuntimeDefault", "Localhost"})


def unset(value: Any) -> bool:
    """Nothing, false, zero or empty."""
    return not value


def is_capabilities(value: Any) -> bool:
    """Added capabilities that a container runtime gives by default."""
    return isinstance(value, list) and all(item in CAPABILITIES for item in value)


def is_sysctl(value: Any) -> bool:
    """A sysctl that is namespaced and safe."""
    return value in SYSCTLS


def is_selinux_type(value: Any) -> bool:
    """A type that confines a container."""
    return value in SELINUX_TYPES


def is_profile(value: Any) -> bool:
    """A seccomp or AppArmor profile other than Unconfined."""
    return value in PROFILES


def is_default_proc(value: Any) -> bool:
    """The masked /proc."""
    return bool(value == "Default")


def is_local_mount(value: Any) -> bool:
    """A mount that cannot propagate to the node."""
    return value in ("None", "HostToContainer")
