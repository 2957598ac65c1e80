"""management.loft.sh as people reach it: through a gateway that says who they are, with real kubectl."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from integration.api_server import binary
from integration.apiserver.bed import NAMESPACE, Bed
from loft.identity import endpointtoken
from loft.identity.keys import key_hash
from loft.identity.passwords import verify_password

pytestmark = pytest.mark.integration

ADMIN = ("loft-admins",)


def stored(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "storage.loft.sh/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def managed(kind: str, name: str, **spec: Any) -> str:
    return json.dumps({"apiVersion": "management.loft.sh/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})


def test_discovery_serves_only_the_one_group(bed: Bed) -> None:
    with bed.front("root", ADMIN) as kubectl:
        assert kubectl("api-versions").split() == ["management.loft.sh/v1"]
        names = {line.split()[0] for line in kubectl("api-resources", "--no-headers").splitlines()}
        assert names == {
            "clusterconnects",
            "clusters",
            "directclusterendpointtokens",
            "ownedaccesskeys",
            "selves",
            "teams",
            "users",
        }
        assert "the server doesn't have a resource type" in kubectl("get", "pods", ok=False)
        assert "Raising it ends every session" in kubectl("explain", "user.spec.tokenGeneration")
        assert "metadata\t<ObjectMeta>" in kubectl("explain", "user")


def test_users_by_kubectl(bed: Bed) -> None:
    with bed.front("root", ADMIN) as kubectl:
        wish = managed("User", "ursula", displayName="Ursula", email="u@example.com")
        assert "created" in kubectl("apply", "-f", "-", stdin=wish)
        assert "unchanged" in kubectl("apply", "-f", "-", stdin=wish)
        changed = managed("User", "ursula", displayName="Ursula K.", email="u@example.com")
        assert "configured" in kubectl("apply", "-f", "-", stdin=changed)
        assert "serverside-applied" in kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=changed)
        kubectl("patch", "user", "ursula", "--type=merge", "-p", '{"spec":{"groups":["x"]}}')
        editor = {"KUBE_EDITOR": "sed -i s/Ursula/Ulla/"}
        assert "edited" in kubectl("edit", "user", "ursula", env=editor)
        shown = json.loads(kubectl("get", "user", "ursula", "-o", "json"))
        assert shown["apiVersion"] == "management.loft.sh/v1"
        assert shown["spec"]["displayName"] == "Ulla K."
        table = kubectl("get", "users")
        assert table.split()[:5] == ["NAME", "USERNAME", "EMAIL", "DISABLED", "AGE"]
        bad = managed("User", "ursula", tokenGeneration=-1)
        refused = kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=bad, ok=False)
        assert "spec.tokenGeneration" in refused and "storage.loft.sh" not in refused
        same = managed("User", "other", username="ursula")
        assert "signs in under this name already" in kubectl("create", "-f", "-", stdin=same, ok=False)
        assert "deleted" in kubectl("delete", "user", "ursula")
    assert "NotFound" in bed.kubectl("get", "users.storage.loft.sh", "ursula", ok=False)


def test_a_watch_goes_on_from_a_version(bed: Bed) -> None:
    with bed.front("root", ADMIN) as kubectl:
        version = json.loads(kubectl("get", "--raw", "/apis/management.loft.sh/v1/teams"))["metadata"][
            "resourceVersion"
        ]
        kubectl("create", "-f", "-", stdin=managed("Team", "watched"))
        path = f"/apis/management.loft.sh/v1/teams?watch=1&resourceVersion={version}&timeoutSeconds=2"
        events = [json.loads(line) for line in kubectl("get", "--raw", path).splitlines()]
        assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [("ADDED", "watched")]
        assert events[0]["object"]["apiVersion"] == "management.loft.sh/v1"
        old = kubectl("get", "--raw", "/apis/management.loft.sh/v1/teams?watch=1&resourceVersion=bad")
        assert json.loads(old.splitlines()[0])["type"] == "ERROR"


def test_people_read_themselves_and_their_teams_only(bed: Bed) -> None:
    bed.apply(
        stored("User", "paula"),
        stored("User", "peter"),
        stored("Team", "p-team", users=["paula"]),
        stored("Team", "q-team"),
        stored("User", "granting", access=[{"verbs": ["get"], "users": ["paula"]}]),
    )
    with bed.front("paula", ("p-team",)) as kubectl:
        assert kubectl("get", "users", "-o", "name").split() == [
            "user.management.loft.sh/granting",
            "user.management.loft.sh/paula",
        ]
        assert kubectl("get", "teams", "-o", "name").split() == ["team.management.loft.sh/p-team"]
        for args in (
            ("get", "user", "peter"),
            ("delete", "user", "paula"),
            ("delete", "user", "granting"),
            ("annotate", "team", "p-team", "a=b"),
        ):
            assert "forbidden" in kubectl(*args, ok=False)
        assert "forbidden" in kubectl("create", "-f", "-", stdin=managed("User", "more"), ok=False)


def test_everybody_sees_that_clusters_are_there_but_not_how_they_are_managed(bed: Bed) -> None:
    cluster = stored("Cluster", "near", config={"secretName": "s"}, displayName="Near", owner={"user": "olga"})
    cluster["metadata"]["annotations"] = {"loft.sh/direct-cluster-endpoint": "near.example.com", "note": "internal"}
    bed.apply(cluster)
    with bed.front("nobody-special") as kubectl:
        shown = json.loads(kubectl("get", "cluster", "near", "-o", "json"))
        assert shown["spec"] == {"displayName": "Near"}
        assert shown["metadata"]["annotations"] == {"loft.sh/direct-cluster-endpoint": "near.example.com"}
        assert "near.example.com" in kubectl("get", "clusters")
        assert "NotFound" in kubectl("get", "cluster", "far", ok=False)
        assert "forbidden" in kubectl("delete", "cluster", "near", ok=False)
        assert "forbidden" in kubectl("create", "-f", "-", stdin=managed("Cluster", "mine"), ok=False)
    with bed.front("olga") as kubectl:
        assert json.loads(kubectl("get", "cluster", "near", "-o", "json"))["spec"]["config"] == {"secretName": "s"}
        kubectl("annotate", "cluster", "near", "touched=yes")
    with bed.front("root", ADMIN) as kubectl:
        status = '{"status":{"phase":"Initialized"}}'
        kubectl("patch", "cluster", "near", "--subresource=status", "--type=merge", "-p", status)
        kubectl("wait", "--for=jsonpath={.status.phase}=Initialized", "cluster/near", "--timeout=5s")
        kubectl("delete", "cluster", "near")


def test_access_keys_are_shown_once_and_only_to_their_owner(bed: Bed) -> None:
    bed.apply(stored("User", "kira", tokenGeneration=3), stored("User", "kurt"))
    code, made = bed.as_user("kira", "POST", "ownedaccesskeys", {"spec": {"displayName": "laptop", "ttl": 60}})
    assert code == 201, made
    key, name = made["spec"]["key"], made["metadata"]["name"]
    kept = bed.get("accesskeys.storage.loft.sh", name)
    assert kept["spec"] == {
        "displayName": "laptop",
        "keyHash": key_hash(key),
        "tokenGeneration": 3,
        "ttl": 60,
        "user": "kira",
    }
    assert kept["metadata"]["ownerReferences"][0]["name"] == "kira"
    code, listed = bed.as_user("kira", "GET", "ownedaccesskeys")
    assert [item["metadata"]["name"] for item in listed["items"]] == [name]
    text = json.dumps(listed) + json.dumps(bed.as_user("kira", "GET", f"ownedaccesskeys/{name}")[1])
    assert key not in text and key_hash(key) not in text
    assert bed.as_user("kurt", "GET", "ownedaccesskeys")[1]["items"] == []
    assert bed.as_user("kurt", "GET", f"ownedaccesskeys/{name}")[0] == 404
    assert bed.as_user("kurt", "DELETE", f"ownedaccesskeys/{name}")[0] == 404
    for wrong, field in (
        ({"user": "kurt"}, "spec.user"),
        ({"team": "loft-admins"}, "spec.team"),
        ({"key": "mine"}, "spec.key"),
        ({"type": "Reset"}, "spec.type"),
        ({"ttl": -1}, "spec.ttl"),
    ):
        code, refused = bed.as_user("kira", "POST", "ownedaccesskeys", {"spec": wrong})
        assert (code, refused["details"]["causes"][0]["field"]) == (422, field)
    code, who = bed.as_user("kira", "POST", "selves", {}, key=name)
    assert (code, who["status"]["accessKey"]) == (201, name)
    assert bed.as_user("kira", "DELETE", f"ownedaccesskeys/{name}")[0] == 200
    assert bed.as_user("kira", "GET", f"ownedaccesskeys/{name}")[0] == 404


def test_a_limited_key_makes_only_keys_with_the_same_limit(bed: Bed) -> None:
    scope = {"rules": [{"requestTargets": ["Management"]}]}
    bed.apply(stored("User", "lena"), stored("AccessKey", "lenas", user="lena", keyHash="a" * 64, scope=scope))
    code, refused = bed.as_user("lena", "POST", "ownedaccesskeys", {"spec": {"scope": {}}}, key="lenas")
    assert (code, refused["details"]["causes"][0]["field"]) == (422, "spec.scope")
    code, made = bed.as_user("lena", "POST", "ownedaccesskeys", {"spec": {}}, key="lenas")
    assert (code, made["spec"]["scope"], made["spec"]["parent"]) == (201, scope, "lenas")


def test_keys_and_password_go_with_their_user(bed: Bed) -> None:
    bed.apply(stored("User", "gone"))
    name = bed.as_user("gone", "POST", "ownedaccesskeys", {})[1]["metadata"]["name"]
    bed.as_user("gone", "POST", "users/gone/profile", {"password": "long enough"})
    bed.kubectl("get", "secret", "loft-password-gone", "-n", NAMESPACE)
    bed.kubectl("delete", "users.storage.loft.sh", "gone")
    bed.kubectl("wait", "--for=delete", f"accesskeys.storage.loft.sh/{name}", "--timeout=30s")
    bed.kubectl("wait", "--for=delete", "secret/loft-password-gone", "-n", NAMESPACE, "--timeout=30s")


def test_selves_tell_who_one_is(bed: Bed) -> None:
    bed.apply(stored("User", "sela", email="s@example.com", username="s"), stored("Team", "s-team", displayName="S"))
    code, who = bed.as_user("sela", "POST", "selves", {"kind": "Self"}, teams=("s-team",))
    assert code == 201
    assert who["status"]["user"] == {
        "name": "sela",
        "username": "s",
        "email": "s@example.com",
        "teams": [{"name": "s-team", "displayName": "S", "username": "s-team"}],
    }
    assert who["status"]["subject"] == "loft:user:sela"
    assert bed.as_user("sela", "GET", "selves/self")[1]["metadata"]["name"] == "sela"
    assert bed.as_user("sela", "GET", "selves/peter")[0] == 404
    assert bed.as_user("sela", "GET", "selves")[1]["kind"] == "SelfList"
    refused = bed.kubectl("get", "selves.management.loft.sh", ok=False)
    assert "is not a user or team of the platform" in refused


def test_a_password_is_kept_as_a_hash_and_never_shown(bed: Bed) -> None:
    bed.apply(stored("User", "pia"))
    profile = "users/pia/profile"
    code, answer = bed.as_user("pia", "POST", profile, {"displayName": "Pia", "password": "first secret"})
    assert (code, answer) == (
        201,
        {"apiVersion": "management.loft.sh/v1", "kind": "UserProfile", "displayName": "Pia"},
    )
    secret = bed.get("secret", "loft-password-pia", "-n", NAMESPACE)
    hashed = base64.b64decode(secret["data"]["password"]).decode()
    assert hashed.startswith("$argon2id$") and verify_password(hashed, "first secret")
    assert bed.get("users.storage.loft.sh", "pia")["spec"]["passwordRef"]["secretName"] == "loft-password-pia"
    code, refused = bed.as_user("pia", "POST", profile, {"password": "second secret", "currentPassword": "wrong"})
    assert (code, refused["details"]["causes"][0]["field"]) == (422, "currentPassword")
    assert bed.as_user("pia", "POST", profile, {"password": "short"})[0] == 422
    body = {"password": "second secret", "currentPassword": "first secret"}
    assert bed.as_user("pia", "POST", profile, body)[0] == 201
    assert bed.as_user("eve", "POST", profile, {"password": "owned by eve"})[0] == 403
    assert bed.as_user("root", "POST", profile, {"password": "set by admin"}, teams=ADMIN)[0] == 201
    assert "secret" not in json.dumps(bed.as_user("pia", "GET", profile)[1])


def test_endpoint_tokens_are_for_clusters_with_a_direct_endpoint(bed: Bed) -> None:
    with_endpoint = stored("Cluster", "direct")
    with_endpoint["metadata"]["annotations"] = {"loft.sh/direct-cluster-endpoint": "direct.example.com"}
    bed.apply(stored("User", "dora"), with_endpoint, stored("Cluster", "indirect"))
    post = ("POST", "directclusterendpointtokens")
    code, made = bed.as_user("dora", *post, {"spec": {"cluster": "direct", "ttl": 600}}, key="doras")
    assert code == 201, made
    now = datetime.now(UTC)
    token = endpointtoken.verify(made["status"]["token"], bed.verifying_key, "direct", now)
    assert isinstance(token, endpointtoken.EndpointToken)
    assert (token.user, token.key) == ("dora", "doras")
    assert timedelta(seconds=550) < token.expires - now <= timedelta(seconds=600)
    for spec, says in (
        ({"cluster": "indirect"}, "loft.sh/direct-cluster-endpoint"),
        ({"cluster": "missing"}, "there is no cluster"),
        ({}, "name the cluster"),
        ({"cluster": "direct", "ttl": 10**9}, "spec.ttl"),
    ):
        code, refused = bed.as_user("dora", *post, {"spec": spec}, key="doras")
        assert code == 422 and says in refused["message"], refused
    code, refused = bed.as_user("dora", *post, {"spec": {"cluster": "direct"}})
    assert code == 403 and "access key" in refused["message"]


def test_connecting_a_cluster_calls_the_hook_with_a_checked_kubeconfig(bed: Bed) -> None:
    config = (bed.server.kubeconfig).read_text()
    body = {"metadata": {"name": "new"}, "spec": {"config": config}}
    assert bed.as_user("eve", "POST", "clusterconnects", body)[0] == 403
    code, answer = bed.as_user("root", "POST", "clusterconnects", body, teams=ADMIN)
    assert code == 201 and "config" not in answer["spec"], answer
    wish, caller = bed.connected[-1]
    assert (wish.metadata.name, wish.spec.config, caller.user) == ("new", config, "loft:user:root")
    assert bed.as_user("root", "POST", "clusterconnect", body, teams=ADMIN)[0] == 201
    document = yaml.safe_load(config)
    document["users"][0]["user"]["exec"] = {"apiVersion": "client.authentication.k8s.io/v1", "command": "id"}
    plugin = yaml.safe_dump(document)
    bed.apply(stored("Cluster", "taken"))
    for name, text, code, says in (
        ("new", plugin, 422, "exec is refused"),
        ("new", "{", 422, "spec.config"),
        ("", config, 422, "metadata.name"),
        ("A_B", config, 422, "metadata.name"),
        ("taken", config, 409, "choose another name"),
    ):
        wrong = {"metadata": {"name": name}, "spec": {"config": text}}
        status, refused = bed.as_user("root", "POST", "clusterconnects", wrong, teams=ADMIN)
        assert status == code and says in refused["message"], refused


def test_watch_of_a_partial_view(bed: Bed) -> None:
    bed.apply(stored("Team", "w-one", users=[]), stored("Team", "w-two", users=[]))
    with bed.front("walt", ("w-one",)) as kubectl:
        version = json.loads(kubectl("get", "--raw", "/apis/management.loft.sh/v1/teams"))["metadata"][
            "resourceVersion"
        ]
        bed.kubectl("annotate", "teams.storage.loft.sh", "w-one", "w-two", "a=b")
        grant = '{"spec":{"access":[{"verbs":["get"],"users":["walt"]}]}}'
        bed.kubectl("patch", "teams.storage.loft.sh", "w-two", "--type=merge", "-p", grant)
        bed.kubectl("patch", "teams.storage.loft.sh", "w-two", "--type=merge", "-p", '{"spec":{"access":null}}')
        bed.kubectl("delete", "teams.storage.loft.sh", "w-two")
        path = f"/apis/management.loft.sh/v1/teams?watch=1&resourceVersion={version}&timeoutSeconds=2"
        lines = [json.loads(line) for line in kubectl("get", "--raw", path).splitlines()]
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in lines] == [
        ("MODIFIED", "w-one"),
        ("ADDED", "w-two"),
        ("DELETED", "w-two"),
    ]
    assert "spec" not in lines[-1]["object"]


def test_kubectl_get_watch_prints_a_table(bed: Bed) -> None:
    with bed.front("root", ADMIN) as kubectl:
        kubectl("create", "-f", "-", stdin=managed("Team", "tabled", displayName="Tabled"))
    watcher = subprocess.Popen(
        bed.command("get", "teams.management.loft.sh", "tabled", "-w", user="root", teams=ADMIN),
        executable=binary(),
        stdout=subprocess.PIPE,
        text=True,
        env=bed.environment(),
    )
    try:
        time.sleep(1.5)
        bed.kubectl("annotate", "teams.storage.loft.sh", "tabled", "a=b")
        time.sleep(0.7)
    finally:
        watcher.terminate()
        out, _ = watcher.communicate(timeout=10)
    lines = [line.split()[:2] for line in out.splitlines()]
    assert lines == [["NAME", "DISPLAY"], ["tabled", "Tabled"], ["tabled", "Tabled"]], out


def test_the_api_server_in_front_publishes_our_documents(bed: Bed) -> None:
    index = json.loads(bed.kubectl("get", "--raw", "/openapi/v3"))["paths"]
    for group, kind in (("cluster.loft.sh", "Space"), ("management.loft.sh", "OwnedAccessKey")):
        document = json.loads(bed.kubectl("get", "--raw", index[f"apis/{group}/v1"]["serverRelativeURL"]))
        assert f"sh.loft.{group.split('.')[0]}.v1.{kind}" in document["components"]["schemas"]
    until = time.monotonic() + 20
    while time.monotonic() < until:
        merged = json.loads(bed.kubectl("get", "--raw", "/openapi/v2"))["definitions"]
        if "sh.loft.cluster.v1.Space" in merged and "sh.loft.management.v1.Self" in merged:
            break
        time.sleep(1)
    assert "sh.loft.cluster.v1.Space" in merged and "sh.loft.management.v1.Self" in merged
    groups = bed.kubectl("api-resources", "--api-group=cluster.loft.sh", "-o", "name").split()
    kinds = ("spaces", "virtualclusterclaims", "virtualclusters")
    assert groups == [f"{kind}.cluster.loft.sh" for kind in kinds]


def test_a_streamed_list_ends_with_a_bookmark(bed: Bed) -> None:
    """As informers of new clients list (WatchList)."""
    bed.apply(stored("Team", "streamed"))
    query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=2"
    for user, teams in (("root", ADMIN), ("sam", ("streamed",))):
        with bed.front(user, teams) as kubectl:
            lines = kubectl("get", "--raw", f"/apis/management.loft.sh/v1/teams?{query}").splitlines()
        events = [json.loads(line) for line in lines]
        names = [event["object"]["metadata"].get("name") for event in events if event["type"] == "ADDED"]
        assert "streamed" in names and (user == "root" or names == ["streamed"])
        marks = [event["object"]["metadata"] for event in events if event["type"] == "BOOKMARK"]
        assert marks[0]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_cluster_roles_are_given_only_by_those_who_may_bind_them(bed: Bed) -> None:
    grant = [{"verbs": ["get", "update", "patch"], "users": ["greta"]}]
    for kind in ("User", "Team"):
        name = f"roled-{kind.lower()}"
        bed.apply(stored(kind, name, access=grant))
        plural = f"{kind.lower()}s"
        wish = '{"spec":{"clusterRoles":[{"name":"cluster-admin"}]}}'
        with bed.front("greta") as kubectl:
            refused = kubectl("patch", plural, name, "--type=merge", "-p", wish, ok=False)
            assert "may not give ClusterRole 'cluster-admin'" in refused
            kubectl("patch", plural, name, "--type=merge", "-p", '{"spec":{"displayName":"R"}}')
        bed.kubectl("patch", f"{plural}.storage.loft.sh", name, "--type=merge", "-p", wish)
        with bed.front("greta") as kubectl:
            # What is there already may stay.
            kubectl("patch", plural, name, "--type=merge", "-p", '{"spec":{"displayName":"S"}}')
