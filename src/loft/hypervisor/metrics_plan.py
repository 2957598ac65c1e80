"""`metrics.k8s.io` inside the virtual cluster, as values: what is asked, and what the host's figures are inside. Pure.

The group is an APIService of the virtual API server whose backend is the hypervisor. An APIService needs a Service;
this one has no address but a name nobody can resolve, which the egress proxy knows as the hypervisor itself.
Source: kubernetes.io/docs/tasks/debug/debug-cluster/resource-metrics-pipeline; KEP-117 (resource metrics API).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from loft.core import quantity
from loft.core.resource import Resource
from loft.core.selector import FieldTerm, Selector, parse_fields, parse_labels
from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object
from loft.hypervisor.egress_rules import HYPERVISOR_HOST

GROUP = "metrics.k8s.io"
VERSION = "v1beta1"
GROUP_VERSION = f"{GROUP}/{VERSION}"
ROOT = f"/apis/{GROUP_VERSION}"
PODMETRICS = Resource(GROUP, VERSION, "pods", "PodMetrics")
NODEMETRICS = Resource(GROUP, VERSION, "nodes", "NodeMetrics", namespaced=False)
PORT = 10252
NAMESPACE, SERVICE = "kube-system", "loft-hypervisor"
SERVER_NAME = f"{SERVICE}.{NAMESPACE}.svc"
"""The name the API server expects in the certificate."""

_FIELDS = ("metadata.name", "metadata.namespace")

Measured = tuple[Object, Object]
"""A virtual Pod or Node, and the figures of its host object (PodMetrics, NodeMetrics)."""


class Unsupported(Exception):
    """Not served; `status` is the HTTP status to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request: the group's description, or figures of some or one object."""

    what: Literal["discovery", "pods", "nodes"]
    namespace: str = ""
    name: str = ""
    labels: Selector = Selector(())
    fields: tuple[FieldTerm, ...] = ()

    def picks(self, virtual: Object) -> bool:
        """Whether a virtual object is asked for."""
        return (
            self.namespace in ("", objects.namespace(virtual))
            and self.name in ("", objects.name(virtual))
            and self.labels.matches(objects.labels(virtual))
            and all(term.matches(virtual) for term in self.fields)
        )


def parse(method: str, path: str, query: Iterable[tuple[str, str]]) -> Call:
    """Return what is asked for. Raises: Unsupported."""
    if method != "GET":
        raise Unsupported(405, "metrics can be read only")
    if path.rstrip("/") == ROOT:
        return Call(what="discovery")
    if not path.startswith(ROOT + "/"):
        raise Unsupported(404, f"only {ROOT} is served here")
    asked = dict(query)
    if asked.get("watch") in ("true", "1"):
        raise Unsupported(405, "metrics cannot be watched")
    try:
        selectors = {
            "labels": parse_labels(asked.get("labelSelector", "")),
            "fields": parse_fields(asked.get("fieldSelector", ""), _FIELDS),
        }
    except ValueError as error:
        raise Unsupported(400, str(error)) from error
    match path.removeprefix(ROOT + "/").split("/"):
        case ["pods"]:
            return Call(what="pods", **selectors)  # type: ignore[arg-type]
        case ["namespaces", namespace, "pods"]:
            return Call(what="pods", namespace=namespace, **selectors)  # type: ignore[arg-type]
        case ["namespaces", namespace, "pods", name]:
            return Call(what="pods", namespace=namespace, name=name)
        case ["nodes"]:
            return Call(what="nodes", **selectors)  # type: ignore[arg-type]
        case ["nodes", name]:
            return Call(what="nodes", name=name)
    raise Unsupported(404, "there are metrics of pods and nodes only")


def discovery(*, nodes: bool) -> Object:
    """Return the description of the group; nodes are in it where the host's may be read."""

    def described(name: str, kind: str, *, namespaced: bool) -> Object:
        return {
            "name": name,
            "singularName": "",
            "namespaced": namespaced,
            "kind": kind,
            "verbs": ["get", "list"],
        }

    resources = [described("pods", "PodMetrics", namespaced=True)]
    if nodes:
        resources.append(described("nodes", "NodeMetrics", namespaced=False))
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": resources}


