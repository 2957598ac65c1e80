"""`spec.access` as RBAC objects."""

from typing import Any

from loft.api.virtualcluster import VirtualClusterAccess, VirtualClusterAccessRule
from loft.hypervisor.access import ACCESS_GROUP, access_objects


def bindings(access: VirtualClusterAccess) -> dict[str, tuple[str, list[str]]]:
    found: dict[str, tuple[str, list[str]]] = {}
    for obj in access_objects(access):
        if obj["kind"] == "ClusterRoleBinding":
            subjects: list[Any] = [subject["name"] for subject in obj["subjects"]]
            found[obj["metadata"]["name"]] = (obj["roleRef"]["name"], subjects)
    return found


def test_by_default_whoever_may_reach_it_is_cluster_admin() -> None:
    assert bindings(VirtualClusterAccess())["loft:virtualcluster:default"] == ("cluster-admin", [ACCESS_GROUP])


def test_rules_bind_users_and_teams_by_their_groups() -> None:
    rules = [
        VirtualClusterAccessRule(users=["ann"], teams=["ops"], cluster_role="edit"),
        VirtualClusterAccessRule(users=["*"], cluster_role="view"),
        VirtualClusterAccessRule(users=["bob"], cluster_role=""),
    ]
    found = bindings(VirtualClusterAccess(default_cluster_role="view", rules=rules))
    assert found["loft:virtualcluster:default"] == ("view", [ACCESS_GROUP])
    assert found["loft:virtualcluster:rule-0"] == ("edit", ["loft:user:ann", "loft:team:ops"])
    assert found["loft:virtualcluster:rule-1"] == ("view", [ACCESS_GROUP])
    assert "loft:virtualcluster:rule-2" not in found


def test_the_gateway_may_only_impersonate() -> None:
    role = next(obj for obj in access_objects(VirtualClusterAccess()) if obj["kind"] == "ClusterRole")
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"impersonate"}
    assert {name for rule in role["rules"] for name in rule["resources"]} == {"users", "groups", "uids", "userextras/*"}
