"""What the gateway does for people, and that it fails closed when a part of it is gone."""

import asyncio
import base64
import json
import socket
import ssl
import time

import msgspec
import pytest

from integration.gateway.bed import KEY, NOW, OTHER_KEY, READ_ONLY_KEY, directory, filters_of, read_answer
from loft.gateway import headers as names
from loft.gateway.envoy.bootstrap import AUTHZ_CENTRE_SOCKET, AUTHZ_SOCKET
from loft.identity.keys import key_hash
from loft.pki.authority import issue, new_authority

pytestmark = pytest.mark.integration


def get(path, *lines, key=KEY):
    head = [f"GET {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}", *lines]
    return ("\r\n".join(head) + "\r\n\r\n").encode()


def message(answer):
    body = json.loads(answer.body)
    assert body["kind"] == "Status" and body["code"] == answer.code
    return body["message"]


# --- where requests go


def test_a_cluster_that_nobody_knows(bed):
    answer = bed.side("centre").raw(get("/kubernetes/cluster/west/api"))
    assert answer.code == 404
    assert message(answer) == "cluster west is not known; see `loft list clusters`"


def test_without_a_key_nothing_is_told_about_what_exists(bed):
    for path in ("/kubernetes/cluster/west/api", "/kubernetes/cluster/east/api"):
        assert bed.side("centre").raw(get(path, key="wrong")).code == 401


def test_an_agent_that_is_not_reachable(bed):
    answer = bed.side("centre").raw(get("/kubernetes/cluster/dead/api"))
    assert answer.code == 503
    assert message(answer).startswith("cannot reach dead: ")
    assert "refused" in message(answer).lower()


def test_an_agent_that_has_not_called_yet(bed):
    answer = bed.side("centre").raw(get("/kubernetes/cluster/new/api"))
    assert answer.code == 503
    assert "new has no connection" in message(answer)


def test_the_management_api_hears_of_the_user_as_from_a_front_proxy(bed):
    side = bed.side("centre")
    mark = side.marked()
    path = f"/kubernetes/management/apis/management.loft.sh/v1/users?{mark}"
    assert side.raw(get(path, "X-Remote-User: system:masters", "X-Remote-Group: system:masters")).code == 200
    (seen,) = side.reached(mark)
    assert seen.path == f"/apis/management.loft.sh/v1/users?{mark}"
    assert seen.all("x-remote-user") == ["loft:user:ann"]
    assert seen.all("x-remote-group") == ["loft:user:ann", "loft:team:dev", "system:authenticated"]
    assert seen.all("x-remote-extra-loft-key") == ["k1"]
    assert seen.all("authorization") == []
    assert seen.peer == "loft:gateway"


def test_the_centre_does_not_hand_on_the_users_key(bed):
    side = bed.side("centre")
    mark = side.marked()
    assert side.send("Cookie: session=secret", path=f"/api?{mark}").code == 200
    (seen,) = side.reached(mark)
    assert KEY not in str(seen.headers) and "secret" not in str(seen.headers)


# --- virtual clusters


def test_a_virtual_cluster_sees_the_user_in_the_access_group(side):
    mark = side.marked()
    assert side.raw(get(f"{side.virtual}/vc/api/v1/pods?{mark}")).code == 200
    (seen,) = side.reached(mark)
    assert seen.all("impersonate-user") == ["loft:user:ann"]
    groups = ["loft:user:ann", "loft:team:dev", "system:authenticated", "loft:virtualcluster:access"]
    assert seen.all("impersonate-group") == groups
    assert seen.all("authorization") == []
    assert seen.peer == "loft:gateway"
    assert ("loft:user:ann", "space", "vc") in side.bed.asked


def test_without_permission_a_virtual_cluster_is_not_reached(side):
    side.bed.may_get = False
    side.bed.agent.prepare(lambda gateway: gateway.forget_permissions())
    try:
        mark = side.marked()
        answer = side.raw(get(f"{side.virtual}/vc/api?{mark}"))
        assert answer.code == 403
        assert "cannot get virtualclusters.storage.loft.sh vc" in message(answer)
        # kubectl does not print the message of discovery, but warnings
        (shown,) = [line for line in answer.head.decode().splitlines() if line.lower().startswith("warning:")]
        assert "ask the owner of the space for access" in shown
        assert side.reached(mark) == []
        # and whether there is one at all is told to nobody without permission
        assert side.raw(get(f"{side.virtual}/none/api")).code == 403
    finally:
        side.bed.may_get = True


