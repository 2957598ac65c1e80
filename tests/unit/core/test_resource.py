from __future__ import annotations

import pytest

from loft.core import resource
from loft.core.resource import CLUSTERROLES, DEPLOYMENTS, NODES, PODS, VIRTUALCLUSTERS, Resource, object_key, split_key


@pytest.mark.parametrize(
    ("of", "parts", "path"),
    [
        (PODS, (), "/api/v1/pods"),
        (PODS, ("a",), "/api/v1/namespaces/a/pods"),
        (PODS, ("a", "b"), "/api/v1/namespaces/a/pods/b"),
        (PODS, ("a", "b", "exec"), "/api/v1/namespaces/a/pods/b/exec"),
        (PODS, ("a", "b", "proxy/metrics"), "/api/v1/namespaces/a/pods/b/proxy/metrics"),
        (NODES, ("", "n"), "/api/v1/nodes/n"),
        (DEPLOYMENTS, ("a", "b", "scale"), "/apis/apps/v1/namespaces/a/deployments/b/scale"),
        (VIRTUALCLUSTERS, ("a", "b"), "/apis/storage.loft.sh/v1/namespaces/a/virtualclusters/b"),
        (CLUSTERROLES, ("", "system:node"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node"),
        (CLUSTERROLES, ("", "a b?c#d"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/a%20b%3Fc%23d"),
        (CLUSTERROLES, ("", "ä"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/%C3%A4"),
    ],
)
def test_paths(of: Resource, parts: tuple[str, ...], path: str) -> None:
    assert of.path(*parts) == path


@pytest.mark.parametrize(
    ("of", "parts"),
    [
        (PODS, ("a", "..")),
        (PODS, ("..", "b")),
        (PODS, ("a", ".")),
        (PODS, ("a", "b/../c")),
        (PODS, ("a", "b%2fc")),
        (PODS, ("a", "b\\c")),
        (PODS, ("a", "b\nc")),
        (PODS, ("a", "b\x00")),
        (PODS, ("a", "b" * 254)),
        (PODS, ("a", "b", "exec/..")),
        (PODS, ("a", "b", "exec//x")),
        (PODS, ("a", "", "exec")),
        (PODS, ("", "b")),
        (NODES, ("a", "b")),
        (NODES, ("a",)),
    ],
)
def test_what_cannot_be_a_path(of: Resource, parts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"name|namespace"):
        of.path(*parts)


def test_versions_and_names() -> None:
    assert (PODS.api_version, DEPLOYMENTS.api_version) == ("v1", "apps/v1")
    assert (PODS.group_resource, DEPLOYMENTS.group_resource) == ("pods", "deployments.apps")


def test_no_two_resources_have_the_same_path_or_kind() -> None:
    known = [value for value in vars(resource).values() if isinstance(value, Resource)]
    assert len({one.path() for one in known}) == len(known) > 30
    assert len({(one.api_version, one.kind) for one in known}) == len(known)


@pytest.mark.parametrize(
    ("metadata", "key"), [({"namespace": "a", "name": "b"}, "a/b"), ({"name": "b"}, "b"), ({"namespace": ""}, "")]
)
def test_keys(metadata: dict[str, str], key: str) -> None:
    assert object_key({"metadata": metadata}) == key
    assert split_key(key) == (metadata.get("namespace", ""), metadata.get("name", ""))


def test_the_key_of_what_is_no_object() -> None:
    assert object_key({}) == ""
    assert object_key({"metadata": None}) == ""
