"""Names of host objects and keys of host labels: an injective map from virtual ones.

Many virtual namespaces and several virtual clusters share one host namespace, so a host name holds name,
namespace and virtual cluster. It is readable (`web-x-default-x-dev`) while that is unambiguous and short,
else it ends in a digest. Two different virtual objects of one kind never get the same host name, and the
way back is by annotation, never by parsing.
"""

from __future__ import annotations

import functools
import hashlib
import re

import msgspec

from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import HOST_NAMESPACE, MANAGED_BY, NAMESPACE, PREFIX, Object

SEPARATOR = "-x-"
LENGTH_MAX = 63
"""Service names and label values end here (RFC 1123 label); other kinds could be longer, but one rule is simpler."""
_OVERLAPPING = re.compile(f"(?={SEPARATOR})")
DIGEST = 20
"""Hex digits, 80 bits: a collision among 10^9 objects of one host namespace has a probability below 10^-6."""

LABEL_PREFIX = "label." + PREFIX
ANNOTATION_PREFIX = "annotation." + PREFIX
_KEY_DIGEST = 16


def digest(*parts: str) -> str:
    """Return a hex digest of the parts; NUL cannot occur in them, so the joined text is unambiguous."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:DIGEST]


def _count(text: str) -> int:
    """Count occurrences of the separator, overlapping ones too (`a-x-x-b` has two)."""
    return len(_OVERLAPPING.findall(text))


def _without_separator(text: str) -> str:
    while SEPARATOR in text:
        text = text.replace(SEPARATOR, "-")
    return text


class Names(msgspec.Struct, frozen=True):
    """The names of one virtual cluster's host objects."""

    virtual_cluster: str
    host_namespace: str

    def host(self, namespace: str, name: str) -> str:
        """Return the host name of the virtual object `namespace/name`, a DNS label if `name` is one.

        Guarantees: injective over (virtual cluster, namespace, name) within a host namespace. A readable name
        has exactly two separators, hence parses in one way only; a digest name has at most one.
        """
        return _host(self.virtual_cluster, namespace, name)

    def cluster(self, name: str) -> str:
        """Return the host name of a cluster-scoped virtual object.

        Guarantees: injective over (host namespace, virtual cluster, name), for all of them share the host. Always a
        digest name, so it is none of `host`, whatever the parts are.
        """
        readable = _without_separator(name)[: LENGTH_MAX - DIGEST - 1].rstrip("-.")
        return f"{readable}-{digest('cluster', self.host_namespace, self.virtual_cluster, name)}"

    def internal(self, purpose: str, uid: str) -> str:
        """Return the host name of an object that we make for a virtual object (a token Secret), by its uid."""
        return f"{purpose}-{digest(self.virtual_cluster, '', purpose, uid)}"

    def selector(self, namespace: str) -> dict[str, str]:
        """Return labels that every host object of a virtual namespace has, and no other object."""
        return {MANAGED_BY: self.virtual_cluster, NAMESPACE: namespace}

    def cluster_selector(self) -> dict[str, str]:
        """Return labels that the cluster-scoped host objects have, and no other object."""
        return {MANAGED_BY: self.virtual_cluster, HOST_NAMESPACE: self.host_namespace}


def host_name(virtual: Object, names: Names) -> str:
    """Return the host name of a virtual object, namespaced or not."""
    namespace, name = objects.namespace(virtual), objects.name(virtual)
    return names.host(namespace, name) if namespace else names.cluster(name)


@functools.lru_cache(maxsize=8192)
def _host(virtual_cluster: str, namespace: str, name: str) -> str:
    plain = f"{name}{SEPARATOR}{namespace}{SEPARATOR}{virtual_cluster}"
    if len(plain) <= LENGTH_MAX and _count(plain) == 2:
        return plain
    readable = _without_separator(name)[: LENGTH_MAX - DIGEST - 1].rstrip("-.")
    return f"{readable}-{digest(virtual_cluster, namespace, name)}"


def label_key(key: str) -> str:
    """Return the host's label key for a tenant's label key, so that no tenant label has a meaning on the host.

    `app` becomes `label.vcluster.loft.sh/app`; a key with a prefix of its own is told apart by a digest.
    """
    return LABEL_PREFIX + _translated(key)


def annotation_key(key: str) -> str:
    """Return the host's annotation key under which a tenant's annotation is kept for the downward API."""
    return ANNOTATION_PREFIX + _translated(key)


@functools.lru_cache(maxsize=4096)
def _translated(key: str) -> str:
    if "/" not in key and SEPARATOR not in key:
        return key
    readable = _without_separator(key.rpartition("/")[2])[: LENGTH_MAX - _KEY_DIGEST - len(SEPARATOR)].rstrip("-._")
    return f"{readable}{SEPARATOR}{digest('key', key)[:_KEY_DIGEST]}"


def host_labels(labels: dict[str, str]) -> dict[str, str]:
    """Translate a map of labels (an object's own, or a selector's)."""
    return {label_key(key): value for key, value in labels.items()}
