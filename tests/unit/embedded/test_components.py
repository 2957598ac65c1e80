"""Processes and configuration of a cluster as functions of its layout."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from loft.embedded import certificates, components, configuration, daemon, preflight, prepare
from loft.embedded.layout import Layout
from loft.pki import authority
from loft.supervise.process import start_order


@pytest.fixture
def layout(tmp_path):
    return Layout(name="loft-cluster", index=0, state_dir=tmp_path, cache_dir=Path("/cache"))


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_api_server_starts_after_its_etcd_and_so_stops_before_it(layout):
    order = start_order(components.processes(layout))
    assert order.index("etcd") < order.index("kube-apiserver") < order.index("kubelet")


def test_nothing_listens_on_every_address(layout):
    words = [word for process in components.processes(layout) for word in process.argv]
    texts = [*words, *configuration.files(layout, "a2V5").values()]
    assert not [text for text in texts if "0.0.0.0:" in text or "=0.0.0.0" in text]
    assert f"--bind-address={layout.node_ip}" in words


def test_nobody_is_anonymous_but_for_health(layout):
    paths = [item["path"] for item in configuration.authentication()["anonymous"]["conditions"]]
    assert sorted(paths) == ["/healthz", "/livez", "/readyz"]


def test_a_named_cluster_runs_in_its_own_network(tmp_path):
    east = Layout(name="east", index=1, state_dir=tmp_path, cache_dir=Path("/cache"))
    for process in components.processes(east):
        assert process.argv[:3] == ("nsenter", "--net=/run/netns/loft-east", "--")


def test_configuration_files_can_be_read_by_their_readers(layout):
    for path, text in configuration.files(layout, "a2V5").items():
        if path.suffix in (".json", ".conflist"):
            assert json.loads(text)
    assert layout.pod_cidr in configuration.files(layout, "a2V5")[layout.config / "cni" / "10-loft.conflist"]


def test_certificates_are_made_once_and_verify(layout):
    made = certificates.ensure(layout, NOW)
    assert {item.name for item in certificates.wanted(layout)} | {"ca", "front-proxy-ca"} == set(made)
    assert certificates.ensure(layout, NOW) == []
    for certificate in certificates.wanted(layout):
        cert = (layout.pki / f"{certificate.name}.crt").read_bytes()
        assert authority.issued_by(cert, (layout.pki / f"{certificate.ca}.crt").read_bytes())
        assert (layout.pki / f"{certificate.name}.key").stat().st_mode & 0o077 == 0


def test_certificates_are_renewed_before_they_end_and_authorities_stay(layout):
    certificates.ensure(layout, NOW)
    ca = (layout.pki / "ca.crt").read_bytes()
    before = layout.kubeconfig.read_bytes()
    assert certificates.ensure(layout, NOW + timedelta(days=200)) == []
    assert set(certificates.ensure(layout, NOW + timedelta(days=300))) == {
        item.name for item in certificates.wanted(layout)
    }
    assert (layout.pki / "ca.crt").read_bytes() == ca
    assert layout.kubeconfig.read_bytes() != before


def test_authorities_are_renewed_with_the_key_they_have(layout):
    certificates.ensure(layout, NOW)
    key, old = ((layout.pki / f"ca.{end}").read_bytes() for end in ("key", "crt"))
    made = certificates.ensure(layout, NOW + timedelta(days=9 * 365))
    assert {"ca", "front-proxy-ca"} <= set(made)
    assert (layout.pki / "ca.key").read_bytes() == key
    assert authority.expires((layout.pki / "ca.crt").read_bytes()) > authority.expires(old)
    assert authority.issued_by((layout.pki / "apiserver.crt").read_bytes(), old)


def test_nothing_stored_is_a_member_of_system_masters(layout):
    certificates.ensure(layout, NOW)
    for certificate in certificates.wanted(layout):
        assert "system:masters" not in certificate.leaf.organizations
    user = yaml.safe_load(layout.kubeconfig.read_text())["users"][0]["user"]
    assert set(user) == {"client-certificate-data", "client-key-data"}


def test_the_first_binding_is_made_with_a_certificate_that_is_soon_over_and_never_stored(layout):
    certificates.ensure(layout, NOW)
    before = {path.name for path in layout.pki.iterdir()}
    endpoint = certificates.first_binding_endpoint(layout, NOW)
    assert authority.leaf_of(endpoint.client_cert).organizations == ("system:masters",)
    assert authority.expires(endpoint.client_cert) == NOW + timedelta(hours=1)
    assert {path.name for path in layout.pki.iterdir()} == before


def test_a_certificate_that_says_something_else_than_wanted_is_made_again(layout):
    certificates.ensure(layout, NOW)
    moved = Layout(name="loft-cluster", index=1, state_dir=layout.state_dir, cache_dir=layout.cache_dir)
    assert set(certificates.ensure(moved, NOW)) == {"apiserver", "kubelet", "controller-manager", "scheduler"}
    assert moved.api_url in moved.kubeconfig.read_text()


def test_a_kubeconfig_that_was_lost_is_written_again(layout):
    certificates.ensure(layout, NOW)
    text = layout.kubeconfig.read_bytes()
    layout.kubeconfig.unlink()
    assert certificates.ensure(layout, NOW) == []
    assert layout.kubeconfig.read_bytes() == text


def test_every_certificate_has_processes_that_are_started_again_or_is_the_administrators(layout):
    names = {item.name for item in certificates.wanted(layout)} | {"ca", "front-proxy-ca"}
    assert names == set(daemon.USERS_OF) | {"admin"}
    known = {process.name for process in components.processes(layout)}
    assert {name for users in daemon.USERS_OF.values() for name in users} <= known
    assert daemon.affected(["kubelet", "apiserver", "front-proxy-ca", "admin"]) == ["kube-apiserver", "kubelet"]


def test_a_half_written_certificate_is_made_again(layout):
    certificates.ensure(layout, NOW)
    (layout.pki / "scheduler.key").unlink()
    assert certificates.ensure(layout, NOW) == ["scheduler"]


def test_oom_scores_are_left_alone_only_where_they_cannot_be_lowered(layout):
    assert "restrict_oom_score_adj = false" in configuration.containerd(layout)
    assert "restrict_oom_score_adj = true" in configuration.containerd(layout, may_lower_oom_score=False)
    assert prepare.has_capability(24, "Name:\tx\nCapEff:\t000001ffffffffff\n")
    assert not prepare.has_capability(24, "Name:\tx\nCapEff:\t000001fffeffffff\n")
    assert not prepare.has_capability(24, "")


def test_pods_are_not_evicted_from_a_disk_that_was_good_enough_to_start(layout):
    gibibytes = int(configuration.EVICTION_DISK.removesuffix("Gi"))
    assert 2 * gibibytes * 1024**3 <= preflight.DISK_BYTES_MIN
