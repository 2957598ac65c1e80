"""The client against a real API server: what it sends is understood, what comes back is mapped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from integration.api_server import ApiServer, free_ports
from loft.core.resource import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    CONFIGMAPS,
    NAMESPACES,
    PODS,
    SELFSUBJECTREVIEWS,
    SERVICEACCOUNTS,
    SERVICES,
    Resource,
)
from loft.kube import request as requests
from loft.kube.client import Client
from loft.kube.config import Endpoint, ExecPlugin
from loft.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Unauthorized,
    Unavailable,
)
from loft.kube.request import Request

# Servers are killed here, also in the middle of a TLS handshake: asyncio then leaves the socket to the collector, and
# which test is running when it is found is chance.
pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def with_client(endpoint: Endpoint, test: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(60), Client(endpoint) as client:
            await test(client)

    asyncio.run(run())


async def namespace(client: Client, name: str) -> str:
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    return name


def configmap(namespace: str, name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "data": data}


async def who(client: Client) -> dict[str, Any]:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    return dict((await client.create(SELFSUBJECTREVIEWS, body))["status"]["userInfo"])


def test_list_pages_are_one_consistent_collection(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        space = await namespace(client, "paging")
        for index in range(12):
            await client.create(CONFIGMAPS, configmap(space, f"map-{index:02}"))
        sizes, versions = [], set()
        async for page in client.pages(CONFIGMAPS, space, limit=5):
            sizes.append(len(page.items or ()))
            versions.add(page.metadata.resource_version)
            if len(sizes) == 1:
                # Written between pages: not part of the collection as it was when the list began.
                await client.create(CONFIGMAPS, configmap(space, "map-99"))
        assert sizes == [5, 5, 2]
        assert len(versions) == 1
        listed = await client.list(CONFIGMAPS, space)
        assert len(listed.items) == 13
        assert {(item["apiVersion"], item["kind"]) for item in listed.items} == {("v1", "ConfigMap")}

    with_client(api_server.endpoint, test)


def test_selectors_are_sent(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        space = await namespace(client, "selecting")
        for name, colour in (("one", "red"), ("two", "blue")):
            body = configmap(space, name)
            body["metadata"]["labels"] = {"colour": colour}
            await client.create(CONFIGMAPS, body)
        by_label = await client.list(CONFIGMAPS, space, label_selector="colour in (red)")
        by_field = await client.list(CONFIGMAPS, space, field_selector="metadata.name=two")
        assert [item["metadata"]["name"] for item in by_label.items] == ["one"]
        assert [item["metadata"]["name"] for item in by_field.items] == ["two"]

    with_client(api_server.endpoint, test)


def test_names_with_reserved_characters_reach_their_own_object(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        name = "test:odd name?x=1#y"
        await client.create(CLUSTERROLES, {"metadata": {"name": name}, "rules": []})
        assert (await client.get(CLUSTERROLES, name))["metadata"]["name"] == name
        await client.delete(CLUSTERROLES, name)
        assert await client.find(CLUSTERROLES, name) is None

    with_client(api_server.endpoint, test)


def test_watch_tells_changes_in_order_from_a_version_on(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        space = await namespace(client, "watching")
        await client.create(CONFIGMAPS, configmap(space, "before"))
        version = (await client.list(CONFIGMAPS, space)).resource_version
        await client.create(CONFIGMAPS, configmap(space, "one"))
        await client.apply(CONFIGMAPS, configmap(space, "one", key="value"), manager="test")
        await client.delete(CONFIGMAPS, "one", space)
        watch = client.watch(CONFIGMAPS, space, resource_version=version)
        seen = []
        async for event in watch:
            seen.append((event.type, event.object["metadata"]["name"]))
            if len(seen) == 3:
                break
        await watch.aclose()
        assert seen == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]
        assert int(watch.resource_version) > int(version)

    with_client(api_server.endpoint, test)


def test_watch_goes_on_when_the_server_ends_it(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loft.kube.transport.WATCH_S", 2)

    async def test(client: Client) -> None:
        space = await namespace(client, "resuming")
        version = (await client.list(CONFIGMAPS, space)).resource_version
        watch = client.watch(CONFIGMAPS, space, resource_version=version)
        connections = []
        watch.on_connected = lambda: connections.append(watch.resource_version)
        names = []

        async def write() -> None:
            for index in range(3):
                await asyncio.sleep(1.7)
                await client.create(CONFIGMAPS, configmap(space, f"map-{index}"))

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            async for event in watch:
                names.append((event.type, event.object["metadata"]["name"]))
                if len(names) == 3:
                    break
        await watch.aclose()
        # Each connection goes on from what was seen, so nothing is told twice and nothing is missing.
        assert names == [("ADDED", f"map-{index}") for index in range(3)]
        assert len(connections) >= 2

    with_client(api_server.endpoint, test)


def test_a_version_that_is_compacted_away_is_gone(start_api_server: Callable[..., ApiServer]) -> None:
    server = start_api_server("compacted", extra_args=["--watch-cache=false"])

    async def test(client: Client) -> None:
        space = await namespace(client, "compacted")
        version = (await client.list(CONFIGMAPS, space)).resource_version
        for index in range(6):
            await client.create(CONFIGMAPS, configmap(space, f"map-{index}"))
        pages = client.pages(CONFIGMAPS, space, limit=2)
        await anext(pages)
        await client.create(CONFIGMAPS, configmap(space, "map-later"))
        server.compact()
        with pytest.raises(Gone):
            await anext(client.watch(CONFIGMAPS, space, resource_version=version))
        with pytest.raises(Gone):
            await anext(pages)
        assert len((await client.list(CONFIGMAPS, space)).items) == 7

    with_client(server.endpoint, test)
    server.stop()


def test_apply_conflicts_with_a_foreign_owner_unless_forced(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        space = await namespace(client, "applying")
        await client.apply(CONFIGMAPS, configmap(space, "map", key="one"), manager="first")
        with pytest.raises(Conflict) as caught:
            await client.apply(CONFIGMAPS, configmap(space, "map", key="two"), manager="second", force=False)
        assert ".data.key" in json.dumps(caught.value.details)
        stored = await client.apply(CONFIGMAPS, configmap(space, "map", key="two"), manager="second")
        assert stored["data"] == {"key": "two"}

    with_client(api_server.endpoint, test)


def test_a_uid_in_an_applied_body_is_a_precondition(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        space = await namespace(client, "applying-uid")
        body = configmap(space, "map", key="value")
        body["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
        with pytest.raises(Conflict):
            await client.apply(CONFIGMAPS, body, manager="test")
        assert await client.find(CONFIGMAPS, "map", space) is None
        await client.create(CONFIGMAPS, configmap(space, "map"))
        with pytest.raises(Conflict):
            await client.apply(CONFIGMAPS, body, manager="test")

    with_client(api_server.endpoint, test)


def test_delete_with_the_uid_of_an_earlier_object_does_nothing(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        space = await namespace(client, "deleting")
        first = await client.create(CONFIGMAPS, configmap(space, "map"))
        await client.delete(CONFIGMAPS, "map", space, uid=first["metadata"]["uid"])
        second = await client.create(CONFIGMAPS, configmap(space, "map"))
        with pytest.raises(Conflict):
            await client.delete(CONFIGMAPS, "map", space, uid=first["metadata"]["uid"])
        assert (await client.get(CONFIGMAPS, "map", space))["metadata"]["uid"] == second["metadata"]["uid"]

    with_client(api_server.endpoint, test)


@pytest.mark.parametrize(
    ("resource", "body", "error", "reason"),
    [
        (CONFIGMAPS, {"metadata": {"namespace": "default", "name": "Not_A_Name"}}, Invalid, "Invalid"),
        (CONFIGMAPS, {"metadata": {"namespace": "default", "name": "a"}, "data": {"k": 1}}, Invalid, "BadRequest"),
        (NAMESPACES, {"metadata": {"name": "default"}}, AlreadyExists, "AlreadyExists"),
        (CONFIGMAPS, {"metadata": {"namespace": "nowhere", "name": "a"}}, NotFound, "NotFound"),
        (Resource("no.such.group", "v1", "things", "Thing"), {"metadata": {"namespace": "default"}}, NotFound, ""),
    ],
)
def test_refusals_of_the_server(
    api_server: ApiServer, resource: Resource, body: dict[str, Any], error: type[ApiError], reason: str
) -> None:
    async def test(client: Client) -> None:
        with pytest.raises(error) as caught:
            await client.create(resource, body)
        assert type(caught.value) is error
        assert reason in caught.value.reason
        assert caught.value.message

    with_client(api_server.endpoint, test)


def test_update_of_an_outdated_object_conflicts(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        space = await namespace(client, "updating")
        old = await client.create(CONFIGMAPS, configmap(space, "map"))
        await client.update(CONFIGMAPS, old | {"data": {"key": "new"}})
        with pytest.raises(Conflict):
            await client.update(CONFIGMAPS, old | {"data": {"key": "newer"}})

    with_client(api_server.endpoint, test)


def test_a_user_without_rights_is_forbidden(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        assert (await who(client))["username"] == "nobody-special"
        with pytest.raises(Forbidden) as caught:
            await client.list(CONFIGMAPS, "default")
        assert "nobody-special" in caught.value.message

    with_client(api_server.endpoint_for("nobody-special"), test)


def test_a_wrong_token_is_unauthorized(api_server: ApiServer) -> None:
    endpoint = Endpoint(server=api_server.url, ca_data=api_server.authority.cert, token="wrong")

    async def test(client: Client) -> None:
        with pytest.raises(Unauthorized):
            await client.list(CONFIGMAPS, "default")

    with_client(endpoint, test)


def test_impersonation_of_user_groups_and_extra(api_server: ApiServer) -> None:
    endpoint = msgspec.structs.replace(
        api_server.endpoint,
        impersonate_user="loft:user:anna",
        impersonate_uid="uid-1",
        impersonate_groups=("loft:user:anna", "loft:team:sales", "system:authenticated"),
        impersonate_extra=(("loft.sh/key", "laptop"), ("loft.sh/key", "second")),
    )

    async def test(client: Client) -> None:
        user = await who(client)
        assert user["username"] == "loft:user:anna"
        assert user["uid"] == "uid-1"
        assert user["groups"] == ["loft:user:anna", "loft:team:sales", "system:authenticated"]
        assert user["extra"]["loft.sh/key"] == ["laptop", "second"]

    with_client(endpoint, test)


def service_account_token(api_server: ApiServer, name: str) -> str:
    async def make() -> str:
        async with Client(api_server.endpoint) as client:
            account = {"metadata": {"namespace": "default", "name": name}}
            with contextlib.suppress(AlreadyExists):
                await client.create(SERVICEACCOUNTS, account)
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", **account, "spec": {}}
            return str((await client.create(SERVICEACCOUNTS, body, subresource="token"))["status"]["token"])

    return asyncio.run(make())


@pytest.mark.parametrize("version", ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"])
def test_exec_plugin_gives_a_token(api_server: ApiServer, tmp_path: Any, version: str) -> None:
    token = service_account_token(api_server, "by-plugin")
    count = tmp_path / "count"
    script = tmp_path / "plugin.py"
    script.write_text(
        "import json, os, sys\n"
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        f"open({str(count)!r}, 'a').write('x')\n"
        "assert info['spec']['interactive'] is False and info['spec']['cluster']['server'].startswith('https://')\n"
        "print(json.dumps({'apiVersion': info['apiVersion'], 'kind': 'ExecCredential',"
        " 'status': {'token': os.environ['THE_TOKEN'], 'expirationTimestamp': '2999-01-01T00:00:00Z'}}))\n"
    )
    plugin = ExecPlugin(
        command=sys.executable,
        args=(str(script),),
        env=(("THE_TOKEN", token),),
        api_version=version,
        provide_cluster_info=True,
    )
    endpoint = Endpoint(server=api_server.url, ca_data=api_server.authority.cert, exec_=plugin)

    async def test(client: Client) -> None:
        users = await asyncio.gather(*(who(client) for _ in range(5)))
        assert {user["username"] for user in users} == {"system:serviceaccount:default:by-plugin"}

    with_client(endpoint, test)
    assert count.read_text() == "x", "called once, then remembered"


def test_exec_plugin_gives_a_certificate(api_server: ApiServer, tmp_path: Any) -> None:
    person = api_server.endpoint_for("by-certificate", ("some-group",))
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {
            "clientCertificateData": person.client_cert.decode(),
            "clientKeyData": person.client_key.decode(),
        },
    }
    file = tmp_path / "answer.json"
    file.write_text(json.dumps(answer))
    plugin = ExecPlugin(command="cat", args=(str(file),))
    endpoint = Endpoint(server=api_server.url, ca_data=api_server.authority.cert, exec_=plugin)

    async def test(client: Client) -> None:
        user = await who(client)
        assert user["username"] == "by-certificate"
        assert "some-group" in user["groups"]

    with_client(endpoint, test)


def test_exec_plugin_is_asked_again_after_401(api_server: ApiServer, tmp_path: Any) -> None:
    token = service_account_token(api_server, "renewed")
    file = tmp_path / "answer.json"

    def give(text: str) -> None:
        status = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": text}}
        file.write_text(json.dumps(status))

    give("no longer valid")
    plugin = ExecPlugin(command="cat", args=(str(file),))
    endpoint = Endpoint(server=api_server.url, ca_data=api_server.authority.cert, exec_=plugin)

    async def test(client: Client) -> None:
        with pytest.raises(Unauthorized):
            await who(client)
        give(token)
        assert (await who(client))["username"].endswith(":renewed")

    with_client(endpoint, test)


def test_a_token_file_is_read_again_when_it_changes(api_server: ApiServer, tmp_path: Any) -> None:
    file = tmp_path / "token"
    file.write_text(service_account_token(api_server, "file-one"))
    endpoint = Endpoint(server=api_server.url, ca_data=api_server.authority.cert, token_file=str(file))

    async def test(client: Client) -> None:
        assert (await who(client))["username"].endswith(":file-one")
        new = tmp_path / "new"
        new.write_text(await asyncio.to_thread(service_account_token, api_server, "file-two"))
        new.rename(file)
        client._credential._looked_at -= 60  # a minute later
        assert (await who(client))["username"].endswith(":file-two")

    with_client(endpoint, test)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    endpoint = Endpoint(server=f"http://127.0.0.1:{free_ports(1)[0]}")

    async def test(client: Client) -> None:
        with pytest.raises(Unavailable) as caught:
            await client.get(NAMESPACES, "default")
        assert endpoint.server in caught.value.message
        with pytest.raises(Unavailable):
            await client.upgrade("GET", "/", {"Upgrade": "SPDY/3.1"})

    with_client(endpoint, test)


def test_a_server_with_another_authority_is_not_trusted(api_server: ApiServer) -> None:
    endpoint = msgspec.structs.replace(api_server.endpoint, ca_data=api_server.front_proxy_authority.cert)

    async def test(client: Client) -> None:
        with pytest.raises(Unavailable) as caught:
            await client.get(NAMESPACES, "default")
        assert "certificate" in caught.value.message.lower()
        with pytest.raises(Unavailable):
            await client.upgrade("GET", "/", {"Upgrade": "SPDY/3.1"})

    with_client(endpoint, test)


def test_a_server_name_other_than_the_address_is_verified(api_server: ApiServer) -> None:
    named = msgspec.structs.replace(api_server.endpoint, tls_server_name="kubernetes.default.svc")
    wrong = msgspec.structs.replace(api_server.endpoint, tls_server_name="somebody.else")

    async def works(client: Client) -> None:
        await client.get(NAMESPACES, "default")

    async def fails(client: Client) -> None:
        with pytest.raises(Unavailable):
            await client.get(NAMESPACES, "default")

    with_client(named, works)
    with_client(wrong, fails)


def test_a_hanging_server_is_noticed(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loft.kube.transport.ANSWER_S", 0.3)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        writer.close()

    async def test(client: Client) -> None:
        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with Client(Endpoint(server=f"http://127.0.0.1:{port}")) as hanging:
            began = time.monotonic()
            with pytest.raises(Unavailable, match="no answer"):
                await hanging.get(NAMESPACES, "default")
            with pytest.raises(Unavailable, match="no answer"):
                await hanging.upgrade("GET", "/", {"Upgrade": "SPDY/3.1"})
            assert time.monotonic() - began < 5
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.05)

    with_client(api_server.endpoint, test)


def test_a_silent_watch_is_noticed(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loft.kube.transport.WATCH_SILENCE_S", 0.5)

    async def test(client: Client) -> None:
        space = await namespace(client, "silent")
        version = (await client.list(CONFIGMAPS, space)).resource_version
        with pytest.raises(Unavailable, match="silent"):
            await anext(client.watch(CONFIGMAPS, space, resource_version=version))

    with_client(api_server.endpoint, test)


def test_upgrade_refusals_carry_the_servers_words(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        answer = await client.upgrade(
            "POST", PODS.path("default", "no-such-pod", "exec") + "?command=true&stdout=1", {"Upgrade": "SPDY/3.1"}
        )
        assert answer.status == 404
        assert isinstance(answer.error, NotFound)
        assert "no-such-pod" in answer.error.message
        assert answer.writer.is_closing()

    with_client(api_server.endpoint, test)


def test_upgrade_carries_our_credentials_and_not_the_callers(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        forged = [("Upgrade", "SPDY/3.1"), ("Authorization", "Bearer forged"), ("Impersonate-User", "admin")]
        answer = await client.upgrade("GET", PODS.path("default", "pod", "exec"), forged)
        assert answer.status == 403
        assert "limited-person" in answer.error.message

    with_client(api_server.endpoint_for("limited-person"), test)


def test_dry_run_stores_nothing(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        space = await namespace(client, "dry-run")
        await client.call(requests.create(CONFIGMAPS, configmap(space, "map"), dry_run=True))
        assert await client.find(CONFIGMAPS, "map", space) is None

    with_client(api_server.endpoint, test)


def test_paths_without_a_resource(api_server: ApiServer) -> None:
    async def test(client: Client) -> None:
        assert (await client.call(Request("GET", "/version")))["gitVersion"].startswith("v1.")
        assert await client.raw(Request("GET", "/readyz")) == b"ok"
        assert b"apiserver_request_total" in b"".join(
            [chunk async for chunk in client.stream(Request("GET", "/metrics"))]
        )

    with_client(api_server.endpoint, test)


def test_an_impersonator_may_only_impersonate(api_server: ApiServer) -> None:
    impersonator = api_server.endpoint_for("impersonator")
    anna = msgspec.structs.replace(impersonator, impersonate_user="loft:user:anna")

    async def grant(client: Client) -> None:
        rules = [
            {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["loft:user:anna"]}
        ]
        await client.apply(CLUSTERROLES, {"metadata": {"name": "impersonator"}, "rules": rules}, manager="test")
        binding = {
            "metadata": {"name": "impersonator"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "impersonator"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "impersonator"}],
        }
        await client.apply(CLUSTERROLEBINDINGS, binding, manager="test")

    async def as_anna(client: Client) -> None:
        async with asyncio.timeout(10):
            while True:
                try:
                    assert (await who(client))["username"] == "loft:user:anna"
                    break
                except Forbidden:  # RBAC follows the binding after a moment
                    await asyncio.sleep(0.1)

    async def as_itself(client: Client) -> None:
        with pytest.raises(Forbidden):
            await client.list(SERVICES, "default")

    with_client(api_server.endpoint, grant)
    with_client(anna, as_anna)
    with_client(impersonator, as_itself)


def test_upgrade_hands_over_a_raw_stream(api_server: ApiServer) -> None:
    """A watch over WebSocket is what an API server upgrades to without a kubelet."""

    async def test(client: Client) -> None:
        space = await namespace(client, "upgrading")
        await client.create(CONFIGMAPS, configmap(space, "map"))
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Origin", api_server.url),
        ]
        answer = await client.upgrade("GET", CONFIGMAPS.path(space) + "?watch=true", headers)
        try:
            assert answer.status == 101
            assert answer.header("upgrade").lower() == "websocket"
            # RFC 6455 §1.3: the accept value that belongs to this key.
            assert answer.header("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
            async with asyncio.timeout(10):
                head = await answer.reader.readexactly(4)
                assert head[0] == 0x81, "one whole text frame"
                event = json.loads(await answer.reader.readexactly(int.from_bytes(head[2:4])))
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "map")
        finally:
            answer.writer.close()
            with contextlib.suppress(OSError):
                await answer.writer.wait_closed()

    with_client(api_server.endpoint, test)
