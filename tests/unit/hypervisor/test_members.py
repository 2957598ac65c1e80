"""How a replica begins, who is taken into the store's cluster and let go, and that it always ends well."""

import random

import pytest

from loft.hypervisor import external, growth, members
from loft.hypervisor.config import Config, ConfigError, for_this_pod
from loft.hypervisor.members import Add, Join, Lost, Member, Promote, Remove, Wait, beginning, plan

WANTED = {f"dev-{number}": f"https://dev-{number}:2380" for number in range(3)}


def member(number, *, started=True, learner=False, identity=0):
    return Member(
        id=identity or number + 1, peer_urls=(f"https://dev-{number}:2380",), has_started=started, is_learner=learner
    )


ALL = (member(0), member(1), member(2))


def test_peers_are_the_pods_of_the_stateful_set():
    config = Config(name="dev", namespace="team", service_cidr="10.96.0.0/16", replicas=3)
    assert list(members.peers(config)) == ["dev-0", "dev-1", "dev-2"]
    assert members.peers(config)["dev-1"] == "https://dev-1.dev-headless.team.svc:2380"


def test_both_ways_in_which_etcd_lists_members_are_read():
    by_gateway = b'{"members": [{"ID": "12", "name": "a", "peerURLs": ["u"], "clientURLs": ["c"]}, {"ID": "3", "peerURLs": ["v"], "isLearner": true}]}'  # noqa: E501
    by_peer = b'[{"id": 12, "name": "a", "peerURLs": ["u"], "clientURLs": ["c"]}, {"id": 3, "peerURLs": ["v"], "isLearner": true}]'  # noqa: E501
    found = members.parse(by_gateway)
    assert found == members.parse(by_peer)
    assert found == (
        Member(id=12, peer_urls=("u",), has_started=True),
        Member(id=3, peer_urls=("v",), has_started=False, is_learner=True),
    )


@pytest.mark.parametrize("answer", [b"", b"{}", b"[1]", b'[{"id": 1}]', b'{"members": null}', b'"text"'])
def test_what_is_no_list_of_members_is_an_error(answer):
    with pytest.raises(ValueError, match="no list of members"):
        members.parse(answer)


@pytest.mark.parametrize(
    ("known", "empty", "kind", "text"),
    [
        # Growth: it is not yet known, then taken in.
        ((member(0),), {"dev-1"}, Wait, "to be taken into"),
        ((member(0), member(1, started=False, learner=True)), {"dev-1"}, Join, ""),
        # Never begun, though from the first list.
        ((member(0), member(1, started=False), member(2)), {"dev-1"}, Join, ""),
        # Its volume is lost.
        (ALL, {"dev-1"}, Wait, "anew"),
        ((member(0), member(2)), {"dev-1"}, Wait, "to be taken into"),
        ((member(0), member(2), member(1, started=False, learner=True)), {"dev-1"}, Join, ""),
        # A learner that has lost what it had is let go as well.
        ((member(0), member(1, learner=True)), {"dev-1"}, Wait, "anew"),
        # No majority is left.
        (ALL, {"dev-1", "dev-2"}, Lost, "QuorumLost: the volumes of 2 of 3 members"),
        ((member(0), member(1)), {"dev-1"}, Lost, "QuorumLost: the volumes of 1 of 2 members"),
        (None, {"dev-1", "dev-0"}, Wait, "that has data"),
        (None, {"dev-0", "dev-1", "dev-2"}, Lost, "StoreLost: the store's volumes of all 3"),
    ],
)
def test_how_a_replica_without_data_begins(known, empty, kind, text):
    found = beginning("dev-1", WANTED, known, empty)
    assert isinstance(found, kind)
    said = {Wait: lambda: found.why, Lost: lambda: found.problem, Join: lambda: ""}[kind]()
    assert text in said
    if kind is Lost:
        assert "restore a snapshot" in said


def test_the_only_replica_that_has_lost_its_volume_does_not_begin_with_nothing():
    found = beginning("dev-0", {"dev-0": WANTED["dev-0"]}, None, {"dev-0"})
    assert isinstance(found, Lost)


def test_who_joins_names_all_members():
    known = (member(0), member(1, started=False, learner=True))
    assert beginning("dev-1", WANTED, known, {"dev-1"}) == Join("dev-0=https://dev-0:2380,dev-1=https://dev-1:2380")


