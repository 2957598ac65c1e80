"""Claims of warm virtual clusters, by real kubectl: one owner each, and nothing for those who may create no space."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from integration.apiserver.bed import Bed

pytestmark = pytest.mark.integration

MAKER = {"user": "anna", "teams": ("makers",)}
WARM = {"loft.sh/warm": "true"}


def warm(bed: Bed, name: str) -> None:
    """Make what the agent's pool makes, and say that it serves."""
    space = f"vcluster-{name}"
    bed.kubectl("create", "-f", "-", stdin=json.dumps(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space, "labels": WARM}}
    ))  # fmt: skip
    kind = {"apiVersion": "storage.loft.sh/v1", "kind": "VirtualCluster"}
    metadata = {"name": name, "namespace": space, "labels": WARM}
    bed.kubectl("create", "-f", "-", stdin=json.dumps(kind | {"metadata": metadata, "spec": {}}))
    status = json.dumps({"status": {"phase": "Deployed", "controlPlaneReady": True}})
    bed.kubectl(
        "patch",
        "virtualclusters.storage.loft.sh",
        name,
        "-n",
        space,
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    )
    time.sleep(0.5)  # a claim looks into a cache


def claim(name: str, **spec: str) -> str:
    body = {"apiVersion": "cluster.loft.sh/v1", "kind": "VirtualClusterClaim", "metadata": {}}
    return json.dumps(body | {"spec": {"virtualCluster": name} | spec})


RAW = ("create", "--raw", "/apis/cluster.loft.sh/v1/virtualclusterclaims", "-f", "-")


def test_a_claimed_virtual_cluster_is_its_owners_under_the_wished_name(bed: Bed) -> None:
    warm(bed, "xbcd")
    answer = bed.kubectl(*RAW, stdin=claim("dev", displayName="Dev"), **MAKER)
    assert json.loads(answer)["status"] == {"space": "vcluster-xbcd"}
    namespace = bed.get("namespace", "vcluster-xbcd")["metadata"]
    assert "loft.sh/warm" not in namespace["labels"]
    assert namespace["labels"]["loft.sh/space"] == "true"
    assert namespace["annotations"]["loft.sh/owner-user"] == "anna"
    made = bed.get("virtualclusters.storage.loft.sh", "dev", "-n", "vcluster-xbcd")
    assert made["spec"]["helmRelease"]["name"] == "xbcd"
    assert made["metadata"]["annotations"]["loft.sh/display-name"] == "Dev"
    assert "NotFound" in bed.kubectl("get", "virtualclusters.storage.loft.sh", "xbcd", "-n", "vcluster-xbcd", ok=False)
    assert "dev" in bed.kubectl("get", "virtualclusters.cluster.loft.sh", "-n", "vcluster-xbcd", **MAKER)
    assert "vcluster-xbcd" in bed.kubectl("get", "spaces", **MAKER)


def test_nobody_gets_what_another_has_claimed(bed: Bed) -> None:
    for name in ("xone", "xtwo"):
        warm(bed, name)

    def take(number: int) -> str:
        try:
            return bed.kubectl(*RAW, stdin=claim(f"race{number}"), **MAKER)
        except AssertionError as refused:
            return str(refused)

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(take, range(4)))
    spaces = sorted(json.loads(text)["status"]["space"] for text in said if text.startswith("{"))
    assert spaces == ["vcluster-xone", "vcluster-xtwo"]
    assert sum("not found" in text for text in said) == 2


def test_who_may_create_no_space_may_claim_none(bed: Bed) -> None:
    warm(bed, "xkept")
    assert "forbidden" in bed.kubectl(*RAW, stdin=claim("dev"), ok=False, user="eve").lower()
    for bad, named in (
        (claim("Dev_1"), "spec.virtualCluster"),
        (claim("a.b"), "spec.virtualCluster"),
        (claim(""), "spec.virtualCluster"),
        (claim("dev", user="anna", team="makers"), "set user or team, not both"),
        (claim("dev", user="bob"), "the verb assign on spaces"),
    ):
        assert named in bed.kubectl(*RAW, stdin=bad, ok=False, **MAKER)
    assert bed.get("namespace", "vcluster-xkept")["metadata"]["labels"]["loft.sh/warm"] == "true"


def test_a_dry_run_claims_nothing(bed: Bed) -> None:
    if not bed.kubectl("get", "namespaces", "-l", "loft.sh/warm=true", "-o", "name").strip():
        warm(bed, "xdry")
    bed.kubectl("create", "--raw", f"{RAW[2]}?dryRun=All", "-f", "-", stdin=claim("dev"), **MAKER)
    assert bed.kubectl("get", "namespaces", "-l", "loft.sh/warm=true", "-o", "name").strip()
    assert "dev" not in bed.kubectl("get", "virtualclusters.storage.loft.sh", "-A", "-l", "loft.sh/warm")


def test_the_release_of_a_virtual_cluster_cannot_change(bed: Bed) -> None:
    bed.kubectl("create", "namespace", "releases")
    kind = {"apiVersion": "storage.loft.sh/v1", "kind": "VirtualCluster"}
    for name, spec in (("own", {}), ("other", {"helmRelease": {"name": "x7"}})):
        body = kind | {"metadata": {"name": name, "namespace": "releases"}, "spec": spec}
        bed.kubectl("create", "-f", "-", stdin=json.dumps(body))
        patch = json.dumps({"spec": {"helmRelease": {"name": "evil"}}})
        said = bed.kubectl(
            "patch", "virtualclusters.storage.loft.sh", name, "-n", "releases", "--type=merge", "-p", patch, ok=False
        )
        assert "the name of a release cannot change" in said
