"""Event: what the host says about a synced object is told on its virtual object, in the tenant's words.

One way only. Fields are listed; names of the host in the message become virtual ones. Its name is made from the
host Event's uid, so that a repeated Event updates the one that is there.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from loft.core.action import Apply
from loft.core.resource import EVENTS
from loft.hypervisor.core import objects
from loft.hypervisor.core.names import Names, digest
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.side import Step, on_virtual
from loft.hypervisor.core.texts import virtual_text
from loft.hypervisor.settings import Settings

MANAGER = "loft-hypervisor"
OLD = timedelta(hours=1)
"""API servers forget Events after an hour; what is older is not told again after a restart."""
_FIELDS = ("reason", "type", "count", "firstTimestamp", "lastTimestamp", "eventTime", "action", "series")
_NAME_MAX = 230


def involved_uid(event: Object) -> str:
    """Return the uid of the object that an Event is about."""
    return str((event.get("involvedObject") or {}).get("uid") or "")


def last_seen(event: Object) -> str:
    """Return the time of an Event's last occurrence as the API gives it, "" when it has none."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def is_old(event: Object, now: datetime) -> bool:
    """Whether an Event is past its life in an API server."""
    try:
        seen = datetime.fromisoformat(last_seen(event))
    except ValueError:
        return False
    return now - seen > OLD


def is_said_inside(event: Object, settings: Settings) -> bool:
    """Whether a component of the virtual cluster says the same: a scheduler inside, that it has placed a Pod."""
    return settings.scheduler and event.get("reason") == "Scheduled"


def relevant(event: Object) -> Object:
    """Return the part of a host Event that is used here; a cache keeps only that."""
    fields = ("involvedObject", "message", "source", "reportingComponent", "reportingInstance", *_FIELDS)
    metadata = {key: objects.metadata(event).get(key) for key in ("name", "namespace", "uid", "resourceVersion")}
    return {"metadata": metadata} | {key: event[key] for key in fields if event.get(key) is not None}


def plan_event(event: Object, host: Object, virtual: Object, names: Names) -> list[Step]:
    """Return the step that tells a host Event on the virtual object.

    Args:
        event: the host Event.
        host: the host object it is about, one of ours.
        virtual: the virtual object that this was made for.
        names: host names.
    """
    about = {
        "apiVersion": virtual.get("apiVersion"),
        "kind": virtual.get("kind"),
        "namespace": objects.namespace(virtual),
        "name": objects.name(virtual),
        "uid": objects.uid(virtual),
    }
    if (event.get("involvedObject") or {}).get("fieldPath"):
        about["fieldPath"] = event["involvedObject"]["fieldPath"]
    name = f"{objects.name(virtual)[:_NAME_MAX]}.{digest(objects.uid(event), objects.uid(virtual))[:16]}"
    body: Object = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": objects.namespace(virtual)},
        "involvedObject": about,
        "message": virtual_text(str(event.get("message") or ""), host, virtual, names),
    }
    body |= {field: event[field] for field in _FIELDS if event.get(field) is not None}
    component = (event.get("source") or {}).get("component") or event.get("reportingComponent") or ""
    if event.get("eventTime"):
        body["reportingComponent"] = component or MANAGER
        body["reportingInstance"] = event.get("reportingInstance") or component or MANAGER
    else:
        body["source"] = {"component": component}
    return [on_virtual(Apply(EVENTS, body, MANAGER))]
