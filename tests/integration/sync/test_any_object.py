"""Whatever a real API server accepts of a kind ends on the host or in an Event, and never in an exception.

Objects are drawn from the server's own OpenAPI schema, so fields that nobody here has heard of are among them.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.sync.scene import make
from loft.core.action import Create, Event
from loft.core.resource import NAMESPACES, SERVICEACCOUNTS
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Mapping
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.plan import plan
from loft.hypervisor.kinds.persistentvolumeclaim import PERSISTENTVOLUMECLAIM
from loft.hypervisor.kinds.pod import POD
from loft.hypervisor.kinds.pod_volumes import references, token_sources
from loft.hypervisor.kinds.service import SERVICE
from loft.hypervisor.settings import Settings
from loft.kube import request as requests
from loft.kube.client import Client
from loft.kube.errors import ApiError
from loft.kube.request import Request

pytestmark = pytest.mark.integration
Object = dict[str, Any]
Run = Callable[[Coroutine[Any, Any, Any]], Any]

PREFIX = "io.k8s.api.core.v1."
DEPTH_MAX = 5
HOST = "host"
"""The host's namespace; the host is the same server here."""
NAMES = ["a", "web", "x-y", "web-x-default-x-dev"]
WORDS = {
    "apiVersion": ["v1"],
    "fieldPath": ["metadata.name", "metadata.labels", "status.podIP", "spec.nodeName", "metadata.annotations['a/b']"],
    "resource": ["limits.cpu", "requests.memory", "limits.hugepages-2Mi"],
    "operator": ["In", "Exists", "DoesNotExist", "Equal", "Gt"],
    "effect": ["NoSchedule", "NoExecute"],
    "restartPolicy": ["Always", "OnFailure", "Never"],
    "dnsPolicy": ["ClusterFirst", "Default", "None", "ClusterFirstWithHostNet"],
    "whenUnsatisfiable": ["DoNotSchedule", "ScheduleAnyway"],
    "mountPath": ["/a", "/b"],
    "path": ["a", "b/c", "/x"],
    "mountPropagation": ["None", "HostToContainer", "Bidirectional"],
    "procMount": ["Default", "Unmasked"],
    "scheme": ["HTTP", "HTTPS"],
    "protocol": ["TCP", "UDP", "SCTP"],
    "ip": ["192.0.2.1", "fd00::1"],
    "sysctl": ["kernel.shm_rmid_forced", "kernel.msgmax"],
}
LISTS = {
    "accessModes": [["ReadWriteOnce"]],
    "add": [["NET_ADMIN"], ["CHOWN"], ["ALL"]],
    "drop": [["ALL"], ["CHOWN"]],
    "nameservers": [["192.0.2.53"]],
    "podIPs": [[]],
}
NO_ADDRESS = "10.96.0.0"
"""What an API server shows as ClusterIP in a dry run: the first of its range."""
OFTEN = {"PodSpec": ["hostIPC", "hostPID", "securityContext", "volumes"], "Container": ["ports", "securityContext"]}
"""Fields where power on a host is asked for; drawn more often than others."""
UNIONS = ("Volume", "VolumeProjection", "EnvVarSource", "LifecycleHandler", "Probe")
"""Kinds of which an API server takes exactly one of the optional fields."""
STRINGS = [*NAMES, "RuntimeDefault", "Unconfined", "Localhost", "Memory", "IfNotPresent", "linux", "1Gi", "true", ""]


class Schema:
    """Draws values by the schemas of one API server."""

    def __init__(self, components: Object) -> None:
        self._components = components

    def fields(self, kind: str) -> dict[str, Object]:
        return dict(self._components[PREFIX + kind]["properties"])

    def value(self, draw: Any, field: str, schema: Object, depth: int = 0) -> Any:
        """Draw a value for a field. What is required is always there, the rest now and then."""
        for part in schema.get("allOf", ()):
            schema = schema | part
        reference = schema.get("$ref", "").rpartition("/")[2]
        if reference.endswith("Quantity"):
            return draw(st.sampled_from(["1", "100m", "1Gi", "0"]))
        if reference.endswith("IntOrString"):
            return draw(st.sampled_from([80, "http", 0]))
        if reference:
            schema = self._components.get(reference, {})
        match schema.get("type"):
            case "object" if "properties" in schema:
                return self._object(draw, schema, depth, is_union=reference.removeprefix(PREFIX) in UNIONS)
            case "object":
                inner = schema.get("additionalProperties", {"type": "string"})
                keys = draw(st.lists(st.sampled_from(["a", "cpu", "app.example.org/x"]), max_size=2, unique=True))
                return {key: self.value(draw, key, inner, depth + 1) for key in keys}
            case "array":
                if field in LISTS:
                    return draw(st.sampled_from(LISTS[field]))
                count = draw(st.integers(0, 2 if depth < DEPTH_MAX else 0))
                return [self.value(draw, field, schema["items"], depth + 1) for _ in range(count)]
            case "integer" | "number":
                return draw(st.sampled_from([0, 1, 30, 1000, -1]))
            case "boolean":
                return draw(st.booleans())
        return draw(st.sampled_from(WORDS.get(field, STRINGS)))

    def _object(self, draw: Any, schema: Object, depth: int, *, is_union: bool) -> Object:
        required = set(schema.get("required", ()))
        optional = sorted(set(schema["properties"]) - required)
        least, most = (1, 1) if is_union else (0, 2 if depth < DEPTH_MAX else 0)
        chosen: list[str] = []
        if optional:
            chosen = draw(st.lists(st.sampled_from(optional), min_size=least, max_size=most, unique=True))
        return {
            name: self.value(draw, name, schema["properties"][name], depth + 1) for name in [*sorted(required), *chosen]
        }