def test_a_virtual_cluster_that_is_not_there(side):
    answer = side.raw(get(f"{side.virtual}/none/api"))
    assert answer.code == 404
    assert "none in space space" in message(answer)


def part(value):
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


def service_account_token(**claims):
    body = {"iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:default:x", **claims}
    return f"{part({'alg': 'RS256'})}.{part(body)}.c2ln"


def test_a_service_account_of_the_virtual_cluster_passes_with_its_own_token_only(side):
    mark, token = side.marked(), service_account_token()
    assert side.raw(get(f"{side.virtual}/vc/api?{mark}", key=token)).code == 200
    (seen,) = side.reached(mark)
    assert seen.all("authorization") == [f"Bearer {token}"]
    assert not [name for name, _ in seen.headers if name.startswith("impersonate")]
    assert seen.peer == "", "our own certificate would make the API server take the request for ours"


def test_a_service_account_does_not_pass_where_it_is_switched_off_or_elsewhere(side):
    token = service_account_token()
    mark = side.marked()
    for path in (f"{side.virtual}/closed/api?{mark}", f"{side.virtual}/none/api?{mark}", f"{side.cluster}/api?{mark}"):
        assert side.raw(get(path, key=token)).code == 401
    assert side.raw(get(f"{side.virtual}/vc/api?{mark}", key=service_account_token(sub="ann"))).code == 401
    assert side.reached(mark) == []


# --- the agent's listener for the centre


def groups(*wanted):
    return f"{names.GROUPS}: {names.encode_groups(wanted)}"


def test_case_33_only_the_centres_certificate_opens_the_listener(bed):
    side, made = bed.side("agent"), bed.certificates
    port = bed.agent.settings.centre_port
    own = new_authority("own", NOW)
    forged = issue(own, common_name="centre", uris=["spiffe://loft/centre"], usage="client", now=NOW)
    for certificate in (None, made.stranger, made.gateway, forged):
        mark = side.marked()
        request = get(f"/kubernetes/cluster/api?{mark}", f"{names.USER}: loft:user:ann", groups("loft:user:ann"))
        try:
            answer = side.raw(request, port=port, certificate=certificate and made.file(certificate))
            assert answer.data == b""
        except (ssl.SSLError, ConnectionError):
            pass
        assert side.reached(mark) == []


@pytest.mark.parametrize(
    "lines",
    [
        [f"{names.USER}: system:masters", groups("loft:user:ann")],
        [f"{names.USER}: loft:user:ann", groups("system:masters")],
        [f"{names.USER}: loft:user:ann", groups("loft:user:ann", "system:nodes")],
        [f"{names.USER}: loft:user:ann"],
        [groups("loft:user:ann")],
        [f"{names.USER}: loft:user:ann", f"{names.GROUPS}: not base64"],
        [],
    ],
    ids=["user", "group", "second group", "no groups", "no user", "garbage", "nobody"],
)
def test_even_the_centre_cannot_assert_names_of_kubernetes(bed, lines):
    side = bed.side("agent")
    mark = side.marked()
    certificate = bed.certificates.file(bed.certificates.centre)
    answer = side.raw(
        get(f"/kubernetes/cluster/api?{mark}", *lines), port=bed.agent.settings.centre_port, certificate=certificate
    )
    assert answer.code == 401
    assert side.reached(mark) == []


# --- keys


def test_case_22_a_revoked_key_is_refused_by_the_next_request_on_the_same_connection(side):
    try:
        with side.connect() as connection:
            connection.sendall(get(f"{side.cluster}/api", key=OTHER_KEY))
            assert read_answer(connection).code == 200
            side.running.prepare(lambda gateway: gateway._view.directory.remove_access_key("k2"))
            connection.sendall(get(f"{side.cluster}/api", key=OTHER_KEY))
            assert read_answer(connection).code == 401
    finally:
        side.running.prepare(lambda gateway: gateway.set_directory(directory()))


def test_case_22_a_disabled_user_is_refused_at_once(side):
    changed = directory()
    changed.set_user({"metadata": {"name": "ann"}, "spec": {"disabled": True}})
    try:
        side.running.prepare(lambda gateway: gateway.set_directory(changed))
        answer = side.send()
        assert answer.code == 401
        assert "disabled" in message(answer)
    finally:
        side.running.prepare(lambda gateway: gateway.set_directory(directory()))


