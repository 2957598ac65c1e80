"""`kubernetes.default` inside the virtual cluster: the host Service of the virtual API server. Pure.

The API server makes that Service by itself with the first address of the Service CIDR, which on the host is the host's
own API server. Services cannot change their ClusterIP, so a wrong one is deleted and made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loft.core.action import Action, Create, Delete
from loft.core.resource import SERVICES

API_PORT = 8443

Object = dict[str, Any]

_LABELS = {"component": "apiserver", "provider": "kubernetes"}


def plan_service(observed: Object | None, address: str, api_port: int = API_PORT) -> list[Action]:
    """Return the steps that make `default/kubernetes` have this ClusterIP and lead to this port.

    Between the two steps the API server may make its own again; the next look then finds that and starts over.
    """
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": _LABELS},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": api_port}],
            "sessionAffinity": "None",
            "ipFamilyPolicy": "SingleStack",
        },
    }
    if observed is None:
        return [Create(SERVICES, body)]
    spec = observed.get("spec") or {}
    ports = [(port.get("port"), port.get("targetPort")) for port in spec.get("ports") or ()]
    if spec.get("clusterIP") == address and ports == [(443, api_port)] and not spec.get("selector"):
        return []
    return [Delete(SERVICES, "default", "kubernetes", uid=observed["metadata"]["uid"]), Create(SERVICES, body)]


def endpoint_objects(addresses: Sequence[str], api_port: int = API_PORT) -> list[Object]:
    """Return the EndpointSlice and Endpoints behind `default/kubernetes`: the pods of the control plane."""
    ordered = sorted(addresses)
    family = "IPv6" if any(":" in address for address in ordered) else "IPv4"
    endpoints = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        # Without this label the mirroring controller would make a second EndpointSlice from it.
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {
                "addresses": [{"ip": address} for address in ordered],
                "ports": [{"name": "https", "port": api_port, "protocol": "TCP"}],
            }
        ],
    }
    endpoint_slice = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": family,
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in ordered],
        "ports": [{"name": "https", "port": api_port, "protocol": "TCP"}],
    }
    return [endpoints, endpoint_slice]
