"""Which address a virtual Service gets before it exists. Pure.

Only the host's kube-proxy routes ClusterIPs and node ports, so the host must give them. Admission of the virtual API
server asks here: a host Service is made first as a reservation, and the virtual one takes over its ClusterIP and node
ports. The reservation is adopted by the sync engine by that address, or released after a time-out when the create was
refused later on.

A dry run reserves nothing and leaves the address unset: an address cannot be promised without taking it, so the
virtual API server shows one of its own choice.
Source: kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers (AdmissionReview v1).
"""

from __future__ import annotations

from typing import Any

import msgspec

from loft.hypervisor.core import objects
from loft.hypervisor.core.body import host_body
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Scope
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.objects import Object
from loft.hypervisor.kinds.service import SERVICE

ADDRESSED = ("ClusterIP", "NodePort", "LoadBalancer")
PORT_FIELDS = ("name", "protocol", "port", "nodePort")


class Allow(msgspec.Struct, frozen=True):
    """Nothing to be decided here."""


class Reserve(msgspec.Struct, frozen=True):
    """Create a host Service with this spec, and give the virtual one its addresses."""

    spec: Object


class Amend(msgspec.Struct, frozen=True):
    """Change the host Service that exists for the virtual one, and give that its addresses."""

    name: str
    uid: str
    spec: Object


Decision = Allow | Reserve | Amend


def decide(request: Object, own: Object | None, *, exists: bool = False) -> Decision:
    """Return what has to happen on the host before a Service request is let through.

    Args:
        request: the `request` of an AdmissionReview about a Service.
        own: the host Service that was made for this very virtual Service (by uid), None when there is none.
        exists: whether a virtual Service of this name is there already; a create is then going to fail.
    """
    service = request.get("object") or {}
    if request.get("dryRun") or not needs_address(service):
        return Allow()
    if request.get("operation") == "CREATE":
        return Allow() if exists else Reserve(reservation_spec(service))
    return _update(service, request.get("oldObject") or {}, own)


def needs_address(service: Object) -> bool:
    """Whether Kubernetes gives this Service a ClusterIP: it is neither headless nor an alias."""
    spec = objects.spec(service)
    return (spec.get("type") or "ClusterIP") in ADDRESSED and spec.get("clusterIP") != "None"


def wants_node_ports(spec: Object) -> bool:
    """Whether Kubernetes gives every port of this Service a node port."""
    if spec.get("type") == "NodePort":
        return True
    return spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False


def reservation_spec(service: Object) -> Object:
    """Return the spec of a host Service that holds addresses and routes nothing: it selects no pods.

    A LoadBalancer is reserved as NodePort; that one is wanted in earnest is only known once it exists.
    """
    spec = objects.spec(service)
    with_node_ports = wants_node_ports(spec)
    ports = [
        {field: port[field] for field in PORT_FIELDS if field in port and (with_node_ports or field != "nodePort")}
        for port in spec.get("ports") or ()
    ]
    kept = {field: spec[field] for field in ("clusterIP", "ipFamilies", "ipFamilyPolicy") if spec.get(field)}
    return {"type": "NodePort" if with_node_ports else "ClusterIP", "ports": ports, **kept}


def reservation(request: Object, spec: Object, names: Names, context: Context) -> Object:
    """Return the host Service to make before a virtual one exists.

    Where all that is wanted there is known by now it is that, but for the uid of its owner; else it holds addresses
    only. What must be refused is left to the sync engine, which tells the tenant.

    Args:
        request: the `request` of an AdmissionReview about a Service.
        spec: what holds the addresses, of `Reserve`.
    """
    namespace, name, uid = (str(request.get(field) or "") for field in ("namespace", "name", "uid"))
    whole = _whole(request, names, context)
    if whole is not None:
        del whole["metadata"]["annotations"][objects.OBJECT_UID]
        whole["metadata"]["annotations"][objects.RESERVATION] = uid
        return whole
    metadata: Object = {
        "name": names.host(namespace, name) if name else names.internal("service", uid),
        "namespace": names.host_namespace,
        "labels": names.selector(namespace),
        "annotations": {objects.RESERVATION: uid, objects.OBJECT_NAMESPACE: namespace},
    }
    if context.settings.owner:
        metadata["ownerReferences"] = [context.settings.owner]
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": dict(spec)}


