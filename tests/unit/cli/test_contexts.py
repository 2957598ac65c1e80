"""Names, servers and credentials of contexts."""

import pytest

from loft.cli import contexts, kubeconfig
from loft.cli.commands.vars_cluster import cluster_of
from loft.cli.state import State


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return State(str(tmp_path / "config.json"), {"host": "https://centre.example/", "accesskey": "k"})


def cluster(**annotations):
    return {"metadata": {"name": "east", "annotations": annotations}}


def test_names():
    assert contexts.cluster_context_name("c") == "loft_c"
    assert contexts.space_context_name("s", "c") == "loft_s_c"
    assert contexts.virtual_cluster_context_name("v", "s", "c") == "loft-vcluster_v_s_c"


@pytest.mark.parametrize(
    ("name", "found"),
    [("loft_c", "c"), ("loft_s_c", "c"), ("loft-vcluster_v_s_c", "c"), ("prod", ""), ("", ""), ("loft-management", "")],
)
def test_the_cluster_is_read_back_from_a_context_name(name, found):
    assert cluster_of(name) == found


def test_through_the_centre(state):
    access = contexts.access_to(cluster(), state, no_direct=False)
    assert contexts.cluster_server(access) == "https://centre.example/kubernetes/cluster/east"
    assert (
        contexts.virtual_cluster_server(access, "s", "v") == "https://centre.example/kubernetes/virtualcluster/east/s/v"
    )


def test_a_direct_endpoint_is_preferred_and_knows_no_cluster_name(state):
    annotated = cluster(
        **{"loft.sh/direct-cluster-endpoint": "e.example:7443", "loft.sh/direct-cluster-endpoint-ca-data": "Q0E="}
    )
    access = contexts.access_to(annotated, state, no_direct=False)
    assert contexts.cluster_server(access) == "https://e.example:7443/kubernetes/cluster"
    assert contexts.virtual_cluster_server(access, "s", "v") == "https://e.example:7443/kubernetes/virtualcluster/s/v"
    document = kubeconfig.empty()
    contexts.apply(document, contexts.Context("n", contexts.cluster_server(access), "", access), "/bin/loft", "/c.json")
    assert document["clusters"][0]["cluster"]["certificate-authority-data"] == "Q0E="
    arguments = document["users"][0]["user"]["exec"]["args"]
    assert arguments == ["token", "--silent", "--config", "/c.json", "--direct-cluster-endpoint", "--cluster", "east"]


def test_an_insecure_direct_endpoint_skips_verification_and_carries_no_authority(state):
    annotated = cluster(
        **{"loft.sh/direct-cluster-endpoint": "https://e.example/", "loft.sh/direct-cluster-endpoint-insecure": "true"}
    )
    access = contexts.access_to(annotated, state, no_direct=False)
    document = kubeconfig.empty()
    contexts.apply(document, contexts.Context("n", contexts.cluster_server(access), "", access), "/bin/loft", "/c.json")
    assert document["clusters"][0]["cluster"]["insecure-skip-tls-verify"] is True
    assert document["clusters"][0]["cluster"]["server"] == "https://e.example/kubernetes/cluster"


def test_the_direct_endpoint_can_be_turned_off(state):
    annotated = cluster(**{"loft.sh/direct-cluster-endpoint": "e.example"})
    assert not contexts.access_to(annotated, state, no_direct=True).direct


def test_forgetting_the_current_context_goes_back_to_the_one_before(state):
    kubeconfig.edit(
        lambda document: document.update({"contexts": [{"name": "prod", "context": {}}], "current-context": "prod"}),
        name="prod",
        sets_current=True,
    )
    access = contexts.access_to(cluster(), state, no_direct=False)
    for name in ("loft_east", "loft_s_east"):
        contexts.save(contexts.Context(name, "https://x", "", access), state, switch=True)
    assert contexts.forget("loft_s_east", state)
    assert kubeconfig.current_context() == "prod"
    assert not contexts.forget("loft_s_east", state)


def test_forgetting_another_context_leaves_the_current_one(state):
    access = contexts.access_to(cluster(), state, no_direct=False)
    contexts.save(contexts.Context("loft_a", "https://x", "", access), state, switch=True)
    contexts.save(contexts.Context("loft_b", "https://x", "", access), state, switch=True)
    contexts.forget("loft_a", state)
    assert kubeconfig.current_context() == "loft_b"
