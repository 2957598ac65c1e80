"""/etc/hosts of a Pod that has a subdomain, with its qualified name as the virtual cluster knows it.

A kubelet puts the name into that file with the namespace it knows, the host's; no field of a Pod says another, and only
the Pod itself knows its addresses once it has some. So where the chart asks for it (`sync.pods.rewriteHosts`), an init
container of ours writes the file before all others, which mount it. The tenant's Pod shows nothing of that.
Source: kubernetes.io/docs/tasks/network/customize-hosts-file-for-pods.
"""

from __future__ import annotations

from typing import Any

from loft.hypervisor.core import objects
from loft.hypervisor.core.mapping import Pair
from loft.hypervisor.core.objects import Object
from loft.hypervisor.kinds.pod_network import label_of, qualified

HOSTS = "/etc/hosts"
_NAME = "loft-hosts"
_FOLDER = "/loft-hosts"
_FILE = "hosts"
_HEAD = """# Written for this Pod by its virtual cluster.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
fe00::\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""
_LINES = """for ip in $IPS; do printf '%s\\t%s\\n' "$ip" "$NAMES"; done"""
_SCRIPT = f"""IFS=,; {{ printf %s "$HEAD"; {_LINES}; printf %s "$TAIL"; }} > {_FOLDER}/{_FILE}"""
_USER = 65532
_BASIC = ("cpu", "memory", "ephemeral-storage")
_SECURITY: Object = {
    "runAsUser": _USER,
    "runAsGroup": _USER,
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def with_hosts(body: Object, pair: Pair) -> Object:
    """Return the body of a new host Pod, with what writes its /etc/hosts where that is wanted."""
    image, spec = pair.context.settings.hosts_image, objects.spec(pair.virtual)
    if not image or not spec.get("subdomain") or spec.get("hostNetwork"):
        return body
    crossed, name = body["spec"], _free_name(spec)
    mount = {"name": name, "mountPath": HOSTS, "subPath": _FILE}
    init = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", _SCRIPT],
        "env": _environment(pair),
        "resources": _resources(crossed["containers"][0]),
        "securityContext": _SECURITY,
        "volumeMounts": [{"name": name, "mountPath": _FOLDER}],
    }
    return body | {
        "spec": crossed
        | {
            "volumes": [*crossed.get("volumes", ()), {"name": name, "emptyDir": {}}],
            "initContainers": [init, *[_mounted(item, mount) for item in crossed.get("initContainers") or ()]],
            "containers": [_mounted(item, mount) for item in crossed["containers"]],
        }
    }


def without_hosts(wanted: Object, virtual: Object) -> None:
    """Take what only the host Pod has out of a status that is about to be shown."""
    statuses = wanted.get("initContainerStatuses")
    if statuses is None:
        return
    known = {item["name"] for item in objects.spec(virtual).get("initContainers") or ()}
    wanted["initContainerStatuses"] = [item for item in statuses if item.get("name") in known]
    if not wanted["initContainerStatuses"]:
        del wanted["initContainerStatuses"]


def _environment(pair: Pair) -> list[Object]:
    pod = pair.virtual
    label = objects.spec(pod).get("hostname") or label_of(pod)
    aliases = objects.spec(pod).get("hostAliases") or ()
    tail = "".join(f"{item['ip']}\t{chr(9).join(item.get('hostnames') or ())}\n" for item in aliases)
    names = f"{qualified(pod, pair.context.settings.cluster_domain)}\t{label}"
    return [
        {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
        {"name": "HEAD", "value": _HEAD},
        {"name": "NAMES", "value": names},
        {"name": "TAIL", "value": tail},
    ]


def _resources(container: Object) -> Object:
    """Return the first container's basic resources: the Pod needs no more by that and keeps its quality of service."""
    given = container.get("resources") or {}
    return {
        part: {name: amount for name, amount in given[part].items() if name in _BASIC}
        for part in ("limits", "requests")
        if given.get(part)
    }


def _mounted(container: Object, mount: Object) -> Object:
    mounts: list[Any] = container.get("volumeMounts") or []
    if any(str(item.get("mountPath")).rstrip("/") == HOSTS for item in mounts):
        return container
    return container | {"volumeMounts": [*mounts, mount]}


def _free_name(spec: Object) -> str:
    fields = ("containers", "initContainers", "ephemeralContainers", "volumes")
    taken = {item["name"] for field in fields for item in spec.get(field) or ()}
    return next(name for name in (_NAME + "-x" * count for count in range(len(taken) + 1)) if name not in taken)
