"""Names people see, by example; that they are injective is a law."""

from __future__ import annotations

import pytest

from loft.hypervisor.core.names import Names, annotation_key, label_key


def test_a_plain_name_is_readable() -> None:
    assert Names("dev", "space").host("default", "web") == "web-x-default-x-dev"
    assert Names("dev", "space").host("kube-system", "kube-root-ca.crt") == "kube-root-ca.crt-x-kube-system-x-dev"


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("b", "a-x"),
        ("x-b", "a"),
        ("b-x-c", "a"),
        ("c", "a-x-b"),
        ("n" * 40, "m" * 40),
        ("default", "web-x-default-x-dev"),
    ],
)
def test_an_ambiguous_or_long_name_ends_in_a_digest(namespace: str, name: str) -> None:
    host = Names("dev", "space").host(namespace, name)
    assert host.startswith(name[:1]) and len(host) <= 63
    assert host.count("-x-") < 2


def test_two_virtual_clusters_never_share_a_name() -> None:
    assert Names("a", "s").host("n", "m") != Names("b", "s").host("n", "m")
    assert Names("a-x-b", "s").host("n", "m") != Names("b", "s").host("a", "m-x-n")


def test_internal_names_differ_from_names_of_tenant_objects() -> None:
    names = Names("dev", "space")
    assert names.internal("token", "u1") != names.internal("token", "u2")
    assert "-x-" not in names.internal("token", "u1")


def test_keys_of_labels_stay_readable() -> None:
    assert label_key("app") == "label.vcluster.loft.sh/app"
    assert label_key("example.org/app") != label_key("example.com/app")
    assert label_key("example.org/app").startswith("label.vcluster.loft.sh/app-x-")
    assert annotation_key("team") == "annotation.vcluster.loft.sh/team"
