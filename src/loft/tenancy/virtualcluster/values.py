"""The chart values of a virtual cluster: defaults, the tenant's wishes, and what only the platform sets. Pure.

Tenants write values, and the chart makes pods of them: so what may be set is a list, and all else is refused by
name before Helm sees it. Values that could turn the control plane against the host (images, identities, who may
reach it) are the platform's.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from loft.api.virtualcluster import VirtualClusterSpec
from loft.core import yamltext

Values = dict[str, Any]

SYNC_SWITCHES = (
    "configmaps",
    "endpointslices",
    "events",
    "ingressclasses",
    "ingresses",
    "networkpolicies",
    "nodes",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
    "pods",
    "priorityclasses",
    "secrets",
    "services",
    "storageclasses",
    "volumesnapshotclasses",
    "volumesnapshots",
)
"""Kinds that a tenant may switch on and off; what more of the host is synced is not the tenant's to say."""
TENANT_VALUES = (
    "certificates",
    "clusterDomain",
    "controlPlane.replicas",
    "controlPlane.resources",
    "dns.enabled",
    "dns.replicas",
    "metrics",
    "exportKubeConfig",
    "expose",
    "kubernetes.version",
    "mapServices",
    "scheduler",
    "storage",
    *(f"sync.{kind}.enabled" for kind in SYNC_SWITCHES),
    "sync.nodes",
    "syncer",
    "virtualCluster",
)
"""Paths that a tenant may set, with all below them. Whether a value is sensible says the chart's own schema."""

_DISTRIBUTIONS = re.compile(r"(docker\.io/)?(rancher/k3s|k0sproject/k0s):")
CHART_NAME = "virtualcluster"
NESTING_MAX = 20
SHOWN_MAX = 40


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent knows and the chart must be told."""

    service_cidr: str
    """The host's Service CIDR, which the virtual cluster shares."""
    agent_namespace: str
    agent_service_account: str
    """Who may read the two Secrets by which the virtual cluster is reached."""
    chart_version: str
    chart_digest: str
    """Over the chart's files: a changed chart is deployed again."""
    defaults: Values = {}
    """The administrator's defaults, below the tenant's values."""
    fixed: Values = {}
    """The administrator's values that nobody overrides (images)."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a virtual cluster cannot be deployed as it is written."""

    reason: str
    message: str


class Composed(msgspec.Struct, frozen=True, kw_only=True):
    """What Helm is given."""

    values: Values
    digest: str
    """Equal digests need no new deployment."""
    note: str = ""
    """What is done otherwise than written, for the status; "" when nothing is."""


def compose(spec: VirtualClusterSpec, facts: Facts) -> Composed | Refusal:
    """Return the values for a virtual cluster, or why there can be none."""
    if refusal := _unsupported(spec, facts):
        return refusal
    written = parse(spec.helm_release.values if spec.helm_release else "")
    if isinstance(written, Refusal):
        return written
    written, wished = without_distribution(written)
    for path in _leaves(written):
        if not any(path == allowed or path.startswith(allowed + ".") for allowed in TENANT_VALUES):
            return Refusal(
                "ValueNotAllowed",
                f"spec.helmRelease.values: {path[:200]} cannot be set; it is set by the platform, or not known. "
                f"These can be set: {', '.join(TENANT_VALUES)}",
            )
    platform: Values = {
        "serviceCIDR": facts.service_cidr,
        "agent": {"serviceAccount": {"namespace": facts.agent_namespace, "name": facts.agent_service_account}},
        "access": msgspec.to_builtins(spec.access) if spec.access else {},
    }
    values = merge(merge(merge(facts.defaults, written), facts.fixed), platform)
    note = f"virtualCluster.image {wished[:100]} is not supported: {_runs(values)} runs instead" if wished else ""
    text = msgspec.json.encode([facts.chart_digest, values], order="deterministic")
    return Composed(values=values, digest=hashlib.sha256(text).hexdigest()[:40], note=note)


