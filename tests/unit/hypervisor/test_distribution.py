"""A control plane of another make: what is taken of its kubeconfig, and what is asked of its signers."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from loft.hypervisor.config import Config, ConfigError, parse_config
from loft.hypervisor.distribution import (
    NODE_USER,
    Distribution,
    access_review,
    admin_endpoint,
    approved,
    lacking,
    signing_request,
)
from loft.hypervisor.distribution_run import _read
from loft.hypervisor.kinds.node import virtual_node
from loft.hypervisor.replica import Places
from loft.hypervisor.settings import Settings
from loft.kube.config import ConfigError as KubeConfigError
from loft.pki.authority import issue, new_authority
from loft.pki.request import new_request

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SERVER = "https://127.0.0.1:6443"


def kubeconfig(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> bytes:
    data = base64.b64encode(b"pem").decode()
    where = {"server": "https://elsewhere.example:6443", "certificate-authority-data": data}
    who = {"client-certificate-data": data, "client-key-data": data}
    return json.dumps(
        {
            "clusters": [{"name": "c", "cluster": where if cluster is None else cluster}],
            "users": [{"name": "u", "user": who if user is None else user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    ).encode()


def test_authority_and_credential_are_taken_and_nothing_else() -> None:
    found = admin_endpoint(kubeconfig(), SERVER)
    assert (found.server, found.ca_data, found.client_cert, found.client_key) == (SERVER, b"pem", b"pem", b"pem")
    assert admin_endpoint(kubeconfig(user={"token": "t"}), SERVER).token == "t"


HOST_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        (None, {"tokenFile": HOST_TOKEN}),
        (None, {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh"}}),
        (None, {"client-certificate": HOST_TOKEN, "client-key": HOST_TOKEN}),
        (None, {"token": "t", "as": "system:admin"}),
        (None, {}),
        ({"server": SERVER, "certificate-authority": HOST_TOKEN}, {"token": "t"}),
        ({"server": SERVER}, {"token": "t"}),
        ({"server": SERVER, "insecure-skip-tls-verify": True}, {"token": "t"}),
        ({"server": SERVER, "certificate-authority-data": "cGVt", "proxy-url": "http://a:1"}, {"token": "t"}),
    ],
)
def test_a_kubeconfig_that_would_use_our_files_programs_or_ways_is_refused(cluster: Any, user: Any) -> None:
    with pytest.raises(KubeConfigError):
        admin_endpoint(kubeconfig(cluster, user), SERVER)


CONFIG = Config(
    name="dev", namespace="team", service_cidr="10.96.0.0/16", distribution=Distribution(kubeconfig="admin.conf")
)


def test_only_a_plain_file_is_read(tmp_path: Path) -> None:
    places = Places(distribution=tmp_path, api_server=SERVER)
    with pytest.raises(FileNotFoundError):
        _read(CONFIG, places)
    file = tmp_path / "admin.conf"
    os.mkfifo(file)
    with pytest.raises(OSError, match="no plain file"):
        _read(CONFIG, places)
    file.unlink()
    (tmp_path / "real").write_bytes(kubeconfig())
    file.symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match="symbolic"):
        _read(CONFIG, places)
    file.unlink()
    file.write_bytes(kubeconfig())
    assert _read(CONFIG, places).server == SERVER


def test_a_signer_is_asked_as_it_wants_to_be() -> None:
    _, request = new_request(NODE_USER, organizations=("system:nodes",), ips=("10.1.0.7",))
    body = signing_request("kubernetes.io/kubelet-serving", request, 0.05)
    assert body["spec"]["expirationSeconds"] == 600
    assert body["spec"]["usages"] == ["digital signature", "server auth"]
    asked = x509.load_pem_x509_csr(base64.b64decode(body["spec"]["request"]))
    assert [item.value for item in asked.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["system:nodes"]
    names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.1.0.7"]
    (condition,) = approved(body, "2026-01-01T00:00:00Z")["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Approved", "True")
    assert "status" not in body
    client = signing_request("kubernetes.io/kube-apiserver-client", request, 24)
    assert (client["spec"]["usages"][1], client["spec"]["expirationSeconds"]) == ("client auth", 86400)


def test_a_caller_of_the_kubelet_api_is_asked_about_as_every_client() -> None:
    spec = access_review("ann", ["dev"])["spec"]
    assert (spec["user"], spec["groups"]) == ("ann", ["dev", "system:authenticated"])
    assert spec["resourceAttributes"]["subresource"] == "proxy"


def test_names_that_a_certificate_lacks_are_told() -> None:
    pair = issue(
        new_authority("a", NOW), common_name="s", dns=("v1.team.svc",), ips=("10.96.0.9",), usage="server", now=NOW
    )
    assert not lacking(pair.cert, ["v1.team.svc"], ["10.96.0.9"])
    assert lacking(pair.cert, ["v1.team.svc", "v2.team.svc"], ["10.96.0.1"]) == ["v2.team.svc", "10.96.0.1"]
    client = issue(new_authority("a", NOW), common_name="s", usage="client", now=NOW)
    assert lacking(client.cert, ["v1"], []) == ["v1"]


def test_all_nodes_are_where_the_hypervisor_listens() -> None:
    settings = Settings(name="dev", host_namespace="team", node_address="10.1.0.7")
    node = virtual_node("node-a", None, "192.0.2.1", settings)
    assert node["status"]["addresses"] == [{"type": "InternalIP", "address": "10.1.0.7"}]


LEAST = '{"name":"dev","namespace":"team","serviceCidr":"10.96.0.0/16","distribution":{"kubeconfig":'


@pytest.mark.parametrize(
    "text",
    [
        LEAST + '"admin.conf"}}',
        LEAST + '"admin.conf"},"metrics":false}',
        LEAST + '"admin.conf"},"metrics":false,"storeIsOurs":false,"replicas":3}',
        LEAST + '"../token"},"metrics":false,"storeIsOurs":false}',
    ],
)
def test_what_a_distribution_cannot_have_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="distribution"):
        parse_config(text.encode())
