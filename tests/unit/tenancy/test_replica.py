"""The copy of users and keys at an agent: deltas, boxes, lease; and the guards of connecting a cluster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from loft.api.accesskey import AccessKey, AccessKeySpec
from loft.api.meta import ObjectMeta
from loft.api.user import User, UserSpec
from loft.identity.replica import Replica
from loft.tenancy.cluster.plan import Refused, check_server, service_endpoint
from loft.tenancy.replica.sealed import SealError, open_boxes, seal_lease, seal_replica, why_not_usable
from loft.tenancy.replica.wire import Delta, Heartbeat, Snapshot, applied, decode, difference, encode

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = bytes(32)


def user(name: str, **spec: object) -> User:
    return User(metadata=ObjectMeta(name=name, uid=name), spec=UserSpec(**spec))  # type: ignore[arg-type]


def key(name: str) -> AccessKey:
    return AccessKey(metadata=ObjectMeta(name=name), spec=AccessKeySpec(user="a", key_hash="0" * 64))


OLD = Replica(users=[user("a"), user("b")], keys=[key("k1"), key("k2")], revision="1", lease_s=60)
NEW = Replica(users=[user("a", disabled=True), user("c")], keys=[key("k2")], revision="2", lease_s=60)


def test_a_delta_leads_from_one_state_to_the_next() -> None:
    delta = difference(OLD, NEW)
    assert isinstance(delta, Delta)
    assert delta.removed_users == ["b"] and delta.removed_keys == ["k1"]
    sent = decode(encode(delta))
    assert isinstance(sent, Delta) and applied(OLD, sent) == NEW


def test_equal_states_need_no_word_and_a_new_signing_key_all_of_it() -> None:
    assert difference(OLD, OLD) is None
    turned = Replica(users=OLD.users, keys=OLD.keys, revision="3", lease_s=60, signing_public_key="x")
    assert difference(OLD, turned) == Snapshot(replica=turned)
    assert decode(encode(Heartbeat(revision="1"))) == Heartbeat(revision="1")


def test_boxes_open_with_their_key_and_cluster_only() -> None:
    replica, lease = seal_replica(OLD, "east", KEY, bytes(12)), seal_lease(NOW, "1", "east", KEY, b"1" * 12)
    assert open_boxes(replica, lease, "east", KEY).replica == OLD
    for wrong in ((replica, lease, "west", KEY), (replica, lease, "east", b"1" * 32), (lease, replica, "east", KEY)):
        with pytest.raises(SealError):
            open_boxes(*wrong)
    with pytest.raises(SealError, match="another revision"):
        open_boxes(replica, seal_lease(NOW, "0", "east", KEY, b"2" * 12), "east", KEY)


def test_the_lease_decides_whether_a_copy_is_used() -> None:
    box = open_boxes(
        seal_replica(OLD, "east", KEY, bytes(12)), seal_lease(NOW, "1", "east", KEY, b"1" * 12), "east", KEY
    )
    assert why_not_usable(box, NOW + timedelta(seconds=59)) == ""
    assert "ended" in why_not_usable(box, NOW + timedelta(seconds=60))
    assert "clock" in why_not_usable(box, NOW - timedelta(minutes=6))


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("https://x", "127.0.0.1"),
        ("https://x", "::1"),
        ("https://x", "::ffff:127.0.0.1"),
        ("https://x", "169.254.169.254"),
        ("https://x", "fe80::1"),
        ("https://x", "0.0.0.0"),
        ("http://x", "10.0.0.1"),
    ],
)
def test_a_kubeconfig_must_not_lead_to_this_machine_or_to_metadata(server: str, address: str) -> None:
    with pytest.raises(Refused):
        check_server(server, [address])


def test_a_kubeconfig_may_lead_to_a_cluster() -> None:
    check_server("https://x:6443", ["10.201.16.1", "2001:db8::1"])


def test_the_agents_address_follows_from_its_service() -> None:
    ports = [{"name": "central", "port": 10444, "nodePort": 30444}]
    assert service_endpoint({"spec": {"type": "NodePort", "ports": ports}}, "10.0.0.1") == "10.0.0.1:30444"
    balanced = {
        "spec": {"type": "LoadBalancer", "ports": ports},
        "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}},
    }
    assert service_endpoint(balanced, "10.0.0.1") == "1.2.3.4:10444"
    assert service_endpoint({"spec": {"type": "ClusterIP", "ports": ports}}, "10.0.0.1") == ""
