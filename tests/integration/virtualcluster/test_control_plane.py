"""A virtual control plane comes up with the chart's flags and the chart's Role, and is what the design says.

One virtual cluster for all stories: its start is most of the time.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from integration.virtualcluster.bed import BUSY_GOGC, IDLE_GOGC, Bed
from loft.core.resource import (
    CLUSTERROLEBINDINGS,
    CONFIGMAPS,
    DEPLOYMENTS,
    ENDPOINTSLICES,
    MUTATINGWEBHOOKS,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
)
from loft.hypervisor import certs
from loft.hypervisor.certificates import component_files
from loft.hypervisor.core.objects import MANAGED_BY, RESERVATION
from loft.kube import request as requests
from loft.kube.client import Client
from loft.kube.config import Endpoint
from loft.kube.errors import AlreadyExists, ApiError, Forbidden, NotFound, Unauthorized
from loft.kube.request import Request

pytestmark = pytest.mark.integration

Object = dict[str, Any]
Look = Callable[[], Awaitable[Any]]


async def eventually(look: Look, seconds: float = 15.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (answer := await look()):
            await asyncio.sleep(0.05)
        return answer


def service(name: str, **spec: Any) -> Object:
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default"}, "spec": spec}
    body["metadata"] |= {"generateName": name} if name.endswith("-") else {"name": name}
    return body


PORT = [{"port": 80, "targetPort": 8080}]


def test_a_virtual_cluster(tell: Callable[..., None]) -> None:
    async def story(bed: Bed) -> None:
        async with Client(await bed.admin()) as inside, Client(bed.host_server.endpoint) as host:
            for part in (
                it_is_a_cluster,
                its_api_service_is_the_hosts,
                services_have_the_hosts_addresses,
                what_was_reserved_follows_its_service,
                refused_addresses_leave_nothing_behind,
                node_ports_are_the_hosts,
                an_alias_can_become_a_service,
                an_alias_can_become_a_service_at_once,
                what_the_platform_needs_is_put_back,
                access_changes_without_a_restart,
                the_gateway_may_only_impersonate,
                strangers_are_nobody,
                the_api_server_cannot_be_sent_elsewhere,
                certificates_are_renewed_in_use,
                a_busy_api_server_collects_seldom_and_an_idle_one_stays_small,
            ):
                print(part.__name__, datetime.now(UTC))
                await part(bed, inside, host)

    tell(story)


async def it_is_a_cluster(bed: Bed, inside: Client, host: Client) -> None:
    names = {item["metadata"]["name"] for item in (await inside.list(NAMESPACES)).items}
    assert {"default", "kube-system", "kube-public", "kube-node-lease"} <= names
    await eventually(lambda: inside.find(DEPLOYMENTS, "coredns", "kube-system"))
    pods = await eventually(lambda: pods_of(inside))
    assert pods[0]["metadata"]["labels"]["k8s-app"] == "kube-dns"
    host_pods = await eventually(lambda: pods_of(host, bed.name))
    assert host_pods[0]["metadata"]["name"].endswith(f"-x-kube-system-x-{bed.name}")


async def pods_of(client: Client, namespace: str = "kube-system") -> list[Object]:
    return (await client.list(PODS, namespace)).items


async def its_api_service_is_the_hosts(bed: Bed, inside: Client, host: Client) -> None:
    wanted = (await host.get(SERVICES, bed.name, bed.name))["spec"]["clusterIP"]
    assert (await inside.get(SERVICES, "kubernetes", "default"))["spec"]["clusterIP"] == wanted
    await inside.delete(SERVICES, "kubernetes", "default")

    async def healed() -> bool:
        found = await inside.find(SERVICES, "kubernetes", "default")
        return found is not None and found["spec"]["clusterIP"] == wanted

    await eventually(healed)
    assert await inside.find(ENDPOINTSLICES, "kubernetes", "default")


async def services_have_the_hosts_addresses(bed: Bed, inside: Client, host: Client) -> None:
    made = await inside.create(SERVICES, service("web", ports=PORT, selector={"app": "web"}))
    generated = await inside.create(SERVICES, service("gen-", ports=PORT))
    adopted = await eventually(lambda: adopted_with(host, bed, generated["spec"]["clusterIP"]))
    assert adopted["metadata"]["annotations"]["vcluster.loft.sh/object-uid"] == generated["metadata"]["uid"]
    await a_reservation_that_says_all_is_written_once(bed, host, made)
    # Deleted and made again at once: the old host Service may still be there.
    await inside.delete(SERVICES, "web", "default")
    again = await inside.create(SERVICES, service("web", ports=PORT, clusterIP=made["spec"]["clusterIP"]))
    assert again["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    headless = await inside.create(SERVICES, service("headless", ports=PORT, clusterIP="None"))
    assert headless["spec"]["clusterIP"] == "None"


async def a_reservation_that_says_all_is_written_once(bed: Bed, host: Client, made: Object) -> None:
    found = await host.get(SERVICES, f"web-x-default-x-{bed.name}", bed.name)
    assert found["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    assert found["spec"]["selector"]["label.vcluster.loft.sh/app"] == "web"
    assert RESERVATION in found["metadata"]["annotations"]


async def what_was_reserved_follows_its_service(bed: Bed, inside: Client, host: Client) -> None:
    """Through changes, as an alias, and away; whether the host Service tells the uid by then or not."""
    name = f"turns-x-default-x-{bed.name}"
    made = await inside.create(SERVICES, service("turns", ports=PORT, selector={"app": "a"}))
    await inside.patch(SERVICES, "turns", {"spec": {"selector": {"app": "b"}}}, "default")

    async def has(field: str, value: Any) -> Object | None:
        found = await host.find(SERVICES, name, bed.name)
        return found if found and found["spec"].get(field) == value else None

    await eventually(lambda: selects(host, bed, name, "b"))
    await inside.delete(SERVICES, "turns", "default")
    await eventually(lambda: is_gone(host, bed, name))
    made = await inside.create(SERVICES, service("turns", ports=PORT, selector={"app": "a"}))
    await inside.patch(SERVICES, "turns", {"spec": {"type": "ExternalName", "externalName": "example.com"}}, "default")
    alias = await eventually(lambda: has("externalName", "example.com"))
    assert "clusterIP" not in alias["spec"]
    assert alias["metadata"]["annotations"]["vcluster.loft.sh/object-uid"] == made["metadata"]["uid"]
    await inside.delete(SERVICES, "turns", "default")
    await eventually(lambda: is_gone(host, bed, name))
    await inside.create(SERVICES, service("turns", ports=PORT, selector={"app": "a"}))
    await inside.delete(SERVICES, "turns", "default")
    await eventually(lambda: is_gone(host, bed, name))


async def selects(host: Client, bed: Bed, name: str, app: str) -> bool:
    found = await host.find(SERVICES, name, bed.name)
    return bool(found and found["spec"].get("selector", {}).get("label.vcluster.loft.sh/app") == app)


async def is_gone(host: Client, bed: Bed, name: str) -> bool:
    return await host.find(SERVICES, name, bed.name) is None


async def adopted_with(host: Client, bed: Bed, address: str) -> Object | None:
    listed = await host.list(SERVICES, bed.name, label_selector=f"{MANAGED_BY}={bed.name}")
    for item in listed.items:
        marks = item["metadata"].get("annotations") or {}
        if item["spec"].get("clusterIP") == address and "vcluster.loft.sh/object-name" in marks:
            return item
    return None


async def reserved(host: Client, bed: Bed, inside: Client) -> list[str]:
    """Return the host Services that were reserved and that no Service inside has."""
    listed = await host.list(SERVICES, bed.name, label_selector=f"{MANAGED_BY}={bed.name}")
    marked = [item for item in listed.items if RESERVATION in (item["metadata"].get("annotations") or {})]
    used = {item["spec"].get("clusterIP") for item in (await inside.list(SERVICES)).items}
    return [item["metadata"]["name"] for item in marked if item["spec"]["clusterIP"] not in used]


async def refused_addresses_leave_nothing_behind(bed: Bed, inside: Client, host: Client) -> None:
    await eventually(lambda: is_empty(reserved(host, bed, inside)))
    with pytest.raises(ApiError, match="host cluster does not give this Service an address") as refused:
        await inside.create(SERVICES, service("taken", ports=PORT, clusterIP="10.96.0.1"))
    assert bed.name not in refused.value.message.replace(f"-x-{bed.name}", "")
    await inside.call(requests.create(SERVICES, service("dry", ports=PORT), dry_run=True))
    with pytest.raises(AlreadyExists):
        await inside.create(SERVICES, service("headless", ports=PORT))
    assert await reserved(host, bed, inside) == []


async def is_empty(found: Awaitable[list[str]]) -> bool:
    return not await found


async def node_ports_are_the_hosts(bed: Bed, inside: Client, host: Client) -> None:
    made = await inside.create(SERVICES, service("np", type="NodePort", ports=PORT))
    adopted = await eventually(lambda: adopted_with(host, bed, made["spec"]["clusterIP"]))
    assert adopted["spec"]["ports"][0]["nodePort"] == made["spec"]["ports"][0]["nodePort"]
    ports = [*made["spec"]["ports"], {"name": "more", "port": 81}]
    ports[0]["name"] = "first"
    changed = await inside.patch(SERVICES, "np", {"spec": {"ports": ports}}, "default")

    async def same() -> bool:
        found = await adopted_with(host, bed, made["spec"]["clusterIP"])
        assert found is not None
        return node_ports(found) == node_ports(changed)

    await eventually(same)


def node_ports(item: Object) -> list[tuple[int, int]]:
    return sorted((port["port"], port["nodePort"]) for port in item["spec"]["ports"])


async def an_alias_can_become_a_service(bed: Bed, inside: Client, host: Client) -> None:
    await inside.create(SERVICES, service("alias", type="ExternalName", externalName="example.com"))

    async def on_host() -> bool:
        listed = await host.list(SERVICES, bed.name, label_selector=f"{MANAGED_BY}={bed.name}")
        return any(item["spec"].get("externalName") == "example.com" for item in listed.items)

    await eventually(on_host)
    await asyncio.sleep(0.2)
    change = {"spec": {"type": "ClusterIP", "externalName": None, "ports": PORT}}
    changed = await inside.patch(SERVICES, "alias", change, "default")
    adopted = await eventually(lambda: adopted_with(host, bed, changed["spec"]["clusterIP"]))
    assert adopted["spec"]["type"] == "ClusterIP"


async def an_alias_can_become_a_service_at_once(bed: Bed, inside: Client, host: Client) -> None:
    """The host has, or is just getting, an alias when the address is reserved: that one gives way."""
    for number in range(5):
        name = f"hasty{number}"
        await inside.create(SERVICES, service(name, type="ExternalName", externalName="example.com"))
        change = {"spec": {"type": "ClusterIP", "externalName": None, "selector": {"a": "b"}, "ports": PORT}}
        changed = await inside.patch(SERVICES, name, change, "default")

        async def selects(address: str = changed["spec"]["clusterIP"]) -> bool:
            found = await adopted_with(host, bed, address)
            return bool(found and found["spec"].get("selector"))

        await eventually(selects)


async def what_the_platform_needs_is_put_back(bed: Bed, inside: Client, host: Client) -> None:
    webhook = await inside.get(MUTATINGWEBHOOKS, "loft-hypervisor")
    await inside.delete(MUTATINGWEBHOOKS, "loft-hypervisor")
    await eventually(lambda: inside.find(MUTATINGWEBHOOKS, "loft-hypervisor"))
    change = {"webhooks": [webhook["webhooks"][0] | {"namespaceSelector": {"matchLabels": {"a": "b"}}}]}
    await inside.patch(MUTATINGWEBHOOKS, "loft-hypervisor", change)

    async def widened() -> bool:
        found = await inside.get(MUTATINGWEBHOOKS, "loft-hypervisor")
        return not found["webhooks"][0].get("namespaceSelector")

    await eventually(widened)
    await inside.patch(CLUSTERROLEBINDINGS, "loft:gateway", {"metadata": {"labels": None}, "subjects": []})

    async def bound() -> bool:
        return bool((await inside.get(CLUSTERROLEBINDINGS, "loft:gateway")).get("subjects"))

    await eventually(bound)


async def access_changes_without_a_restart(bed: Bed, inside: Client, host: Client) -> None:
    access = {"defaultClusterRole": "view", "rules": [{"users": ["ann"], "clusterRole": "edit"}]}
    await host.patch(CONFIGMAPS, f"vc-{bed.name}-config", {"data": {"access.json": json.dumps(access)}}, bed.name)

    async def viewing() -> bool:
        found = await inside.find(CLUSTERROLEBINDINGS, "loft:virtualcluster:default")
        return found is not None and found["roleRef"]["name"] == "view"

    await eventually(viewing)
    rule = await eventually(lambda: inside.find(CLUSTERROLEBINDINGS, "loft:virtualcluster:rule-0"))
    assert [subject["name"] for subject in rule["subjects"]] == ["loft:user:ann"]
    await host.patch(CONFIGMAPS, f"vc-{bed.name}-config", {"data": {"access.json": "{}"}}, bed.name)

    async def gone() -> bool:
        return await inside.find(CLUSTERROLEBINDINGS, "loft:virtualcluster:rule-0") is None

    await eventually(gone)
    await eventually(lambda: inside.find(CLUSTERROLEBINDINGS, "loft:virtualcluster:default"))


async def the_gateway_may_only_impersonate(bed: Bed, inside: Client, host: Client) -> None:
    data = certs.decoded(await host.get(SECRETS, f"vc-{bed.name}-gateway", bed.name))
    plain = Endpoint(
        server=bed.places.api_server, ca_data=data["ca.crt"], client_cert=data["tls.crt"], client_key=data["tls.key"]
    )
    async with Client(plain) as gateway:
        with pytest.raises(Forbidden):
            await gateway.list(NAMESPACES)
    for groups, allowed in ((("loft:virtualcluster:access",), True), ((), False)):
        acting = Endpoint(
            server=plain.server,
            ca_data=plain.ca_data,
            client_cert=plain.client_cert,
            client_key=plain.client_key,
            impersonate_user="loft:user:ann",
            impersonate_groups=("loft:user:ann", "system:authenticated", *groups),
        )
        async with Client(acting) as ann:
            if allowed:
                assert (await ann.list(SECRETS)).items is not None
            else:
                with pytest.raises(Forbidden):
                    await ann.list(SECRETS)


async def strangers_are_nobody(bed: Bed, inside: Client, host: Client) -> None:
    ca = inside.endpoint.ca_data
    async with Client(Endpoint(server=bed.places.api_server, ca_data=ca)) as nobody:
        for path in ("/api/v1/namespaces", "/version", "/openapi/v2", "/metrics"):
            with pytest.raises(Unauthorized):
                await nobody.raw(Request("GET", path))
        assert await nobody.raw(Request("GET", "/livez")) == b"ok"


async def the_api_server_cannot_be_sent_elsewhere(bed: Bed, inside: Client, host: Client) -> None:
    before = bed.hypervisor.connections["refused"]
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "mine"}}
    await inside.create(NODES, node)
    status = {"status": {"addresses": [{"type": "InternalIP", "address": "198.51.100.7"}]}}
    await inside.patch(NODES, "mine", status, subresource="status")
    with pytest.raises(ApiError):
        await inside.raw(Request("GET", "/api/v1/nodes/mine:80/proxy/secrets"))
    hook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "away"},
        "webhooks": [
            {
                "name": "away.example.com",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": f"https://127.0.0.1:{bed.host_server.port}/api"},
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ],
                "failurePolicy": "Fail",
                "sideEffects": "None",
            }
        ],
    }
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    await inside.call(Request("POST", path, body=json.dumps(hook).encode()))

    async def refused() -> bool:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"}}
        try:
            await inside.call(requests.create(CONFIGMAPS, body, dry_run=True))
        except ApiError as error:
            return "403" in error.message or "cannot be reached" in error.message
        return False

    await eventually(refused)
    await inside.raw(Request("DELETE", f"{path}/away"))
    assert bed.hypervisor.connections["refused"] >= before + 2
    with pytest.raises(NotFound):
        await inside.raw(Request("GET", "/api/v1/namespaces/default/pods/none/log"))


async def certificates_are_renewed_in_use(bed: Bed, inside: Client, host: Client) -> None:
    """New files are picked up by the running API server, and everything goes on working."""
    secret = await host.get(SECRETS, f"vc-{bed.name}-certs", bed.name)
    facts = await certs.host_facts(host, bed.config)
    pod = bed.hypervisor.pod
    files = component_files(certs.decoded(secret), certs.place(bed.config, pod, facts), datetime.now(UTC))
    certs.write_files(bed.pki, files)

    async def renewed() -> bool:
        pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", bed.port))
        return pem.strip().encode() == files["kube-apiserver/server.crt"].strip()

    await eventually(renewed, 90)
    await inside.create(SERVICES, service("after", ports=PORT))


async def a_busy_api_server_collects_seldom_and_an_idle_one_stays_small(bed: Bed, inside: Client, host: Client) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "big-", "namespace": "default"}}
    body |= {"data": {f"key{number}": "x" * 1000 for number in range(200)}}

    async def work() -> None:
        while True:
            await inside.call(requests.create(CONFIGMAPS, body, dry_run=True))

    async def collects_at(percent: int) -> bool:
        # Its figures are so many that asking for them all the time is work enough.
        await asyncio.sleep(2)
        metrics = (await inside.raw(Request("GET", "/metrics"))).decode()
        return f"go_gc_gogc_percent {percent}\n" in metrics

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(work()) for _ in range(4)]
        await eventually(lambda: collects_at(BUSY_GOGC), 30)
        for worker in workers:
            worker.cancel()
    await eventually(lambda: collects_at(IDLE_GOGC), 30)
