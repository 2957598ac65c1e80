"""Messages of the host in the tenant's words: host names in conditions and Events become virtual names."""

from __future__ import annotations

import functools
import re

from loft.hypervisor.core import objects
from loft.hypervisor.core.names import SEPARATOR, Names
from loft.hypervisor.core.objects import Object

LENGTH_MAX = 16_384


def virtual_text(text: str, host: Object, virtual: Object, names: Names) -> str:
    """Return a message about a host object as one about its virtual object.

    The object's own name, namespace and uid are replaced, and every readable host name of this virtual cluster
    (a Secret that is missing, say). A digest name of another object stays: it tells the tenant nothing.
    """
    text = text[:LENGTH_MAX]
    for before, after in _replacements(host, virtual, names):
        text = text.replace(before, after)
    return _pattern(names.virtual_cluster).sub(functools.partial(_readable, names), text)


def _replacements(host: Object, virtual: Object, names: Names) -> list[tuple[str, str]]:
    name, namespace = objects.name(virtual), objects.namespace(virtual)
    pairs = [
        (f"{names.host_namespace}/{objects.name(host)}", f"{namespace}/{name}"),
        (f"{objects.name(host)}_{names.host_namespace}(", f"{name}_{namespace}("),
        (objects.name(host), name),
    ]
    if objects.uid(host):
        pairs.append((objects.uid(host), objects.uid(virtual)))
    return pairs


@functools.lru_cache(maxsize=64)
def _pattern(virtual_cluster: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?:(?P<host>[a-z0-9-]+)/)?(?P<name>[a-z0-9](?:[a-z0-9.-]*?[a-z0-9])?){SEPARATOR}"
        rf"(?P<namespace>[a-z0-9](?:[a-z0-9-]*?[a-z0-9])?){SEPARATOR}{re.escape(virtual_cluster)}(?![a-z0-9.-]*[a-z0-9])"
    )


def _readable(names: Names, match: re.Match[str]) -> str:
    name, namespace = match["name"], match["namespace"]
    if not match[0].endswith(names.host(namespace, name)):
        return match[0]
    if match["host"] == names.host_namespace:
        return f"{namespace}/{name}"
    return f"{match['host']}/{name}" if match["host"] else name
