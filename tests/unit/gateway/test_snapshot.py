"""Envoy's configuration, compared with files that are read in review; `LOFT_REWRITE=1` writes them anew."""

import os
from pathlib import Path

import msgspec
import pytest

from loft.gateway.envoy import listeners, upstreams
from loft.gateway.envoy.bootstrap import bootstrap
from loft.gateway.envoy.proto import CLUSTER, LISTENER, SECRET
from loft.gateway.resources import encode
from loft.gateway.settings import ApiServerRoute, ClusterRoute, GatewaySettings, VirtualClusterRoute
from loft.pki.authority import KeyPair

GOLDEN = Path(__file__).parents[2] / "golden" / "gateway"
PAIR = KeyPair(cert=b"CERTIFICATE", key=b"KEY")
AGENT = GatewaySettings(role="agent", directory=Path("/run/loft/gateway"), cluster="east")
CENTRE = GatewaySettings(role="centre", directory=Path("/run/loft/gateway"), audit_log=Path("/var/log/loft/audit.log"))
VIRTUAL = VirtualClusterRoute(namespace="ns", name="vc", address="10.96.0.7:443", ca=b"CA", client=PAIR)
CLUSTER_ROUTE = ClusterRoute(name="east", endpoint="loft-agent.loft.svc:10444", ca=b"CA", client=PAIR)

CASES = {
    "people-centre": lambda: listeners.people(CENTRE),
    "plain-agent-behind-an-ingress": lambda: listeners.plain(msgspec.structs.replace(AGENT, trusted_proxy_hops=1)),
    "people-agent": lambda: listeners.people(AGENT),
    "centre-agent": lambda: listeners.centre(AGENT),
    "upstream-cluster": lambda: upstreams.agent(CLUSTER_ROUTE),
    "upstream-virtual-cluster": lambda: upstreams.virtual_cluster(VIRTUAL),
    "upstream-api-server": lambda: upstreams.api_server(ApiServerRoute(address="10.96.0.1:443", ca=b"CA")),
    "upstream-management": lambda: upstreams.management(
        ApiServerRoute(address="127.0.0.1:8443", ca=b"CA", client=PAIR, server_name="localhost")
    ),
    "upstream-platform": lambda: upstreams.platform("/run/loft/platform.sock"),
    "secret-token": lambda: upstreams.token_secret("token"),
}


def text_of(value):
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1).decode() + "\n"


def named(resources):
    return {f"{kind.rpartition('.')[2]} {name}": body for (kind, name), body in resources.items()}


def compare(name, value):
    path = GOLDEN / f"{name}.json"
    if os.environ.get("LOFT_REWRITE"):
        path.write_text(text_of(value))
    assert text_of(value) == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_configuration_is_as_reviewed(name):
    compare(name, named(CASES[name]()))


@pytest.mark.parametrize("settings", [AGENT, CENTRE], ids=["agent", "centre"])
def test_bootstrap_is_as_reviewed(settings):
    compare(f"bootstrap-{settings.role}", bootstrap(settings))


@pytest.mark.parametrize("name", CASES)
def test_envoys_types_take_it(name):
    for (kind, _), body in CASES[name]().items():
        assert encode(kind, body) == encode(kind, body)


def test_both_roles_have_the_same_filters_in_the_same_order():
    def filters(resources):
        (listener,) = resources.values()
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        return [entry["name"].rpartition(".")[2] for entry in manager["http_filters"]]

    every = [listeners.people(CENTRE), listeners.plain(CENTRE), listeners.people(AGENT), listeners.centre(AGENT)]
    assert [filters(one) for one in every] == [["ext_authz", "lua", "rbac", "router"]] * 4


def test_no_listener_without_a_port_and_no_upstream_without_an_address():
    assert listeners.plain(msgspec.structs.replace(AGENT, plain_port=0)) == {}
    assert upstreams.agent(ClusterRoute(name="east", endpoint="")) == {}


def every_cluster():
    made = [CASES[name]() for name in CASES if name.startswith("upstream-") and name != "upstream-platform"]
    return [body for resources in made for (kind, _), body in resources.items() if kind == CLUSTER]


def test_every_upstream_over_a_network_is_verified_by_authority_and_name():
    for cluster in every_cluster():
        context = cluster["transport_socket"]["typed_config"]["common_tls_context"]["combined_validation_context"]
        assert context["validation_context_sds_secret_config"]["name"].startswith("ca/")
        (name,) = context["default_validation_context"]["match_typed_subject_alt_names"]
        assert name["matcher"]["exact"]


def test_every_upgrade_twin_is_http1_with_one_request_for_a_connection():
    twins = [cluster for cluster in every_cluster() if cluster["name"].endswith(":upgrade")]
    assert len(twins) == 4
    for cluster in twins:
        (options,) = cluster["typed_extension_protocol_options"].values()
        assert options["explicit_http_config"] == {"http_protocol_options": {}}
        assert options["common_http_protocol_options"] == {"max_requests_per_connection": 1}


@pytest.mark.parametrize(
    "make",
    [
        lambda: upstreams.agent(ClusterRoute(name="a", endpoint="host", ca=b"CA")),
        lambda: upstreams.agent(ClusterRoute(name="a", endpoint="host:99999", ca=b"CA")),
        lambda: upstreams.agent(ClusterRoute(name="a", endpoint="host:1")),
        lambda: upstreams.token_secret(""),
        lambda: upstreams.token_secret("a\nb"),
    ],
    ids=["no port", "bad port", "no authority", "no token", "token of two lines"],
)
def test_what_cannot_be_built_is_refused(make):
    with pytest.raises(ValueError):
        make()


def test_types_are_what_the_control_plane_serves():
    kinds = {kind for name in CASES for kind, _ in CASES[name]()}
    assert kinds == {CLUSTER, LISTENER, SECRET}