def test_case_23_a_limited_key_stays_within_its_scope(side):
    assert side.send(key=READ_ONLY_KEY).code == 200
    mark = side.marked()
    answer = side.send(method="POST", path=f"/api/v1/namespaces/a/pods?{mark}", key=READ_ONLY_KEY)
    assert answer.code == 403
    assert "access key read is limited" in message(answer)
    assert side.reached(mark) == []


# --- failing closed


def stop_deciding(bed, running):
    """Stop the servers that decide, as if the control plane had died; Envoy runs on."""

    async def stop():
        await asyncio.gather(*(server.stop(0) for server in running.gateway._servers[1:]))

    bed.loop.run(stop())


def start_deciding(bed, running):
    async def start():
        gateway = running.gateway
        for index, (name, from_centre) in enumerate([(AUTHZ_SOCKET, False), (AUTHZ_CENTRE_SOCKET, True)], 1):
            handler = gateway._authorization(from_centre=from_centre).handler()
            gateway._servers[index] = await gateway._serve(name, handler)

    bed.loop.run(start())


def test_without_its_control_plane_it_answers_503_and_forwards_nothing(bed, side):
    stop_deciding(bed, side.running)
    try:
        mark = side.marked()
        answer = side.send(path=f"/api?{mark}")
        assert answer.code == 503
        assert "cannot decide" in message(answer)
        assert side.reached(mark) == []
        assert side.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").code == 200
    finally:
        start_deciding(bed, side.running)
    deadline = time.monotonic() + 10
    while side.send().code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_guard_closes_when_the_decision_fails_open(bed, side):
    """With ext_authz told to let pass on errors (as a wrong configuration would), the guard still refuses."""
    listener = side.running.people()
    filters_of(listener)["envoy.filters.http.ext_authz"]["failure_mode_allow"] = True
    side.running.replace_people(listener)
    stop_deciding(bed, side.running)
    try:
        mark = side.marked()
        answer = side.send(path=f"/api?{mark}")
        assert answer.code == 403
        assert "not authenticated" in message(answer)
        assert side.reached(mark) == []
    finally:
        start_deciding(bed, side.running)
        side.running.replace_people(side.running.people())
    assert side.send().code == 200


@pytest.mark.parametrize("script", ["error('x')", "local a = nil; a.b = 1", "handle:headers():add(nil, nil)", ""])
def test_case_20_the_guard_closes_when_the_script_fails(bed, side, script):
    listener = side.running.people()
    lua = filters_of(listener)["envoy.filters.http.lua"]
    lua["default_source_code"]["inline_string"] = f"function envoy_on_request(handle)\n{script}\nend"
    side.running.replace_people(listener)
    try:
        mark = side.marked()
        assert side.send(path=f"/api?{mark}").code == 403
        assert side.reached(mark) == []
    finally:
        side.running.replace_people(side.running.people())
    assert side.send().code == 200


# --- certificates and configuration while it runs


def serial(connection):
    return connection.getpeercert()["serialNumber"]


def test_case_102_a_new_certificate_is_served_without_cutting_connections(side):
    made = side.bed.certificates
    fresh = made.make("server", ips=["127.0.0.1"], dns=["localhost"], usage="server")
    try:
        with side.connect() as old:
            side.running.do(lambda gateway: gateway.set_serving_certificate(fresh))
            deadline = time.monotonic() + 5
            while True:
                with side.connect() as new:
                    if serial(new) != serial(old):
                        break
                assert time.monotonic() < deadline, "the new certificate is not served"
            old.sendall(get(f"{side.cluster}/api"))
            assert read_answer(old).code == 200
    finally:
        side.running.do(lambda gateway: gateway.set_serving_certificate(made.server))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_case_103_old_tls_is_refused(side, version):
    context = ssl.create_default_context(cafile=str(side.bed.certificates.authority_file))
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", side.running.settings.tls_port), timeout=5) as plain,
        pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


def test_a_renewed_impersonator_token_is_used_by_the_next_requests(side):
    agent = side.bed.agent
    try:
        agent.do(lambda gateway: gateway.set_impersonator_token("renewed"))
        deadline = time.monotonic() + 5
        while True:
            mark = side.marked()
            assert side.send(path=f"/api?{mark}").code == 200
            if side.reached(mark)[0].all("authorization") == ["Bearer renewed"]:
                break
            assert time.monotonic() < deadline
    finally:
        agent.do(lambda gateway: gateway.set_impersonator_token("impersonator-token"))


