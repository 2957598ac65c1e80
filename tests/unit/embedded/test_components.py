"""Processes and configuration of a cluster as functions of its layout."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from loft.embedded import certificates, components, configuration
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
    assert {item.name for item in certificates.wanted(layout)} == set(made)
    assert certificates.ensure(layout, NOW) == []
    for certificate in certificates.wanted(layout):
        cert = (layout.pki / f"{certificate.name}.crt").read_bytes()
        assert authority.issued_by(cert, (layout.pki / f"{certificate.ca}.crt").read_bytes())
        assert (layout.pki / f"{certificate.name}.key").stat().st_mode & 0o077 == 0


def test_certificates_are_renewed_before_they_end_and_authorities_stay(layout):
    certificates.ensure(layout, NOW)
    ca = (layout.pki / "ca.crt").read_bytes()
    assert certificates.ensure(layout, NOW + timedelta(days=200)) == []
    assert set(certificates.ensure(layout, NOW + timedelta(days=300))) == {
        item.name for item in certificates.wanted(layout)
    }
    assert (layout.pki / "ca.crt").read_bytes() == ca


def test_only_one_credential_is_in_system_masters_and_it_is_not_the_administrators(layout):
    masters = [item.name for item in certificates.wanted(layout) if "system:masters" in item.organizations]
    assert masters == ["super-admin"]
    certificates.ensure(layout, NOW)
    user = yaml.safe_load(layout.kubeconfig.read_text())["users"][0]["user"]
    assert set(user) == {"client-certificate-data", "client-key-data"}


def test_a_half_written_certificate_is_made_again(layout):
    certificates.ensure(layout, NOW)
    (layout.pki / "scheduler.key").unlink()
    assert certificates.ensure(layout, NOW) == ["scheduler"]
