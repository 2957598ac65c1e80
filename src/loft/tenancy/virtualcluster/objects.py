"""Applies spec.objects inside a virtual cluster: YAML documents, each by server-side apply."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from loft.core import yamltext
from loft.core.resource import KNOWN, SECRETS, SERVICES, Resource
from loft.kube.client import Client
from loft.kube.config import ConfigError, Endpoint, parse_kubeconfig
from loft.kube.errors import ApiError
from loft.kube.request import Request

Object = dict[str, Any]
MANAGER = "loft"
DOCUMENTS_MAX = 500


class ObjectsError(Exception):
    """The objects cannot be applied; the message says which and why."""


def documents(text: str) -> list[Object]:
    """Read manifests; Lists are taken apart. Pure. Raises: ObjectsError."""
    try:
        found = [document for document in yamltext.load_all(text) if document is not None]
    except yamltext.NotYaml as error:
        raise ObjectsError(f"spec.objects is not valid YAML: {error}") from error
    flat: list[Object] = []
    for document in found:
        if not isinstance(document, dict):
            raise ObjectsError("spec.objects: every document must be a Kubernetes object")
        flat += document["items"] if document.get("kind") == "List" and document.get("items") else [document]
    if len(flat) > DOCUMENTS_MAX:
        raise ObjectsError(f"spec.objects has more than {DOCUMENTS_MAX} objects")
    for number, item in enumerate(flat, 1):
        metadata = item.get("metadata") if isinstance(item, dict) else None
        named = isinstance(metadata, dict) and isinstance(metadata.get("name"), str) and metadata["name"]
        if not named or not all(isinstance(item.get(field), str) for field in ("apiVersion", "kind")):
            raise ObjectsError(f"spec.objects: object {number} has no apiVersion, kind or metadata.name")
    return flat


async def inside(host: Client, namespace: str, name: str) -> Endpoint:
    """Return the endpoint of a virtual cluster for its administrator, by the Secret `vc-NAME` on the host.

    Raises: ObjectsError, ApiError.
    """
    secret = await host.get(SECRETS, f"vc-{name}", namespace)
    service = await host.get(SERVICES, name, namespace)
    try:
        endpoint = parse_kubeconfig(base64.b64decode((secret.get("data") or {})["config"]), inline_only=True)
    except (ConfigError, KeyError, ValueError) as error:
        raise ObjectsError(f"Secret vc-{name} holds no usable kubeconfig: {error}") from error
    # The Secret is in the tenant's hands: its certificates may be used, where to go is not its to say.
    address = (service.get("spec") or {}).get("clusterIP") or ""
    if not address or address == "None":
        raise ObjectsError(f"Service {name} has no ClusterIP")
    host_part = f"[{address}]" if ":" in address else address
    return msgspec.structs.replace(endpoint, server=f"https://{host_part}:443", tls_server_name="", insecure=False)


async def apply_objects(endpoint: Endpoint, text: str) -> int:
    """Apply all documents in their order; return how many. Raises: ObjectsError naming the first that failed."""
    found = documents(text)
    async with Client(endpoint, user_agent="loft-objects", limit=4) as client:
        for item in found:
            where = f"{item['kind']} {item['metadata']['name']}"
            try:
                resource = await resource_of(client, item["apiVersion"], item["kind"])
                if resource.namespaced and not item["metadata"].get("namespace"):
                    item["metadata"]["namespace"] = "default"
                await client.apply(resource, item, manager=MANAGER)
            except (ApiError, ValueError) as error:
                raise ObjectsError(f"spec.objects: {where}: {error}") from error
    return len(found)


async def resource_of(client: Client, api_version: str, kind: str) -> Resource:
    """Find the resource of a kind by discovery. Raises: ObjectsError for a kind the API server does not serve."""
    if known := KNOWN.get((api_version, kind)):
        return known
    group, _, version = api_version.rpartition("/")
    path = f"/apis/{group}/{version}" if group else f"/api/{version}"
    try:
        listed = await client.call(Request("GET", path))
    except ApiError as error:
        raise ObjectsError(f"{api_version} is not served inside: {error}") from error
    for entry in listed.get("resources") or []:
        if entry.get("kind") == kind and "/" not in entry.get("name", "/"):
            return Resource(group, version, entry["name"], kind, bool(entry.get("namespaced")))
    raise ObjectsError(f"{api_version} has no kind {kind!r} inside")