def _runs(values: Values) -> str:
    """Return what runs as control plane: an image of the administrator's choice, or our own."""
    chosen = values.get("distribution")
    image = chosen.get("image") if isinstance(chosen, dict) else None
    return str(image) if image else "the platform's own Kubernetes"


def without_distribution(values: Values) -> tuple[Values, str]:
    """Take the image of another distribution out of values as they were written for earlier charts; return both.

    Those charts ran k3s or k0s in an image that the values name with its version, as the documents of that time show
    it. Which image is run beside the hypervisor is the administrator's to say (chart value `distribution`), so such
    manifests bring up what they would without it, and the status says so.
    """
    section = values.get("virtualCluster")
    image = section.get("image") if isinstance(section, dict) else None
    if not isinstance(section, dict) or not isinstance(image, str) or not _DISTRIBUTIONS.match(image):
        return values, ""
    rest = {key: value for key, value in section.items() if key != "image"}
    kept = {key: value for key, value in values.items() if key != "virtualCluster"}
    return (kept | {"virtualCluster": rest} if rest else kept), image


def _unsupported(spec: VirtualClusterSpec, facts: Facts) -> Refusal | None:
    if spec.kube_config_ref is not None:
        return Refusal(
            "KubeConfigRefNotSupported", "spec.kubeConfigRef is not supported: the platform makes the certificates"
        )
    if spec.pod is not None:
        return Refusal(
            "PodNotSupported", "spec.pod is not supported: the pods are those of the built-in chart; remove it"
        )
    chart = spec.helm_release.chart if spec.helm_release else None
    if chart is None:
        return None
    ours = f"only the built-in chart {CHART_NAME} {facts.chart_version} is deployed; remove spec.helmRelease.chart"
    if chart.name not in ("", CHART_NAME):
        return Refusal("ChartNotSupported", f"chart {chart.name[:100]!r} is not supported: {ours}")
    if chart.repo:
        return Refusal("ChartNotSupported", f"charts from {chart.repo[:100]!r} are not supported: {ours}")
    if chart.version not in ("", facts.chart_version):
        return Refusal("ChartNotSupported", f"version {chart.version[:100]!r} of the chart is not here: {ours}")
    return None


def parse(text: str) -> Values | Refusal:
    """Read values as YAML; only what JSON can say, without aliases (which can grow without bound)."""
    try:
        found = yamltext.load(text)
    except yamltext.NotYaml as error:
        return Refusal("InvalidValues", f"spec.helmRelease.values is not valid YAML: {error}")
    if found is None:
        return {}
    if not isinstance(found, dict):
        return Refusal(
            "InvalidValues", "spec.helmRelease.values must be a map, such as `storage: {persistence: false}`"
        )
    if wrong := _not_json(found, "", 0):
        return Refusal("InvalidValues", f"spec.helmRelease.values: {wrong}")
    return found


def merge(below: Values, above: Values) -> Values:
    """Return both, `above` winning; maps are merged, all else is replaced. None removes a default, as in Helm."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _leaves(values: Values, path: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        # A dot inside of a key would make it look like a path that may be set.
        here = f"{path}.{key}" if path else key
        here = here if "." not in key else f"{path}[{key}]"
        found += _leaves(value, here) if isinstance(value, dict) and value else [here]
    return found


def _not_json(value: Any, path: str, depth: int) -> str:
    if depth > NESTING_MAX:
        return f"{path[:SHOWN_MAX]}… is nested too deeply"
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                return f"the key {key!r} below {path or 'the top'} must be text; put it in quotes"
            if wrong := _not_json(item, f"{path}.{key}" if path else key, depth + 1):
                return wrong
        return ""
    if isinstance(value, list):
        return next(filter(None, (_not_json(item, f"{path}[]", depth + 1) for item in value)), "")
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and value == value):
        return ""
    return f"{path} is a {type(value).__name__}, which values cannot hold; put it in quotes"