def _whole(request: Object, names: Names, context: Context) -> Object | None:
    asked = request.get("object") or {}
    named = {field: str(request.get(field) or "") for field in ("namespace", "name")}
    virtual = asked | {"metadata": objects.metadata(asked) | named}
    is_load_balancer = objects.spec(virtual).get("type") == "LoadBalancer"
    if not named["name"] or is_load_balancer or not SERVICE.wanted(virtual, context):
        return None
    body, refusals = host_body(SERVICE, virtual, Scope(names, context, virtual, named["namespace"]))
    return None if refusals else body


def _update(service: Object, old: Object, own: Object | None) -> Decision:
    spec = objects.spec(service)
    if own is None:
        # Not on the host (refused there, or just made): without a reservation it would get an address of its own.
        return Allow() if spec.get("clusterIP") else Reserve(reservation_spec(service))
    lacks_address = not spec.get("clusterIP")
    moved = bool(spec.get("clusterIP")) and spec.get("clusterIP") != objects.spec(own).get("clusterIP")
    if not lacks_address and not moved and not _lacks_node_ports(spec, own):
        return Allow()
    wanted = reservation_spec(service)
    before = _node_ports(objects.spec(old)) | _node_ports(objects.spec(own))
    if wants_node_ports(spec):
        for port in wanted["ports"]:
            known = before.get(_port_key(port))
            if known and not port.get("nodePort"):
                port["nodePort"] = known
    wanted["type"] = spec.get("type") or "ClusterIP"
    return Amend(objects.name(own), objects.uid(own), wanted | {"externalName": None})


def _lacks_node_ports(spec: Object, own: Object) -> bool:
    """Whether the Service wants node ports that the host Service does not have (yet)."""
    if not wants_node_ports(spec):
        return False
    have = _node_ports(objects.spec(own))
    return any(have.get(_port_key(port), 0) != port.get("nodePort", 0) for port in spec.get("ports") or ())


def address_patch(service: Object, host: Object) -> list[Object]:
    """Return the JSON patch that gives a virtual Service the addresses of its host Service."""
    spec, given = objects.spec(service), objects.spec(host)
    patch: list[Object] = []
    if spec.get("clusterIP") != given.get("clusterIP"):
        patch.append({"op": "add", "path": "/spec/clusterIP", "value": given["clusterIP"]})
        if spec.get("clusterIPs"):
            patch.append({"op": "add", "path": "/spec/clusterIPs", "value": given["clusterIPs"]})
    if wants_node_ports(spec):
        have = _node_ports(given)
        for at, port in enumerate(spec.get("ports") or ()):
            node_port = have.get(_port_key(port))
            if node_port and node_port != port.get("nodePort"):
                patch.append({"op": "add", "path": f"/spec/ports/{at}/nodePort", "value": node_port})
    return patch


def _node_ports(spec: Object) -> dict[tuple[str, int], int]:
    return {_port_key(port): port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}


def _port_key(port: Object) -> tuple[str, int]:
    return (port.get("protocol") or "TCP", port.get("port") or 0)


def webhook_configuration(url: str, ca: str) -> dict[str, Any]:
    """Return the object by which the virtual API server asks for every Service.

    A Service is not admitted while we cannot be asked (failurePolicy Fail): an address of the virtual API server's own
    choice would belong to somebody else on the host. The API server's own Service is left out: it makes that itself,
    before anything of ours runs.
    """
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "loft-hypervisor"},
        "webhooks": [
            {
                "name": "services.vcluster.loft.sh",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": url, "caBundle": ca},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["services"],
                        "scope": "Namespaced",
                    }
                ],
                "matchPolicy": "Equivalent",
                "matchConditions": [
                    {
                        "name": "not-the-api-server",
                        # A generated name is not there yet.
                        "expression": "request.namespace != 'default' || !has(request.name) || "
                        "request.name != 'kubernetes'",
                    }
                ],
                "failurePolicy": "Fail",
                "sideEffects": "NoneOnDryRun",
                "timeoutSeconds": 10,
                "reinvocationPolicy": "Never",
            }
        ],
    }
