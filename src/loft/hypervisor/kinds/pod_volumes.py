"""Volumes of a Pod: the kinds that are safe on a shared node, with virtual names and tokens.

Everything else (hostPath, nfs, inline CSI, image …) is refused by the name of its kind. A projected ServiceAccount
token becomes a key of a host Secret that we fill with a token of the *virtual* API server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from loft.hypervisor.core import objects
from loft.hypervisor.core.baseline import RULE
from loft.hypervisor.core.mapping import ABSENT, At, Copy, Ignore, Node, Ref, Refused, compile_rules
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.translate import UNLISTED, refuse, walk
from loft.hypervisor.kinds.pod_env import field_path
from loft.hypervisor.kinds.pod_security import PRIVILEGED

TOKEN_S = 3600
"""Default lifetime of a projected token."""
FILE_MODE = 0o644

_ITEMS = "items[*].{key,path,mode}"
_DOWNWARD = (
    Copy("items[*].{path,mode}"),
    Copy("items[*].fieldRef.{apiVersion,fieldPath}"),
    Copy("items[*].resourceFieldRef.{containerName,resource,divisor}"),
)
_SOURCES: dict[str, Node] = {
    "configMap": compile_rules((Ref("name"), Copy("{defaultMode,optional}"), Copy(_ITEMS))),
    "secret": compile_rules((Ref("secretName"), Copy("{defaultMode,optional}"), Copy(_ITEMS))),
    "emptyDir": compile_rules((Copy("{medium,sizeLimit}"),)),
    "downwardAPI": compile_rules((Copy("defaultMode"), *_DOWNWARD)),
    "persistentVolumeClaim": compile_rules((Ref("claimName"), Copy("readOnly"))),
}
_TRUSTED = {
    "hostPath": compile_rules((Copy("{path,type}"),)),
    "image": compile_rules((Copy("{reference,pullPolicy}"),)),
}
"""Kinds that cross where no Pod Security rule holds."""
_PROJECTED: dict[str, Node] = {
    "configMap": compile_rules((Ref("name"), Copy("optional"), Copy(_ITEMS))),
    "secret": compile_rules((Ref("name"), Copy("optional"), Copy(_ITEMS))),
    "downwardAPI": compile_rules(_DOWNWARD),
}
_TOKEN = compile_rules((Ignore("{audience,expirationSeconds,path}"),))


class TokenSource(msgspec.Struct, frozen=True):
    """One projected ServiceAccount token of a Pod."""

    key: str
    """Key in the host Secret."""
    path: str
    audience: str
    lifetime_s: int


def token_secret_name(pod: Object, names: Names) -> str:
    """Return the name of the host Secret that holds a Pod's tokens; another Pod never gets the same."""
    return names.internal("token", objects.uid(pod))


def token_sources(pod: Object) -> list[TokenSource]:
    """Return a Pod's projected tokens; the order of volumes decides the keys, and a Pod's volumes are immutable."""
    result: list[TokenSource] = []
    for volume in objects.spec(pod).get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            token = source.get("serviceAccountToken")
            if token:
                lifetime_s = int(token.get("expirationSeconds") or TOKEN_S)
                key = f"token-{len(result)}"
                result.append(TokenSource(key, token["path"], token.get("audience") or "", lifetime_s))
    return result


def volumes(value: Any, at: At) -> Any:
    """Return a Pod's volumes on the host; a kind that is not allowed is refused by its name."""
    if value is ABSENT:
        return ABSENT
    tokens = iter(token_sources(at.scope.source))
    result = []
    for index, volume in enumerate(value):
        kinds = [kind for kind in volume if kind != "name" and volume[kind] is not None]
        place = At(f"{at.path}[{index}]", volume, at.scope)
        if len(kinds) != 1:
            refuse(at.scope, place.path, "a volume must have exactly one kind")
            continue
        host = _volume(kinds[0], volume, place, tokens)
        if host:
            result.append({"name": volume["name"]} | host)
    return result