def test_an_upstream_with_a_certificate_for_another_name_is_not_spoken_to(bed):
    """The authority is right, the name is not: nothing is sent."""
    side = bed.side("centre")
    routes = bed.centre_routes
    wrong = msgspec.structs.replace(routes[0], name="wrong", server_name="agent.example.com")
    try:
        bed.centre.do(lambda gateway: gateway.set_clusters([*routes, wrong]))
        mark = side.marked()
        answer = side.raw(get(f"/kubernetes/cluster/wrong/api?{mark}"))
        assert answer.code == 503
        assert "CERTIFICATE_VERIFY_FAILED" in message(answer)
        assert side.reached(mark) == []
    finally:
        bed.centre.do(lambda gateway: gateway.set_clusters(routes))
    assert side.raw(get("/kubernetes/cluster/wrong/api")).code == 404


def test_one_virtual_cluster_more_costs_one_message_about_it(bed):
    """Incremental: what is sent does not grow with what is there."""
    agent = bed.agent
    routes = bed.agent_routes
    many = [msgspec.structs.replace(routes[0], name=f"vc-{number}") for number in range(50)]
    sent = []
    stream = next(iter(agent.gateway._discovery._streams))
    note = stream.note
    try:
        agent.do(lambda gateway: gateway.set_virtual_clusters([*routes, *many]))
        stream.note = lambda kind, changed: (sent.append((kind, set(changed))), note(kind, changed))
        one = msgspec.structs.replace(routes[0], name="one-more")
        agent.do(lambda gateway: gateway.set_virtual_clusters([*routes, *many, one]))
    finally:
        stream.note = note
        agent.do(lambda gateway: gateway.set_virtual_clusters(routes))
    assert all("one-more" in name for _, changed in sent for name in changed)


# --- audit


def audit_lines(running, mark):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        text = running.settings.audit_log.read_text() if running.settings.audit_log.exists() else ""
        found = [json.loads(line) for line in text.splitlines() if mark in line]
        if found:
            return text, found
        time.sleep(0.1)
    return text, []


def test_case_56_each_authenticated_request_leaves_one_line_without_secrets(side):
    name = side.marked().replace("=", "-")
    side.send(path=f"/api/v1/namespaces/a/pods/{name}?access_token={OTHER_KEY}&command=secret-command")
    text, (line,) = audit_lines(side.running, name)
    assert line["user"] == "loft:user:ann" and line["key"] == "k1"
    assert (line["verb"], line["resource"], line["namespace"], line["name"]) == ("get", "pods", "a", name)
    assert (line["target"], line["cluster"], line["code"], line["method"]) == ("cluster", "east", 200, "GET")
    assert line["path"] == f"/api/v1/namespaces/a/pods/{name}"
    assert line["requestId"] and line["time"]
    assert not [secret for secret in (KEY, OTHER_KEY, "secret-command", "impersonator-token") if secret in text]


def test_centre_and_agent_log_the_same_request_id(bed):
    side = bed.side("centre")
    name = side.marked().replace("=", "-")
    side.send(path=f"/api/v1/namespaces/a/pods/{name}")
    _, (centre,) = audit_lines(bed.centre, name)
    _, (agent,) = audit_lines(bed.agent, name)
    assert centre["requestId"] == agent["requestId"]
    assert (agent["user"], agent["key"]) == ("loft:user:ann", "k1")


def test_a_refused_scope_is_logged_and_an_unknown_key_is_not(side):
    name = side.marked().replace("=", "-")
    side.send(method="DELETE", path=f"/api/v1/namespaces/a/pods/{name}", key=READ_ONLY_KEY)
    _, (line,) = audit_lines(side.running, name)
    assert (line["code"], line["key"], line["verb"]) == (403, "read", "delete")
    other = side.marked().replace("=", "-")
    side.send(path=f"/api/v1/namespaces/a/pods/{other}", key="wrong")
    time.sleep(1.5)
    assert other not in side.running.settings.audit_log.read_text()


def config_dump(running):
    """Return all that Envoy's admin interface tells about its configuration."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(running.settings.directory / "admin.sock"))
        connection.sendall(b"GET /config_dump?include_eds HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while more := connection.recv(65536):
            data += more
    return data.decode()


def test_no_secret_is_in_the_directory_or_the_configuration(side):
    """Case 89: start configuration, and what Envoy's admin interface shows; both are for our own user only."""
    directory = side.running.settings.directory
    dump = config_dump(side.running)
    assert "dynamic_active_secrets" in dump and "people" in dump
    for text in ((directory / "envoy.json").read_text(), dump):
        for secret in ("PRIVATE KEY", "Bearer", key_hash(KEY), KEY):
            assert secret not in text
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "admin.sock").stat().st_mode & 0o077 == 0
