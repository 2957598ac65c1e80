"""Ephemeral containers (`kubectl debug`): added to a running host Pod by its subresource, one by one.

They obey the rules of every other container. One that may not cross is left out as a whole, never added without its
refused part: a debugger that runs with less than was asked for misleads. What `kubectl debug` waits for is a container
status, so a refusal is shown there beside the Event.
Source: kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers (KEP-277).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from loft.hypervisor.core import objects
from loft.hypervisor.core.mapping import ABSENT, At, Copy, Pair, Refusal, Scope, compile_rules
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.translate import walk
from loft.hypervisor.kinds.pod_containers import container_rules
from loft.hypervisor.kinds.pod_security import container_refusals

FIELD = "ephemeralContainers"
REASON = "SyncRefused"

_tree = compile_rules((*container_rules(""), Copy("targetContainerName")))


def ephemeral_containers(value: Any, at: At) -> Any:
    """Return the ephemeral containers that may cross; the refusals of the others are recorded."""
    if value is ABSENT:
        return ABSENT
    crossed = []
    for index, item in enumerate(value):
        container, refusals = _translate(item, f"{at.path}[{index}]", at.scope)
        at.scope.refusals += refusals
        if not refusals:
            crossed.append(container)
    return crossed or ABSENT


def _translate(item: Object, path: str, scope: Scope) -> tuple[Object, list[Refusal]]:
    own = dataclasses.replace(scope, refusals=[])
    crossed = walk(_tree, item, own, path)
    return crossed, own.refusals + container_refusals(item, path, scope.source, scope.context)


def without_ephemeral(body: Object) -> Object:
    """Return the body to create a Pod with: API servers take no ephemeral containers then.

    The digest of what was applied is left out with them, so that the next look adds them.
    """
    if FIELD not in body["spec"]:
        return body
    spec = {field: value for field, value in body["spec"].items() if field != FIELD}
    metadata = body["metadata"]
    annotations = {key: text for key, text in metadata["annotations"].items() if key != objects.APPLIED}
    return body | {"spec": spec, "metadata": metadata | {"annotations": annotations}}


def missing(wanted: Object, host: Object) -> list[Object]:
    """Return the ephemeral containers that the host Pod does not have yet; none is ever changed or removed."""
    have = {item["name"] for item in objects.spec(host).get(FIELD) or ()}
    return [item for item in wanted["spec"].get(FIELD) or () if item["name"] not in have]


def refused_statuses(pair: Pair) -> list[Object]:
    """Return a container status for each ephemeral container that may not cross."""
    scope = Scope(pair.names, pair.context, pair.virtual, objects.namespace(pair.virtual))
    result = []
    for index, item in enumerate(objects.spec(pair.virtual).get(FIELD) or ()):
        refusals = _translate(item, f"spec.{FIELD}[{index}]", scope)[1]
        if refusals:
            text = "; ".join(str(refusal) for refusal in refusals)
            state = {"waiting": {"reason": REASON, "message": text}}
            status = {"image": item.get("image") or "", "imageID": "", "ready": False, "restartCount": 0}
            result.append({"name": item["name"], **status, "state": state})
    return result