def _volume(kind: str, volume: Object, at: At, tokens: Iterator[TokenSource]) -> Object:
    place = At(f"{at.path}.{kind}", volume, at.scope)
    if kind == "ephemeral":
        # The virtual cluster's own controller makes the claim `POD-VOLUME`, which is synced like any other.
        claim = f"{objects.name(at.scope.source)}-{volume['name']}"
        return {"persistentVolumeClaim": {"claimName": at.scope.names.host(at.scope.namespace, claim)}}
    if kind == "projected":
        return {kind: _projected(volume[kind], place, tokens)}
    if kind in _SOURCES:
        return {kind: _source(_SOURCES[kind], volume[kind], place)}
    if kind in _TRUSTED and at.scope.context.settings.pod_security == PRIVILEGED:
        return {kind: _source(_TRUSTED[kind], volume[kind], place)}
    refuse(at.scope, place.path, RULE if kind == "hostPath" else "this kind of volume is not synced to the host")
    return {}


def _source(tree: Node, value: Object, at: At) -> Object:
    crossed: Object = walk(tree, value, at.scope, at.path)
    if any("fieldRef" in item for item in crossed.get("items") or ()):
        crossed["items"] = [
            _downward(item, At(f"{at.path}.items[{index}]", item, at.scope))
            for index, item in enumerate(crossed["items"])
        ]
    return crossed


def _downward(item: Object, at: At) -> Object:
    field = item.get("fieldRef")
    if not field:
        return item
    try:
        return item | {"fieldRef": field | {"fieldPath": field_path(field.get("fieldPath", ""))}}
    except Refused as refused:
        refuse(at.scope, f"{at.path}.fieldRef", refused.rule)
        return item


def _projected(value: Object, at: At, tokens: Iterator[TokenSource]) -> Object:
    for step in value:
        if step not in ("sources", "defaultMode"):
            refuse(at.scope, f"{at.path}.{step}", UNLISTED)
    sources = [
        _projection(kind, content, At(f"{at.path}.sources[{index}].{kind}", source, at.scope), tokens)
        for index, source in enumerate(value.get("sources") or ())
        for kind, content in source.items()
    ]
    return {"sources": sources, "defaultMode": value.get("defaultMode", FILE_MODE)}


def _projection(kind: str, content: Object, at: At, tokens: Iterator[TokenSource]) -> Object:
    if kind == "serviceAccountToken":
        walk(_TOKEN, content, at.scope, at.path)
        token = next(tokens)
        name = token_secret_name(at.scope.source, at.scope.names)
        return {"secret": {"name": name, "items": [{"key": token.key, "path": token.path}]}}
    if kind in _PROJECTED:
        return {kind: _source(_PROJECTED[kind], content, at)}
    refuse(at.scope, at.path, "this projection is not synced to the host")
    return {}


# What a Pod names


def references(pod: Object) -> list[tuple[str, str]]:
    """Return (kind, name) of every ConfigMap, Secret and claim that a Pod uses, each once, in order."""
    spec = objects.spec(pod)
    found = [
        (kind, (holder.get(field) or {}).get("name"))
        for container in objects.containers(pod)
        for holder, fields in _holders(container)
        for field, kind in fields
    ]
    found += [("Secret", secret.get("name")) for secret in spec.get("imagePullSecrets") or ()]
    found += _volume_references(pod)
    return list(dict.fromkeys((kind, str(name)) for kind, name in found if name))


_KEY_REFS = (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret"))
_ALL_REFS = (("configMapRef", "ConfigMap"), ("secretRef", "Secret"))
_VOLUME_REFS = (
    ("configMap", "name", "ConfigMap"),
    ("secret", "secretName", "Secret"),
    ("persistentVolumeClaim", "claimName", "PersistentVolumeClaim"),
)


def _holders(container: Object) -> Iterator[tuple[Object, tuple[tuple[str, str], ...]]]:
    for item in container.get("env") or ():
        yield item.get("valueFrom") or {}, _KEY_REFS
    for source in container.get("envFrom") or ():
        yield source, _ALL_REFS


def _volume_references(pod: Object) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for volume in objects.spec(pod).get("volumes") or ():
        found += [(kind, (volume.get(field) or {}).get(name)) for field, name, kind in _VOLUME_REFS]
        if volume.get("ephemeral"):
            found.append(("PersistentVolumeClaim", f"{objects.name(pod)}-{volume['name']}"))
        for source in (volume.get("projected") or {}).get("sources") or ():
            found.append(("ConfigMap", (source.get("configMap") or {}).get("name")))
            found.append(("Secret", (source.get("secret") or {}).get("name")))
    return found
