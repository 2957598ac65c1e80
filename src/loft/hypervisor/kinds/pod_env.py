"""Environment of a container: virtual names in, variables of the virtual cluster's Services computed by us.

The host's kubelet would inject its own namespace's Services (`enableServiceLinks`) and always the host's
`KUBERNETES_SERVICE_*`; both would be another cluster's. Precedence as in a kubelet: a container's own `env` wins over
`envFrom`, and both win over Service variables.
Source: kubernetes.io/docs/concepts/services-networking/service and
docs/concepts/workloads/pods/downward-api.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import ABSENT, At, Copy, Ref, Refused, compile_rules
from loft.hypervisor.core.names import annotation_key, label_key
from loft.hypervisor.core.objects import PREFIX, Object
from loft.hypervisor.core.translate import refuse, walk

LABELS = PREFIX + "labels"
"""Host annotation with all labels of the virtual Pod, in the format of the downward API."""
ANNOTATIONS = PREFIX + "annotations"

_KEYED = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
_PASS = frozenset({"spec.nodeName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"})
_MARKS = {
    "metadata.name": objects.OBJECT_NAME,
    "metadata.namespace": objects.OBJECT_NAMESPACE,
    "metadata.uid": objects.OBJECT_UID,
    "metadata.labels": LABELS,
    "metadata.annotations": ANNOTATIONS,
}

_VARIABLE = compile_rules(
    (
        Copy("{name,value}"),
        Ref("valueFrom.{configMapKeyRef,secretKeyRef}.name"),
        Copy("valueFrom.{configMapKeyRef,secretKeyRef}.{key,optional}"),
        Copy("valueFrom.fieldRef.{apiVersion,fieldPath}"),
        Copy("valueFrom.resourceFieldRef.{containerName,resource,divisor}"),
        Copy("valueFrom.fileKeyRef.{volumeName,path,key,optional}"),
    )
)


def env(value: Any, at: At) -> list[Object]:
    """Return a container's variables on the host: Service variables first, then the tenant's own in order."""
    own = [] if value is ABSENT else value
    taken = {item.get("name") for item in own} | set(_keys_from(at))
    variables = [
        {"name": name, "value": text}
        for name, text in service_variables(at.scope.source, at.scope.context)
        if name not in taken
    ]
    return variables + [_variable(item, At(f"{at.path}[{index}]", item, at.scope)) for index, item in enumerate(own)]


def _variable(item: Object, at: At) -> Object:
    crossed: Object = walk(_VARIABLE, item, at.scope, at.path)
    field = (crossed.get("valueFrom") or {}).get("fieldRef")
    if not field:
        return crossed
    path = field.get("fieldPath", "")
    if path == "spec.serviceAccountName":
        return {"name": item["name"], "value": objects.spec(at.scope.source).get("serviceAccountName") or "default"}
    try:
        host_path = field_path(path)
    except Refused as refused:
        refuse(at.scope, f"{at.path}.valueFrom.fieldRef", refused.rule)
        return {"name": item["name"]}
    return {"name": item["name"], "valueFrom": {"fieldRef": field | {"fieldPath": host_path}}}


def field_path(path: str) -> str:
    """Return the host's field path that holds a virtual Pod's field.

    Names and maps are kept in host annotations, since the host's own metadata is another.
    Raises: Refused for a path without a counterpart.
    """
    if path in _PASS:
        return path
    if path in _MARKS:
        return f"metadata.annotations['{_MARKS[path]}']"
    keyed = _KEYED.fullmatch(path)
    if not keyed:
        raise Refused("", f"field path {path} is not synced to the host")
    translate = label_key if keyed[1] == "labels" else annotation_key
    return f"metadata.{keyed[1]}['{translate(keyed[2])}']"


def _keys_from(at: At) -> Iterator[str]:
    """Yield the variable names that envFrom brings, as far as the objects are known."""
    for source in at.parent.get("envFrom") or ():
        for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            name = (source.get(field) or {}).get("name")
            for key in at.scope.context.env_from.get(f"{kind}/{name}", ()):
                yield f"{source.get('prefix') or ''}{key}"


def service_variables(pod: Object, context: Context) -> list[tuple[str, str]]:
    """Return the variables of `kubernetes` and, with enableServiceLinks, of all Services of the Pod's namespace."""
    result: dict[str, str] = {}
    if objects.spec(pod).get("enableServiceLinks") is not False:
        for service in sorted(context.services, key=objects.name):
            spec = objects.spec(service)
            if spec.get("clusterIP") not in (None, "", "None") and spec.get("type") != "ExternalName":
                result |= _links(objects.name(service), spec["clusterIP"], spec.get("ports") or [])
    api_server = {"name": "https", "port": context.settings.api_service_port, "protocol": "TCP"}
    result |= _links("kubernetes", context.settings.api_service_ip, [api_server])
    return list(result.items())


def _links(service: str, address: str, ports: list[Object]) -> dict[str, str]:
    if not ports:
        return {}
    prefix = service.upper().replace("-", "_")
    result = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            result[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    shown = f"[{address}]" if ":" in address else address
    for index, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{shown}:{port['port']}"
        if index == 0:
            result[f"{prefix}_PORT"] = url
        name = f"{prefix}_PORT_{port['port']}_{protocol.upper()}"
        result |= {
            name: url,
            f"{name}_PROTO": protocol.lower(),
            f"{name}_PORT": str(port["port"]),
            f"{name}_ADDR": address,
        }
    return result


# Annotations that the downward API reads


def downward_annotations(pod: Object) -> dict[str, str]:
    """Return the host annotations that a Pod's field references need, from its labels and annotations of now."""
    result: dict[str, str] = {}
    own = objects.annotations(pod)
    for path in field_paths(pod):
        keyed = _KEYED.fullmatch(path)
        if path == "metadata.labels":
            result[LABELS] = format_map(objects.labels(pod))
        elif path == "metadata.annotations":
            result[ANNOTATIONS] = format_map(own)
        elif keyed and keyed[1] == "annotations" and keyed[2] in own:
            result[annotation_key(keyed[2])] = own[keyed[2]]
    return result


def format_map(values: dict[str, str]) -> str:
    """Format labels or annotations as the downward API does: one `key="escaped value"` a line, sorted."""
    return "\n".join(f"{key}={_quote(value)}" for key, value in sorted(values.items()))


_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def _quote(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(char) or (char if char.isprintable() else _code(char)) for char in text) + '"'


def _code(char: str) -> str:
    """Return the escape of a character that cannot be printed, as Go's strconv.Quote has it."""
    number = ord(char)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def field_paths(pod: Object) -> Iterator[str]:
    """Yield every fieldPath that a Pod's variables and volumes name."""
    spec = objects.spec(pod)
    for container in objects.containers(pod):
        for item in container.get("env") or ():
            yield ((item.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath") or ""
    for volume in spec.get("volumes") or ():
        sources = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        for source in sources:
            for item in (source.get("downwardAPI") or {}).get("items") or ():
                yield (item.get("fieldRef") or {}).get("fieldPath") or ""