@pytest.mark.parametrize(
    ("known", "empty", "change"),
    [
        (ALL, set(), None),
        ((member(0),), set(), None),
        ((member(0),), {"dev-1", "dev-2"}, Add(WANTED["dev-1"])),
        ((member(0),), {"dev-2"}, Add(WANTED["dev-2"])),
        # One after the other.
        ((member(0), member(1, started=False, learner=True)), {"dev-1", "dev-2"}, None),
        ((member(0), member(1, learner=True)), {"dev-2"}, Promote(2)),
        ((member(0), member(1)), {"dev-2"}, Add(WANTED["dev-2"])),
        # Never begun: it begins under the name it has.
        ((member(0), member(1), member(2, started=False)), {"dev-2"}, None),
        (ALL, {"dev-1"}, Remove(2)),
        ((member(0), member(1, learner=True)), {"dev-1", "dev-2"}, Remove(2)),
        # A learner of nobody would stand in the way for ever.
        ((member(0), member(7, started=False, learner=True, identity=9)), {"dev-1"}, Remove(9)),
        # A voter that is not ours is not ours to remove.
        ((*ALL, member(7)), set(), None),
    ],
)
def test_the_next_change(known, empty, change):
    assert plan(WANTED, known, empty) == change


class World:
    """Three replicas and etcd's list, as far as decisions see them."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.members = [member(0)]
        self.data = {"dev-0": 1}
        self.empty = set()
        self.identity = 10

    def step(self):
        """One of the replicas looks, or the one that leads does; any of them may have died before."""
        if self.random.random() < 0.25:
            self.lead()
            return
        name = self.random.choice(list(WANTED))
        if name in self.data:
            self.run(name)
            return
        self.empty.add(name)
        verdict = beginning(name, WANTED, self.members, self.empty)
        assert not isinstance(verdict, Lost)
        if isinstance(verdict, Join):
            self.empty.discard(name)
            if self.random.random() < 0.7:  # else it dies here
                mine = next(item for item in self.members if WANTED[name] in item.peer_urls)
                self.data[name] = mine.id

    def run(self, name):
        for at, item in enumerate(self.members):
            if item.id == self.data[name]:
                self.members[at] = Member(
                    id=item.id, peer_urls=item.peer_urls, has_started=True, is_learner=item.is_learner
                )
                return
        raise AssertionError(f"{name} runs as a member that was let go")

    def lead(self):
        match plan(WANTED, self.members, self.empty):
            case Add(url):
                assert not [item for item in self.members if item.is_learner or url in item.peer_urls]
                self.identity += 1
                self.members.append(Member(id=self.identity, peer_urls=(url,), has_started=False, is_learner=True))
            case Promote(number):
                at = next(at for at, item in enumerate(self.members) if item.id == number)
                self.members[at] = Member(id=number, peer_urls=self.members[at].peer_urls, has_started=True)
            case Remove(number):
                assert number not in self.data.values()
                self.members = [item for item in self.members if item.id != number]

    def is_settled(self):
        return (
            len(self.members) == 3
            and all(item.has_started and not item.is_learner for item in self.members)
            and {item.id for item in self.members} == set(self.data.values())
        )


@pytest.mark.parametrize("seed", range(200))
def test_growth_and_a_lost_volume_end_with_three_that_vote_whatever_dies(seed):
    world = World(seed)
    for _ in range(400):
        world.step()
    assert world.is_settled()
    assert not world.empty
    lost = world.random.choice(list(WANTED))
    old = world.data.pop(lost)
    for _ in range(400):
        world.step()
    assert world.is_settled()
    assert world.data[lost] != old


def stateful_set(**spec):
    return {"metadata": {"name": "dev", "namespace": "team", "uid": "u"}, "spec": spec}


def test_only_a_stateful_set_without_claims_makes_way():
    (step,) = growth.plan(stateful_set(replicas=1))
    assert (step.namespace, step.name, step.uid) == ("team", "dev", "u")
    assert growth.plan(stateful_set(volumeClaimTemplates=[{}])) == []
    assert growth.plan(None) == []
    leaving = stateful_set()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert growth.plan(leaving) == []


def test_a_pod_goes_by_the_replicas_it_was_made_for():
    config = Config(name="dev", namespace="team", service_cidr="10.96.0.0/16", replicas=1)
    assert for_this_pod(config, {"LOFT_REPLICAS": "3"}).replicas == 3
    assert for_this_pod(config, {}).replicas == 1
    with pytest.raises(ConfigError, match="LOFT_REPLICAS"):
        for_this_pod(config, {"LOFT_REPLICAS": "many"})


def test_only_what_is_below_its_own_name_is_forgotten():
    start, end = external.key_range("team", "dev")
    assert (start, end) == (b"/team/dev/", b"/team/dev0")
    assert start <= b"/team/dev/pods/default/web" < end
    assert not start <= b"/team/dev2/pods/default/web" < end
    assert not start <= b"/team/dev" < end
    for namespace, name in (("", "dev"), ("team", ""), ("team", "dev/a"), ("/", "dev")):
        with pytest.raises(ValueError, match="no namespace and name"):
            external.key_range(namespace, name)
