"""Exchanges the keys of a virtual cluster step by step, while this replica leads; what and when says `rotation.py`.

The Secret is written first, then the pods are marked, whose StatefulSet starts them one after the other: each reads
the Secret when it begins. Whoever dies in between, the next look sees which of the two was done.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from datetime import UTC, datetime, timedelta

import msgspec

from loft.core.resource import SECRETS, STATEFULSETS
from loft.hypervisor import rotation
from loft.hypervisor.certificates import RENEWAL_CHECK_S, new_authorities
from loft.hypervisor.config import Config
from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object
from loft.hypervisor.rotation import State, Wish
from loft.kube.client import Client

log = logging.getLogger(__name__)


def follows(stateful_set: Object, state: State) -> bool:
    """Tell whether all pods have begun with a state and are ready. Pure."""
    spec, status = stateful_set["spec"], stateful_set.get("status") or {}
    replicas = spec.get("replicas", 1)
    return (
        mark_of(stateful_set) == state.mark
        and status.get("observedGeneration") == objects.metadata(stateful_set).get("generation")
        and status.get("currentRevision") == status.get("updateRevision")
        and all(status.get(f"{which}Replicas", 0) == replicas for which in ("updated", "ready"))
    )


def mark_of(stateful_set: Object) -> str:
    """Return with which step pods begin now. Pure."""
    annotations = (stateful_set["spec"]["template"].get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(rotation.MARK, ""))


async def follow(host: Client, config: Config) -> None:
    """Exchange keys when they are due or somebody wishes it; runs until cancelled. Raises: ApiError."""
    wish = Wish(token=config.rotate_authority, overlap=timedelta(minutes=config.overlap_minutes))
    while True:
        await _look(host, config, wish)
        await asyncio.sleep(min(RENEWAL_CHECK_S, wish.overlap.total_seconds() / 12))


async def _look(host: Client, config: Config, wish: Wish) -> None:
    secret = await host.get(SECRETS, f"vc-{config.name}-certs", config.namespace)
    state = rotation.parse(str(objects.annotations(secret).get(rotation.ANNOTATION, "")))
    stateful_set = await host.get(STATEFULSETS, config.name, config.namespace)
    if mark_of(stateful_set) != state.mark and state.mark:
        await _start_anew(host, config, state)
        return
    now = datetime.now(UTC)
    data = {name: base64.b64decode(value) for name, value in secret["data"].items()}
    step = rotation.plan(state, data, wish, now, all_follow=follows(stateful_set, state))
    if step is None:
        return
    fresh: dict[str, bytes] = {}
    if step == "introduce":
        fresh = await asyncio.to_thread(new_authorities, config.name, now, days=config.authority_days)
    state = rotation.after(step, state, wish, now)
    # With the version that was read: of two that lead for a moment, one is refused.
    metadata = objects.metadata(secret)
    annotations = objects.annotations(secret) | {rotation.ANNOTATION: msgspec.json.encode(state).decode()}
    contents = rotation.contents(step, data, fresh)
    encoded = {name: base64.b64encode(value).decode() for name, value in contents.items()}
    await host.update(SECRETS, secret | {"metadata": metadata | {"annotations": annotations}, "data": encoded})
    log.warning("the authorities of %s are exchanged: %s", config.name, step)
    await _start_anew(host, config, state)


async def _start_anew(host: Client, config: Config, state: State) -> None:
    patch = {"spec": {"template": {"metadata": {"annotations": {rotation.MARK: state.mark}}}}}
    await host.patch(STATEFULSETS, config.name, patch, config.namespace)
