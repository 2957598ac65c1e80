"""What the chart tells the hypervisor: one JSON file, and the pod's own identity from the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from loft.api.virtualcluster import VirtualClusterAccess
from loft.core.selector import parse_labels
from loft.hypervisor.apiservice import API_PORT
from loft.hypervisor.custom import CustomResource
from loft.hypervisor.distribution import Distribution
from loft.hypervisor.kinds import REGISTRY
from loft.hypervisor.kinds.custom import CustomResourceError, custom_kinds
from loft.hypervisor.mapped import MappedError, MappedService, check
from loft.hypervisor.settings import KINDS, OPTIONAL_KINDS

CONFIG_FILE = Path("/etc/loft/config.json")
ACCESS_KEY = "access.json"
OVERLAPS_MIN = 6


class ConfigError(ValueError):
    """The configuration cannot be used; the message says what and where."""


class Export(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A further Secret with a kubeconfig."""

    name: str
    namespace: str = ""
    """That of the virtual cluster when empty."""
    server: str = ""
    context: str = ""


class Config(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The file that the chart renders into ConfigMap `vc-NAME-config`, key `config.json`."""

    name: str
    namespace: str
    service_cidr: str
    replicas: int = 1
    disabled_kinds: tuple[str, ...] = ()
    """Kinds that are not synced."""
    enabled_kinds: tuple[str, ...] = ()
    """Kinds that are synced though they are not by default."""
    host_nodes: bool = False
    all_nodes: bool = False
    node_selector: str = ""
    scheduler: bool = False
    metrics: bool = True
    """Whether metrics.k8s.io is served inside while the host has it."""
    dns_image: str = "loft.sh/coredns:v1.15.0"
    dns_enabled: bool = True
    dns_replicas: int = 1
    cluster_domain: str = "cluster.local"
    kubernetes_version: str = "v1.36.3"
    certificate_minutes: int = 60 * 24 * 365
    authority_minutes: int = 60 * 24 * 3650
    """How long new authorities are valid."""
    rotate_authority: str = ""
    """When this changes, authorities are exchanged."""
    overlap_minutes: int = 60 * 24
    """How long two authorities are trusted, before and after the second issues certificates."""
    extra_names: tuple[str, ...] = ()
    """Further names and IP addresses in the API server's certificate."""
    pod_security: Literal["baseline", "restricted", "privileged"] = "baseline"
    ingress_host: str = ""
    """Name of the Ingress in front of the API server."""
    load_balancer: bool = False
    """Whether the Service on the host has a load balancer, by whose addresses people come."""
    store_is_ours: bool = True
    """Whether etcd runs in this pod."""
    store_stays: bool = True
    """Whether etcd's volume outlives the pod."""
    store_limit: int = 2 * 1024**3
    """How large etcd's database may become, in bytes."""
    export_server: str = ""
    export_context: str = ""
    exports: tuple[Export, ...] = ()
    storage_classes: tuple[str, ...] = ("*",)
    ingress_classes: tuple[str, ...] = ("*",)
    ingress_hosts: tuple[str, ...] = ()
    priority_classes: tuple[str, ...] = ()
    snapshot_classes: tuple[str, ...] = ("*",)
    tolerations: tuple[str, ...] = ("node.kubernetes.io/",)
    blocked_cidrs: tuple[str, ...] = ()
    hosts_image: str = ""
    custom_resources: tuple[CustomResource, ...] = ()
    distribution: Distribution | None = None
    """A control plane of another make; by default our own components run in this pod."""
    from_host: tuple[MappedService, ...] = ()
    """Services of the host that are shown inside."""
    from_virtual: tuple[MappedService, ...] = ()
    """Services inside that are found on the host under a plain name."""

    @property
    def certificate_hours(self) -> float:
        """How long certificates are valid."""
        return self.certificate_minutes / 60

    @property
    def authority_days(self) -> float:
        """How long new authorities are valid."""
        return self.authority_minutes / (60 * 24)

    @property
    def api_port(self) -> int:
        """Where the API server listens in its pod."""
        return self.distribution.port if self.distribution else API_PORT

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds that are synced."""
        return (KINDS | frozenset(self.enabled_kinds)) - frozenset(self.disabled_kinds)


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """The pod this process runs in."""

    name: str
    address: str


def parse_config(data: bytes) -> Config:
    """Read the configuration. Raises: ConfigError."""
    try:
        config = msgspec.json.decode(data, type=Config)
    except msgspec.DecodeError as error:
        raise ConfigError(f"the hypervisor's configuration cannot be read: {error}") from error
    if unknown := sorted(set(config.enabled_kinds) - OPTIONAL_KINDS):
        known = ", ".join(sorted(OPTIONAL_KINDS))
        raise ConfigError(f"enabledKinds: {', '.join(unknown)} is not supported; known are {known}")
    if unknown := sorted(set(config.disabled_kinds) - KINDS):
        raise ConfigError(f"disabledKinds: {', '.join(unknown)} is not supported; known are {', '.join(sorted(KINDS))}")
    if (config.all_nodes or config.scheduler) and not config.host_nodes:
        raise ConfigError("allNodes and scheduler need hostNodes: the right to read the host's nodes")
    try:
        parse_labels(config.node_selector)
    except ValueError as error:
        raise ConfigError(f"nodeSelector: {error}") from error
    if "*" in config.priority_classes:
        raise ConfigError("priorityClasses: give names; a tenant's own class of a name would be taken for the host's")
    for text in config.blocked_cidrs:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise ConfigError(f"blockedCidrs: {error}") from error
    try:
        custom_kinds(config.custom_resources, [*config.kinds & set(REGISTRY)])
    except CustomResourceError as error:
        raise ConfigError(f"customResources: {error}") from error
    _check_ways(config)
    if not 1 <= config.certificate_minutes <= 60 * 24 * 3650:
        raise ConfigError("certificateMinutes must be between 1 and 5256000")
    if config.authority_minutes < OVERLAPS_MIN * config.overlap_minutes:
        raise ConfigError(
            f"authorityMinutes must be at least {OVERLAPS_MIN} times overlapMinutes: the next one is there in the last "
            "third of the authorities' lifetime, and has to be known to all before it ends"
        )
    return config


def _check_ways(config: Config) -> None:
    try:
        check(config.from_host, config.from_virtual)
    except MappedError as error:
        raise ConfigError(str(error)) from error
    distribution = config.distribution
    if distribution and (config.replicas > 1 or config.metrics or config.scheduler or config.store_is_ours):
        raise ConfigError("distribution: replicas, metrics, scheduler and store are its own")
    if distribution and "/" in distribution.kubeconfig:
        raise ConfigError(f"distribution.kubeconfig {distribution.kubeconfig!r} is not a file's name")


def load_config(path: Path = CONFIG_FILE) -> Config:
    """Read the configuration file. Raises: ConfigError."""
    try:
        return parse_config(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def parse_access(data: str) -> VirtualClusterAccess:
    """Read `access.json`, the VirtualCluster's spec.access. Raises: ConfigError."""
    try:
        return msgspec.json.decode(data or "{}", type=VirtualClusterAccess)
    except msgspec.DecodeError as error:
        raise ConfigError(f"access cannot be read: {error}") from error


def for_this_pod(config: Config, environ: Mapping[str, str]) -> Config:
    """Return the configuration with what the pod was made for: the file may be newer than the pod. Raises: ConfigError.

    A container that is started again after a rollback that did not go through would else lead beside another.
    """
    try:
        return msgspec.structs.replace(config, replicas=int(environ.get("LOFT_REPLICAS") or config.replicas))
    except ValueError as error:
        raise ConfigError(f"LOFT_REPLICAS: {error}") from error


def pod_from(environ: Mapping[str, str]) -> Pod:
    """Return this pod's identity from POD_NAME and POD_IP. Raises: ConfigError."""
    try:
        return Pod(name=environ["POD_NAME"], address=environ["POD_IP"])
    except KeyError as error:
        raise ConfigError(f"the environment variable {error.args[0]} is missing") from error
