"""Messages of the host in the tenant's words: host names in conditions and Events become virtual names."""

from __future__ import annotations

import functools
import re

import msgspec

from loft.hypervisor.core import objects
from loft.hypervisor.core.names import LENGTH_MAX as NAME_MAX
from loft.hypervisor.core.names import SEPARATOR, Names
from loft.hypervisor.core.objects import Object

LENGTH_MAX = 16_384


def virtual_text(text: str, host: Object, virtual: Object, names: Names) -> str:
    """Return a message about a host object as one about its virtual object.

    The object's own name, namespace and uid are replaced, and every readable host name of this virtual cluster
    (a Secret that is missing, say). A digest name of another object stays: it tells the tenant nothing.
    """
    own = {objects.name(host): objects.name(virtual), objects.uid(host): objects.uid(virtual)}
    words = _Words(names, own, objects.namespace(virtual))
    text = text[:LENGTH_MAX].replace(
        f"{objects.name(host)}_{names.host_namespace}(", f"{objects.name(virtual)}_{words.namespace}("
    )
    return _pattern(names.host_namespace).sub(words.replace, text)


@functools.lru_cache(maxsize=64)
def _pattern(host_namespace: str) -> re.Pattern[str]:
    """Match every word that could be a name; one pass, linear in the text, which tenants can write."""
    return re.compile(rf"(?:(?<![a-z0-9.-])({re.escape(host_namespace)})/)?([a-z0-9][a-z0-9.-]*)")


class _Words(msgspec.Struct, frozen=True):
    """Replaces words of one message."""

    names: Names
    own: dict[str, str]
    """Name and uid of the host object, and what they are inside."""
    namespace: str

    def replace(self, match: re.Match[str]) -> str:
        word = match[2].rstrip(".-")
        rest = match[2][len(word) :]
        if word in self.own:
            return f"{self.namespace}/{self.own[word]}{rest}" if match[1] else self.own[word] + rest
        namespace, name = self._readable(word)
        if not name:
            return match[0]
        return f"{namespace}/{name}{rest}" if match[1] else name + rest

    def _readable(self, word: str) -> tuple[str, str]:
        """Return (namespace, name) of a readable host name of this virtual cluster, empty when it is none."""
        parts = word.split(SEPARATOR)
        if len(word) > NAME_MAX or len(parts) != 3 or self.names.host(parts[1], parts[0]) != word:
            return "", ""
        return parts[1], parts[0]