def answer(call: Call, measured: Sequence[Measured]) -> Object:
    """Return the body for a call about objects. Raises: Unsupported when the one asked for has no figures."""
    shape = _pod if call.what == "pods" else _node
    items = [shape(virtual, figures) for virtual, figures in measured if call.picks(virtual)]
    kind = "PodMetrics" if call.what == "pods" else "NodeMetrics"
    if not call.name:
        return {"kind": f"{kind}List", "apiVersion": GROUP_VERSION, "metadata": {}, "items": items}
    if not items:
        raise Unsupported(404, f'{call.what}.{GROUP} "{call.name}" not found')
    return {"kind": kind, "apiVersion": GROUP_VERSION, **items[0]}


def _pod(virtual: Object, figures: Object) -> Object:
    return _described(virtual, figures) | {"containers": containers(virtual, figures)}


def containers(virtual: Object, figures: Object) -> list[Object]:
    """Return the figures of a Pod's own containers; what the host put beside them is the host's business."""
    own = {item["name"] for item in objects.containers(virtual)}
    return [
        {"name": item["name"], "usage": _usage(item)}
        for item in figures.get("containers") or ()
        if item.get("name") in own
    ]


def _node(virtual: Object, figures: Object) -> Object:
    return _described(virtual, figures) | {"usage": _usage(figures)}


def _described(virtual: Object, figures: Object) -> Object:
    metadata: Object = {"name": objects.name(virtual)}
    if objects.namespace(virtual):
        metadata["namespace"] = objects.namespace(virtual)
    made = objects.metadata(figures).get("creationTimestamp")
    metadata |= {"creationTimestamp": made, "labels": objects.labels(virtual)}
    return {"metadata": metadata, "timestamp": figures.get("timestamp"), "window": figures.get("window")}


def _usage(figures: Object) -> Object:
    return {key: text for key, text in (figures.get("usage") or {}).items() if key in ("cpu", "memory")}


def summary(node: str, pods: Sequence[Object], measured: Sequence[Measured]) -> Object:
    """Return what a kubelet's `/stats/summary` says, for the virtual Pods of one virtual Node.

    Only these count: what the node does for others, and the node's own figures, are not the tenant's.
    """
    figures = {objects.uid(virtual): found for virtual, found in measured}
    return {"node": {"nodeName": node}, "pods": [_pod_stats(pod, figures.get(objects.uid(pod), {})) for pod in pods]}


def _pod_stats(pod: Object, figures: Object) -> Object:
    time = figures.get("timestamp")
    began = {
        item["name"]: ((item.get("state") or {}).get("running") or {}).get("startedAt")
        for field in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for item in objects.status(pod).get(field) or ()
    }
    parts = [
        {"name": item["name"], "startTime": began.get(item["name"]), **_stats(time, _amounts(item["usage"]))}
        for item in containers(pod, figures)
    ]
    reference = {"name": objects.name(pod), "namespace": objects.namespace(pod), "uid": objects.uid(pod)}
    sums = [_amounts(item["usage"]) for item in containers(pod, figures)]
    whole = _stats(time, (sum(cpu for cpu, _ in sums), sum(memory for _, memory in sums))) if sums else {}
    return {"podRef": reference, "startTime": objects.status(pod).get("startTime"), "containers": parts, **whole}


def _amounts(usage: Object) -> tuple[int, int]:
    """Return CPU in billionths of a core, and memory in bytes."""
    return quantity.parse(usage.get("cpu") or "0"), quantity.parse(usage.get("memory") or "0") // quantity.NANO


def _stats(time: object, amounts: tuple[int, int]) -> Object:
    return {
        "cpu": {"time": time, "usageNanoCores": amounts[0]},
        "memory": {"time": time, "workingSetBytes": amounts[1]},
    }


def group_objects(ca: str) -> list[Object]:
    """Return the Service and the APIService by which the virtual API server serves the group."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": HYPERVISOR_HOST},
    }
    api_service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{VERSION}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": ca,
            "service": {"namespace": NAMESPACE, "name": SERVICE, "port": PORT},
        },
    }
    return [service, api_service]
