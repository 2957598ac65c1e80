"""Through the gateways to a real API server: who it sees, what it lets them do, watches, upgrades, kubectl."""

import asyncio
import json
import subprocess
import uuid

import pytest

from integration.api_server import binary
from integration.gateway.bed import KEY, READ_ONLY_KEY
from loft.core.resource import CONFIGMAPS, NAMESPACES, PODS, SELFSUBJECTREVIEWS
from loft.kube.client import Client
from loft.kube.config import Endpoint, to_kubeconfig
from loft.kube.errors import Forbidden, NotFound, Unauthorized

pytestmark = pytest.mark.integration

SPACE = "gateway-test"
GROUPS = ["loft:user:ann", "loft:team:dev", "system:authenticated"]


def endpoint(side, *, virtual=False, key=KEY):
    path = f"{side.virtual}/vc" if virtual else side.cluster
    server = f"https://127.0.0.1:{side.running.settings.tls_port}{path}"
    return Endpoint(server=server, ca_data=side.bed.certificates.ca.cert, token=key)


def with_client(side, job, **options):
    async def run():
        async with Client(endpoint(side, **options)) as client:
            async with asyncio.timeout(20):
                return await job(client)

    return asyncio.run(run())


def refused(side, method, subresource, protocol="SPDY/3.1", key=KEY):
    """Ask for an upgrade on a pod that is not there; return status and message of the refusal."""
    path = f"/api/v1/namespaces/{SPACE}/pods/nothing/{subresource}?command=sh"
    answer = side.send("Connection: Upgrade", f"Upgrade: {protocol}", method=method, path=path, key=key)
    return answer.code, json.loads(answer.body)["message"]


@pytest.mark.parametrize("virtual", [False, True], ids=["cluster", "virtual cluster"])
def test_the_api_server_sees_the_user_and_their_groups(real_side, virtual):
    async def who(client):
        return (await client.create(SELFSUBJECTREVIEWS, {}))["status"]["userInfo"]

    info = with_client(real_side, who, virtual=virtual)
    assert info["username"] == "loft:user:ann"
    assert sorted(info["groups"]) == sorted([*GROUPS, *(["loft:virtualcluster:access"] if virtual else [])])


def test_rbac_of_the_cluster_decides(real_side):
    async def forbidden(client):
        with pytest.raises(Forbidden, match='User "loft:user:ann" cannot list resource "pods"'):
            await client.list(PODS, SPACE)

    with_client(real_side, forbidden)


def test_an_unknown_key_is_unauthorized_for_clients(real_side):
    async def unauthorized(client):
        with pytest.raises(Unauthorized, match="access key is not known"):
            await client.list(CONFIGMAPS, SPACE)

    with_client(real_side, unauthorized, key="x" * 64)


def test_create_get_list_delete(real_side):
    name = f"map-{uuid.uuid4()}"

    async def work(client):
        made = await client.create(CONFIGMAPS, {"metadata": {"name": name, "namespace": SPACE}, "data": {"a": "b"}})
        assert (await client.get(CONFIGMAPS, name, SPACE))["metadata"]["uid"] == made["metadata"]["uid"]
        assert name in [item["metadata"]["name"] for item in (await client.list(CONFIGMAPS, SPACE)).items]
        await client.delete(CONFIGMAPS, name, SPACE)
        with pytest.raises(NotFound):
            await client.get(CONFIGMAPS, name, SPACE)

    with_client(real_side, work)


def test_a_watch_shows_what_is_made_through_another_connection(real_side):
    name = f"map-{uuid.uuid4()}"

    async def watch(client):
        version = (await client.list(CONFIGMAPS, SPACE)).resource_version

        async def make():
            await asyncio.sleep(1)
            async with Client(endpoint(real_side)) as other:
                await other.create(CONFIGMAPS, {"metadata": {"name": name, "namespace": SPACE}})

        making = asyncio.create_task(make())
        events = client.watch(CONFIGMAPS, SPACE, resource_version=version)
        async for event in events:
            if event.object["metadata"].get("name") == name:
                break
        await events.aclose()
        await making
        return event.type

    assert with_client(real_side, watch) == "ADDED"


def test_case_48_exec_arrives_as_create_pods_exec(real_side):
    """There is no kubelet: what the API server answers tells the verb it has authorised."""
    assert refused(real_side, "POST", "exec") == (404, 'pods "nothing" not found')
    code, message = refused(real_side, "POST", "attach")
    assert code == 403
    assert 'User "loft:user:ann" cannot create resource "pods/attach"' in message


def test_case_36_a_reading_key_cannot_exec(real_side):
    code, message = refused(real_side, "GET", "exec", protocol="websocket", key=READ_ONLY_KEY)
    assert code == 403
    assert "access key read is limited" in message


def test_case_35_the_gateways_own_identities_may_only_impersonate(real_bed, api_server):
    behind = real_bed.behind
    token = Endpoint(server=api_server.url, ca_data=behind.ca, token=behind.token)
    certificate = Endpoint(
        server=api_server.url, ca_data=behind.ca, client_cert=behind.gateway.cert, client_key=behind.gateway.key
    )

    async def alone(client):
        for resource in (NAMESPACES, PODS, CONFIGMAPS):
            with pytest.raises(Forbidden):
                await client.list(resource)

    async def run():
        for own in (token, certificate):
            async with Client(own) as client:
                await alone(client)

    asyncio.run(run())


def kubectl(side, tmp_path, *arguments, **options):
    file = tmp_path / "config"
    file.write_bytes(to_kubeconfig(endpoint(side, **options), "test"))
    command = ["kubectl", f"--kubeconfig={file}", f"--cache-dir={tmp_path / 'cache'}", *arguments]
    return subprocess.run(command, executable=binary(), capture_output=True, text=True, timeout=60)


def test_kubectl_works_and_prints_refusals_well(real_side, tmp_path):
    who = kubectl(real_side, tmp_path, "auth", "whoami", "-o", "json")
    assert who.returncode == 0, who.stderr
    assert json.loads(who.stdout)["status"]["userInfo"]["username"] == "loft:user:ann"

    name = f"map-{uuid.uuid4()}"
    made = kubectl(real_side, tmp_path, "-n", SPACE, "create", "configmap", name, "--from-literal=a=b")
    assert made.stdout == f"configmap/{name} created\n", made.stderr
    assert name in kubectl(real_side, tmp_path, "-n", SPACE, "get", "configmaps").stdout

    forged = kubectl(real_side, tmp_path, "get", "ns", "--as", "system:admin")
    assert "header Impersonate-User is not accepted" in forged.stderr


@pytest.mark.parametrize(
    "cluster,key,message",
    [
        ("west", KEY, "cluster west is not known; see `loft list clusters`"),
        ("dead", KEY, "cannot reach dead: "),
        ("new", KEY, "cluster new has no connection: its agent has not called yet"),
        ("east", "x" * 64, "the access key is not known here (wrong, or deleted); log in again with `loft login`"),
    ],
)
def test_kubectl_prints_what_is_wrong_and_what_to_do(real_bed, tmp_path, cluster, key, message):
    side = real_bed.side("centre")
    side.cluster = f"/kubernetes/cluster/{cluster}"
    answer = kubectl(side, tmp_path, "get", "ns", key=key)
    assert answer.returncode != 0
    assert f"Warning: {message}" in answer.stderr
