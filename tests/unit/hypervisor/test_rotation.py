"""Authorities that are exchanged: when, in which steps, and that at no moment anybody is refused who should not be."""

import itertools
from datetime import timedelta

import pytest

from loft.hypervisor import keys, rotation
from loft.hypervisor.certificates import (
    AUTHORITIES,
    Place,
    client_pairs,
    component_files,
    missing_entries,
    new_authorities,
    trusted,
)
from loft.hypervisor.config import ConfigError, parse_config
from loft.hypervisor.rotation import State, Wish, after, contents, plan
from loft.pki.authority import expires, issued_by
from unit.hypervisor.test_certificates import NOW

OVERLAP = timedelta(hours=1)
WISH = Wish(overlap=OVERLAP)
DATA = new_authorities("dev", NOW, days=30)
NEWER = new_authorities("dev", NOW, days=30)
STABLE = State()
TRUSTING = State(phase="trusting", since=NOW.isoformat())
ISSUING = State(phase="issuing", since=NOW.isoformat())
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("state", "token", "now", "step"),
    [
        (STABLE, "", NOW, None),
        (STABLE, "", NOW + timedelta(days=19), None),
        (STABLE, "", NOW + timedelta(days=21), "introduce"),
        (STABLE, "a", NOW, "introduce"),
        (State(token="a"), "a", NOW, None),
        (State(token="a"), "b", NOW, "introduce"),
        (State(token="a"), "", NOW, None),
        (TRUSTING, "", NOW + OVERLAP - MINUTE, None),
        (TRUSTING, "", NOW + OVERLAP, "issue"),
        (TRUSTING, "another", NOW + OVERLAP, "issue"),
        (ISSUING, "", NOW + OVERLAP - MINUTE, None),
        (ISSUING, "", NOW + OVERLAP, "forget"),
    ],
)
def test_the_next_step(state, token, now, step):
    wish = Wish(token=token, overlap=OVERLAP)
    assert plan(state, DATA, wish, now, all_follow=True) == step
    assert plan(state, DATA, wish, now, all_follow=False) is None


def walk():
    """The states and contents of one rotation, from stable to stable."""
    state, data, now = STABLE, DATA, NOW
    wish = Wish(token="a", overlap=OVERLAP)
    found = [(state, data)]
    for _ in range(3):
        step = plan(state, data, wish, now, all_follow=True)
        data, state = contents(step, data, NEWER), after(step, state, wish, now)
        found.append((state, data))
        now += OVERLAP
    assert plan(state, data, wish, now, all_follow=True) is None
    return found


def test_a_rotation_ends_with_the_new_ones_only():
    states, contents_ = zip(*walk(), strict=True)
    assert [state.phase for state in states] == ["", "trusting", "issuing", ""]
    assert [state.token for state in states] == ["", "a", "a", "a"]
    assert len({state.mark for state in states}) == 4
    assert contents_[-1] == NEWER
    assert all(not missing_entries(data) for data in contents_)
    assert not [name for name in contents_[2] if name.startswith("old.") and name.endswith(".key")]


def test_whoever_is_one_step_behind_is_still_understood():
    """Replicas are started one after the other, and people have what they fetched in the step before."""
    found = [data for _, data in walk()]
    place = Place(name="dev", namespace="team", service_ip="10.96.0.9", pod_name="dev-0", pod_ip="10.0.0.1")
    pairs = (("ca", "kube-apiserver/server.crt"), ("etcd-ca", "etcd/peer.crt"))
    for before, then in itertools.pairwise(found):
        for one, other in ((before, then), (then, before)):
            issued = component_files(one, place, NOW)
            for authority, leaf in pairs:
                assert any(issued_by(issued[leaf], ca) for ca in split(trusted(other, f"{authority}.crt")))
            admin = client_pairs(one, NOW, 1).admin.cert
            assert any(issued_by(admin, ca) for ca in split(trusted(other, "ca.crt")))
            # Tokens: by whom they are signed, all accept.
            assert one["sa.pub"].strip() in trusted(other, "sa.pub")


def split(bundle):
    end = b"-----END CERTIFICATE-----\n"
    return [part + end for part in bundle.split(end) if part]


def test_files_hold_all_that_is_trusted():
    _, trusting = walk()[1]
    place = Place(name="dev", namespace="team", service_ip="10.96.0.9", pod_name="dev-0", pod_ip="10.0.0.1")
    files = component_files(trusting, place, NOW)
    for path, entry in (
        ("kube-apiserver/ca.crt", "ca.crt"),
        ("kube-apiserver/front-proxy-ca.crt", "front-proxy-ca.crt"),
        ("kube-apiserver/kubelet-ca.crt", "kubelet-ca.crt"),
        ("kube-apiserver/sa.pub", "sa.pub"),
        ("kube-controller-manager/ca.crt", "ca.crt"),
        ("etcd/ca.crt", "etcd-ca.crt"),
        ("hypervisor/ca.crt", "ca.crt"),
    ):
        assert files[path] == DATA[entry] + NEWER[entry], path
    assert files["kube-apiserver/sa.key"] == DATA["sa.key"]
    assert issued_by(files["kube-apiserver/server.crt"], DATA["ca.crt"])


def test_authorities_live_as_long_as_they_are_told():
    assert all(expires(DATA[f"{name}.crt"]) == NOW + timedelta(days=30) for name in AUTHORITIES)


def test_the_state_is_read_and_written():
    assert rotation.parse("") == STABLE
    assert STABLE.mark == ""
    with pytest.raises(ValueError, match=r"loft\.sh/rotation"):
        rotation.parse("{")
    with pytest.raises(ValueError, match=r"loft\.sh/rotation"):
        rotation.parse('{"phase": "else"}')


def stateful_set(mark="", **status):
    usual = {
        "observedGeneration": 4,
        "currentRevision": "r",
        "updateRevision": "r",
        "updatedReplicas": 3,
        "readyReplicas": 3,
    }
    annotations = {"loft.sh/keys": mark} if mark else {}
    return {
        "metadata": {"generation": 4},
        "spec": {"replicas": 3, "template": {"metadata": {"annotations": annotations}}},
        "status": usual | status,
    }


def test_all_follow_when_the_roll_out_is_over():
    assert keys.follows(stateful_set(), STABLE)
    assert keys.follows(stateful_set(TRUSTING.mark), TRUSTING)
    assert not keys.follows(stateful_set(), TRUSTING)
    assert not keys.follows(stateful_set(TRUSTING.mark), ISSUING)
    for status in (
        {"observedGeneration": 3},
        {"currentRevision": "older"},
        {"updatedReplicas": 2},
        {"readyReplicas": 2},
    ):
        assert not keys.follows(stateful_set(TRUSTING.mark, **status), TRUSTING)


def test_a_lifetime_too_short_for_its_overlap_is_refused():
    usual = '{"name": "dev", "namespace": "team", "serviceCidr": "10.96.0.0/16", '
    text = usual + '"overlapMinutes": %d, "authorityMinutes": %d}'
    assert parse_config((text % (10, 60)).encode()).authority_days == 60 / 1440
    with pytest.raises(ConfigError, match="at least 6 times overlapMinutes"):
        parse_config((text % (10, 59)).encode())