@pytest.fixture(scope="module")
def server(start_api_server: Callable[..., Any]) -> Iterator[tuple[Run, Client, Schema]]:
    """One loop and one connection for all examples."""
    endpoint = start_api_server("sync-any-pod").endpoint
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()

        async def begin() -> tuple[Client, Schema]:
            client = await stack.enter_async_context(Client(endpoint))
            await make(client, NAMESPACES, {"metadata": {"name": HOST}})
            await make(client, SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
            await make(client, SERVICEACCOUNTS, {"metadata": {"name": "vc-dev-workload", "namespace": HOST}})
            api = json.loads(await client.raw(Request("GET", "/openapi/v3/api/v1")))
            return client, Schema(api["components"]["schemas"])

        client, schema = runner.run(begin())
        yield runner.run, client, schema
        runner.run(stack.aclose())


class Kind(msgspec.Struct, frozen=True):
    """How objects of a kind are drawn: a small valid one, with one to three fields that may be anything."""

    mapping: Mapping
    spec: Object
    places: tuple[tuple[str, str], ...]
    """(schema, field of the spec whose first item it is; "" for the spec itself)."""
    least: int
    """So many must end on the host, and so many in an Event, or the test has seen nothing."""


KINDS = [
    Kind(POD, {"containers": [{"name": "main", "image": "demo"}]}, (("PodSpec", ""), ("Container", "containers")), 20),
    Kind(SERVICE, {"ports": [{"port": 80}]}, (("ServiceSpec", ""), ("ServicePort", "ports")), 5),
    Kind(
        PERSISTENTVOLUMECLAIM,
        {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        (("PersistentVolumeClaimSpec", ""),),
        5,
    ),
]


def drawn(draw: Any, kind: Kind, schema: Schema) -> Object:
    spec = copy.deepcopy(kind.spec)
    for _ in range(draw(st.integers(1, 3))):
        name_of_schema, field = draw(st.sampled_from(kind.places))
        place = spec[field][0] if field else spec
        fields = schema.fields(name_of_schema)
        others = sorted(set(fields) - {"containers", "name", "image", "ports"})
        often = OFTEN.get(name_of_schema, others)
        name = draw(st.sampled_from(often if draw(st.booleans()) else others))
        place[name] = schema.value(draw, name, fields[name])
    names = ["web", "a-x-b"] if kind.mapping is SERVICE else ["web", "web.v1", "a-x-b"]
    metadata = {"name": draw(st.sampled_from(names)), "namespace": "default"}
    return {"apiVersion": "v1", "kind": kind.mapping.kind, "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.mapping.kind)
def test_everything_accepted_ends_on_the_host_or_in_an_event(server: tuple[Run, Client, Schema], kind: Kind) -> None:
    run, client, schema = server
    results: Counter[str] = Counter()

    async def tried(body: Object) -> Object | str:
        """Return the object as a server would store it, or why it would not."""
        try:
            return dict(await client.call(requests.create(kind.mapping.resource, body, dry_run=True)))
        except ApiError as error:
            return error.message

    @settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        virtual = run(tried(drawn(data.draw, kind, schema)))
        if isinstance(virtual, str):
            results["not accepted"] += 1
            return
        result, body = outcome(kind.mapping, virtual)
        results[result] += 1
        if body is not None:
            there = run(tried(with_address_to_come(body)))
            assert isinstance(there, dict), there

    check()
    print(results)
    assert results["host"] > kind.least and results["event"] > kind.least, results


def with_address_to_come(body: Object) -> Object:
    """Leave out the ClusterIP that a dry run shows; it is not one that could be taken."""
    if body["spec"].get("clusterIP") != NO_ADDRESS:
        return body
    return body | {
        "spec": {key: value for key, value in body["spec"].items() if key not in ("clusterIP", "clusterIPs")}
    }


def outcome(mapping: Mapping, virtual: Object) -> tuple[str, Object | None]:
    """Return what becomes of an object: on the host (the host object), or told why not.

    Everything the shell does with it must work too.
    """
    about = Settings(name="dev", host_namespace=HOST, api_service_ip="10.0.0.1")
    context = Context(settings=about, now=datetime(2026, 1, 1, tzinfo=UTC), dns_ip="10.0.0.10")
    if mapping is POD:
        references(virtual)
        token_sources(virtual)
    steps = plan(mapping, virtual, None, Names("dev", HOST), context)
    made = [step for step in steps if step.side == "host" and isinstance(step.action, Create)]
    told = [step for step in steps if isinstance(step.action, Event)]
    if virtual["spec"].get("schedulingGates"):
        assert not steps
        return "gated", None
    assert bool(made) != bool(told), steps
    return ("host", made[0].action.body) if made else ("event", None)
