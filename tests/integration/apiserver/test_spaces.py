"""Spaces through the aggregation layer, by real kubectl."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from integration.api_server import binary
from integration.apiserver.bed import Bed

pytestmark = pytest.mark.integration

MAKER = {"user": "anna", "teams": ("makers",)}


def space(name: str, **metadata: object) -> str:
    return json.dumps({"apiVersion": "cluster.loft.sh/v1", "kind": "Space", "metadata": {"name": name} | metadata})


def test_a_created_space_is_a_namespace_with_its_owner_as_administrator(bed: Bed) -> None:
    bed.kubectl("create", "-f", "-", stdin=space("made"), **MAKER)
    namespace = bed.get("namespace", "made")
    assert namespace["metadata"]["labels"]["loft.sh/space"] == "true"
    assert namespace["metadata"]["annotations"]["loft.sh/owner-user"] == "anna"
    rights = bed.get("rolebinding", "loft-space-owner", "-n", "made")
    assert rights["roleRef"]["name"] == "loft-cluster-space-admin"
    assert rights["subjects"][0]["name"] == "loft:user:anna"
    assert "yes" in bed.kubectl("auth", "can-i", "create", "configmaps", "-n", "made", **MAKER)
    shown = bed.kubectl("get", "spaces", **MAKER)
    assert shown.split()[:5] == ["NAME", "USER", "TEAM", "STATUS", "AGE"], shown
    assert "made" in shown
    got = bed.get("space", "made", **MAKER)
    assert got["spec"]["user"] == "anna"
    assert got["status"] == {"phase": "Active", "owner": {"user": {"name": "anna"}}}
    assert "loft.sh/space" not in got["metadata"].get("labels", {})


def test_who_is_not_the_owner_sees_and_changes_nothing(bed: Bed) -> None:
    bed.kubectl("create", "-f", "-", stdin=space("private"), **MAKER)
    stranger = {"user": "eve"}
    assert "private" not in bed.kubectl("get", "spaces", **stranger)
    for args in (
        ("get", "space", "private"),
        ("delete", "space", "private"),
        ("annotate", "space", "private", "a=b"),
    ):
        assert "NotFound" in bed.kubectl(*args, **stranger, ok=False)
    assert "forbidden" in bed.kubectl("create", "-f", "-", stdin=space("eves"), **stranger, ok=False)


def test_a_space_shared_by_a_role_binding_is_listed(bed: Bed) -> None:
    bed.kubectl("create", "-f", "-", stdin=space("shared"), **MAKER)
    bed.kubectl("create", "rolebinding", "guest", "--clusterrole=view", "--group=loft:team:guests", "-n", "shared")
    guest = {"user": "gil", "teams": ("guests",)}
    until = time.monotonic() + 5
    while "shared" not in (shown := bed.kubectl("get", "spaces", **guest)) and time.monotonic() < until:
        time.sleep(0.1)
    assert "shared" in shown
    assert bed.get("space", "shared", **guest)["spec"]["user"] == "anna"
    assert "forbidden" in bed.kubectl("delete", "space", "shared", **guest, ok=False)


def test_apply_diff_patch_edit_and_explain(bed: Bed) -> None:
    annotated = space("worked", annotations={"loft.sh/display-name": "One"})
    assert "created" in bed.kubectl("apply", "-f", "-", stdin=annotated, **MAKER)
    assert "unchanged" in bed.kubectl("apply", "-f", "-", stdin=annotated, **MAKER)
    changed = space("worked", annotations={"loft.sh/display-name": "Two"}, labels={"tier": "gold"})
    difference = bed.kubectl("diff", "-f", "-", stdin=changed, **MAKER)
    assert "+    loft.sh/display-name: Two" in difference
    assert "configured" in bed.kubectl("apply", "-f", "-", stdin=changed, **MAKER)
    assert bed.get("namespace", "worked")["metadata"]["labels"]["tier"] == "gold"
    assert bed.get("space", "worked", **MAKER)["spec"]["user"] == "anna"

    patch = '[{"op": "replace", "path": "/metadata/labels/tier", "value": "silver"}]'
    bed.kubectl("patch", "space", "worked", "--type=json", "-p", patch, **MAKER)
    bed.kubectl("patch", "space", "worked", "--type=merge", "-p", '{"metadata":{"labels":{"x":"y"}}}', **MAKER)
    labels = bed.get("space", "worked", **MAKER)["metadata"]["labels"]
    assert (labels["tier"], labels["x"]) == ("silver", "y")

    editor = {"KUBE_EDITOR": "sed -i s/silver/bronze/"}
    assert "edited" in bed.kubectl("edit", "space", "worked", **MAKER, env=editor)
    assert bed.get("space", "worked", **MAKER)["metadata"]["labels"]["tier"] == "bronze"

    text = bed.kubectl("explain", "space.spec.user", **MAKER)
    assert "Owner; the one who creates it" in text
    assert "FIELDS" in bed.kubectl("explain", "space", **MAKER)


def test_server_side_apply_keeps_field_managers_apart(bed: Bed) -> None:
    first = space("applied", labels={"a": "1"})
    arguments = ("apply", "--server-side", "-f", "-")
    assert "serverside-applied" in bed.kubectl(*arguments, stdin=first, **MAKER)
    again = bed.kubectl(*arguments, stdin=first, **MAKER)
    assert "serverside-applied" in again
    assert bed.get("space", "applied", **MAKER)["spec"]["user"] == "anna"
    clash = space("applied", labels={"a": "2"})
    refused = bed.kubectl(*arguments, "--field-manager=other", stdin=clash, **MAKER, ok=False)
    assert "conflict" in refused
    bed.kubectl(*arguments, "--field-manager=other", "--force-conflicts", stdin=clash, **MAKER)
    bed.kubectl(*arguments, stdin=space("applied"), **MAKER)
    shown = bed.get("space", "applied", "--show-managed-fields", **MAKER)
    assert shown["metadata"]["labels"]["a"] == "2"
    assert {"kubectl", "other"} <= {entry["manager"] for entry in shown["metadata"]["managedFields"]}
    assert all(entry["apiVersion"] == "cluster.loft.sh/v1" for entry in shown["metadata"]["managedFields"])
    rights = bed.get("rolebinding", "loft-space-owner", "-n", "applied")
    assert rights["subjects"][0]["name"] == "loft:user:anna"


def test_apply_does_not_take_over_a_namespace_that_is_no_space(bed: Bed) -> None:
    bed.kubectl("create", "namespace", "plain")
    text = bed.kubectl("apply", "--server-side", "-f", "-", stdin=space("plain"), **MAKER, ok=False)
    assert "choose another" in text
    text = bed.kubectl("create", "-f", "-", stdin=space("plain"), **MAKER, ok=False)
    assert "AlreadyExists" in text and "choose another" in text
    assert "loft.sh/space" not in bed.get("namespace", "plain")["metadata"]["labels"]
    assert "not found" in bed.kubectl("get", "space", "plain", ok=False)


def test_watch_shows_the_own_spaces_as_they_come_and_go(bed: Bed) -> None:
    watcher = subprocess.Popen(
        bed.command("get", "spaces", "-w", "--output-watch-events", **MAKER),
        executable=binary(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=bed.environment(),
    )
    try:
        time.sleep(1.5)
        bed.kubectl("create", "-f", "-", stdin=space("hidden-one"), user="bob", teams=("makers",))
        bed.kubectl("create", "-f", "-", stdin=space("coming"), **MAKER)
        bed.kubectl("label", "space", "coming", "seen=yes", **MAKER)
        share = ("create", "rolebinding", "for-anna", "--clusterrole=view", "--user=loft:user:anna")
        bed.kubectl(*share, "-n", "hidden-one")
        time.sleep(1)
        bed.kubectl("delete", "rolebinding", "for-anna", "-n", "hidden-one")
        bed.kubectl("delete", "space", "coming", **MAKER)
        time.sleep(1)
    finally:
        watcher.terminate()
        out, _ = watcher.communicate(timeout=10)
    events = [line.split()[:2] for line in out.splitlines()]
    assert ["ADDED", "coming"] in events, out
    assert ["MODIFIED", "coming"] in events
    assert ["DELETED", "coming"] in events
    # Another's space shows only from the moment it is shared until that ends.
    assert [event for event in events if event[1] == "hidden-one"] == [
        ["ADDED", "hidden-one"],
        ["DELETED", "hidden-one"],
    ], out


def test_wait_and_delete_with_namespace(bed: Bed) -> None:
    bed.kubectl("create", "-f", "-", stdin=space("ending"), **MAKER)
    bed.kubectl("wait", "--for=jsonpath={.status.phase}=Active", "space/ending", "--timeout=10s", **MAKER)
    bed.kubectl("create", "configmap", "in-it", "-n", "ending", **MAKER)
    # kubectl waits until it is gone: the namespace controller goes through our groups, too.
    bed.kubectl("delete", "space", "ending", "--timeout=40s", **MAKER)
    assert "NotFound" in bed.kubectl("get", "namespace", "ending", ok=False)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (space("kube-mine"), "kept for the system"),
        (space("loft"), "kept for the system"),
        (space("Upper"), "metadata.name"),
        (space("x" * 64), "metadata.name"),
        (space("labelled", labels={"pod-security.kubernetes.io/enforce": "privileged"}), "update all namespaces"),
        (space("referring", ownerReferences=[]).replace("[]", '[{"name": "x"}]'), "ownerReferences"),
        (
            '{"apiVersion":"cluster.loft.sh/v1","kind":"Space","metadata":{"name":"given"},"spec":{"user":"bob"}}',
            "verb assign",
        ),
        (
            '{"apiVersion":"cluster.loft.sh/v1","kind":"Space","metadata":{"name":"odd"},"spec":{"usr":"anna"}}',
            'unknown field "spec.usr"',
        ),
        (
            '{"apiVersion":"cluster.loft.sh/v1","kind":"Space","metadata":{"name":"odd"},"spec":{"user":7}}',
            "spec.user",
        ),
    ],
)
def test_bad_spaces_are_refused_with_what_is_wrong(bed: Bed, body: str, says: str) -> None:
    for verb in (("create",), ("apply", "--server-side")):
        assert says in bed.kubectl(*verb, "-f", "-", stdin=body, **MAKER, ok=False)


def test_an_owner_may_give_a_space_to_their_team_and_rights_follow(bed: Bed) -> None:
    bed.kubectl("create", "-f", "-", stdin=space("handed"), **MAKER)
    patch = '{"spec":{"user":null,"team":"makers"}}'
    bed.kubectl("patch", "space", "handed", "--type=merge", "-p", patch, **MAKER)
    rights = bed.get("rolebinding", "loft-space-owner", "-n", "handed")
    assert rights["subjects"][0]["name"] == "loft:team:makers"
    assert bed.get("space", "handed", user="bob", teams=("makers",))["spec"].get("team") == "makers"


def test_the_owners_rights_come_back_when_they_are_lost(bed: Bed) -> None:
    bed.kubectl("create", "-f", "-", stdin=space("robbed"), **MAKER)
    bed.kubectl("delete", "rolebinding", "loft-space-owner", "-n", "robbed")
    bed.kubectl("wait", "--for=create", "rolebinding/loft-space-owner", "-n", "robbed", "--timeout=10s")


def test_dry_run_stores_nothing(bed: Bed) -> None:
    for args in (("create",), ("apply",), ("apply", "--server-side")):
        bed.kubectl(*args, "--dry-run=server", "-f", "-", stdin=space("imagined"), **MAKER)
    assert "NotFound" in bed.kubectl("get", "namespace", "imagined", ok=False)


def test_selectors_chunks_and_versions_are_the_api_servers(bed: Bed) -> None:
    for number in range(3):
        bed.kubectl("create", "-f", "-", stdin=space(f"chunk-{number}", labels={"set": "chunks"}), **MAKER)
    names = bed.kubectl("get", "spaces", "-l", "set=chunks", "--chunk-size=1", "-o", "name", **MAKER).split()
    assert names == [f"space.cluster.loft.sh/chunk-{number}" for number in range(3)]
    one = bed.kubectl("get", "spaces", "--field-selector=metadata.name=chunk-1", "-o", "name", **MAKER)
    assert one.split() == ["space.cluster.loft.sh/chunk-1"]
    stale = json.loads(space("chunk-0", resourceVersion="1", labels={"set": "chunks"}))
    text = bed.kubectl("replace", "-f", "-", stdin=json.dumps(stale), **MAKER, ok=False)
    assert "Conflict" in text or "has been modified" in text


def test_virtual_clusters_are_those_of_the_own_spaces(bed: Bed) -> None:
    bed.kubectl("create", "-f", "-", stdin=space("vcs"), **MAKER)
    wish = {
        "apiVersion": "cluster.loft.sh/v1",
        "kind": "VirtualCluster",
        "metadata": {"name": "one", "namespace": "vcs"},
        "spec": {"helmRelease": {"values": "storage:\n  persistence: false\n"}},
    }
    bed.kubectl("apply", "-f", "-", stdin=json.dumps(wish), **MAKER)
    assert bed.get("virtualclusters.storage.loft.sh", "one", "-n", "vcs")["spec"] == wish["spec"]
    everywhere = ("get", "virtualclusters.cluster.loft.sh", "-A")
    assert "one" in bed.kubectl(*everywhere, **MAKER)
    assert "one" not in bed.kubectl(*everywhere, user="eve")
    assert "forbidden" in bed.kubectl("get", "virtualclusters.cluster.loft.sh", "-n", "vcs", user="eve", ok=False)
    wish["spec"] = {"access": {"rules": [{"clusterRole": "view"}]}}
    refused = bed.kubectl("apply", "-f", "-", stdin=json.dumps(wish), **MAKER, ok=False)
    assert "spec.access.rules[0]" in refused and "name at least one user or team" in refused
    bed.kubectl("delete", "virtualclusters.cluster.loft.sh", "one", "-n", "vcs", **MAKER)
    assert "NotFound" in bed.kubectl("get", "virtualclusters.storage.loft.sh", "one", "-n", "vcs", ok=False)


def test_environment_has_no_kubeconfig_of_ours(bed: Bed) -> None:
    """The tests must not reach any other cluster by accident."""
    assert "KUBECONFIG" not in bed.environment()
    assert bed.environment()["HOME"] != os.environ.get("HOME")
