"""Two virtual clusters of one release: one works on it, and a deletion leaves it to the other."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from loft.api.virtualcluster import VirtualCluster
from loft.core.action import Patch
from loft.tenancy.virtualcluster.plan import Observed, needs_release, plan
from loft.tenancy.virtualcluster.release import WARM, is_first, others, release_key, release_name
from loft.tenancy.virtualcluster.values import Facts, Refusal

FACTS = Facts(
    service_cidr="10.96.0.0/16",
    agent_namespace="loft",
    agent_service_account="loft-agent",
    chart_version="0.1.0",
    chart_digest="d1",
)


def made(name: str, uid: str, created: str, release: str = "", **metadata: Any) -> dict[str, Any]:
    own = {"name": name, "namespace": "space", "uid": uid, "creationTimestamp": f"2026-01-01T00:00:{created}Z"}
    spec = {"helmRelease": {"name": release}} if release else {}
    return {"metadata": own | {"finalizers": ["loft.sh/virtual-cluster"]} | metadata, "spec": spec}


def typed(obj: dict[str, Any]) -> VirtualCluster:
    return msgspec.convert(obj, VirtualCluster)


OLD = made("x7", "u1", "01")
NEW = made("dev", "u2", "02", "x7")
GOING = {"deletionTimestamp": "2026-01-01T00:00:09Z"}


def observed(obj: dict[str, Any], sharing: list[dict[str, Any]]) -> Observed:
    cluster = typed(obj)
    return Observed(
        virtual_cluster=cluster, is_shared=bool(others(cluster, sharing)), is_taken=not is_first(cluster, sharing)
    )


def test_the_release_has_the_name_of_the_virtual_cluster_unless_another_is_given() -> None:
    assert release_name(typed(OLD)) == "x7"
    assert release_name(typed(NEW)) == "x7"
    assert release_key(OLD) == release_key(NEW) == "space/x7"


@pytest.mark.parametrize("sharing", [[OLD, NEW], [NEW, OLD]])
def test_the_older_one_works_and_the_younger_waits(sharing: list[dict[str, Any]]) -> None:
    assert is_first(typed(OLD), sharing)
    decision = plan(observed(NEW, sharing), FACTS)
    assert isinstance(decision.wanted, Refusal)
    assert decision.wanted.reason == "ReleaseTaken"
    assert not decision.steps
    assert decision.again_s
    assert not needs_release(observed(NEW, sharing), FACTS)


def test_of_the_same_second_exactly_one_works() -> None:
    pair = [made("a", "u1", "01", "x"), made("b", "u2", "01", "x")]
    assert [is_first(typed(item), pair) for item in pair] == [True, False]


def test_a_warm_one_yields_to_who_claims_it() -> None:
    warm = made("x7", "u1", "01", labels={WARM: "true"})
    assert is_first(typed(NEW), [warm, NEW])


def test_a_deletion_leaves_the_release_to_the_other() -> None:
    going = made("x7", "u1", "01", **GOING)
    seen = observed(going, [going, NEW])
    assert not needs_release(seen, FACTS)
    (step,) = plan(seen, FACTS).steps
    assert isinstance(step, Patch)
    assert step.patch["metadata"]["finalizers"] is None


def test_the_last_one_removes_it() -> None:
    going = made("x7", "u1", "01", **GOING)
    also = made("dev", "u2", "02", "x7", **GOING)
    assert needs_release(observed(going, [going, also]), FACTS)
