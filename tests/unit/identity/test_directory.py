"""Who a bearer is, and why not."""

from datetime import UTC, datetime, timedelta

import pytest

from loft.identity.directory import Directory
from loft.identity.keys import key_hash
from loft.identity.replica import decode, directory_of, encode, replica_of
from loft.identity.subject import Identity, Refusal

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MADE = "2026-03-01T11:00:00Z"
KEY = "k" * 64


def user(name="ann", **spec):
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": spec}


def access_key(name="ann-1", bearer=KEY, made=MADE, last="", **spec):
    spec = {"user": "ann", "keyHash": key_hash(bearer), **spec}
    status = {"lastActivity": last} if last else {}
    return {"metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": made}, "spec": spec, "status": status}


def team(name, **spec):
    return {"metadata": {"name": name}, "spec": spec}


def test_a_known_key_gives_user_and_groups():
    teams = [team("dev", users=["ann"]), team("ops", groups=["sso-ops"]), team("hr", users=["bob"])]
    directory = Directory([user(groups=["sso-ops"])], teams, [access_key()])
    assert directory.authenticate(KEY, NOW) == Identity(
        user="loft:user:ann",
        groups=("loft:user:ann", "loft:team:dev", "loft:team:ops", "system:authenticated"),
        name="ann",
        uid="uid-ann",
        key_name="ann-1",
    )
    assert directory.last_used() == {"ann-1": NOW}


def test_a_team_key_acts_as_the_team():
    directory = Directory([], [team("dev")], [access_key(user="", team="dev")])
    identity = directory.authenticate(KEY, NOW)
    assert isinstance(identity, Identity)
    assert (identity.user, identity.groups) == ("loft:team:dev", ("loft:team:dev", "system:authenticated"))


REFUSED = {
    "unknown key": ([user()], [access_key(bearer="other")], "UnknownKey"),
    "disabled key": ([user()], [access_key(disabled=True)], "DisabledKey"),
    "disabled user": ([user(disabled=True)], [access_key()], "DisabledUser"),
    "deleted user": ([], [access_key()], "UnknownUser"),
    "older token generation": ([user(tokenGeneration=2)], [access_key(tokenGeneration=1)], "EndedSession"),
    "ttl is over": ([user()], [access_key(ttl=3600)], "ExpiredKey"),
    "ttl without a creation time": ([user()], [access_key(ttl=3600, made=None)], "ExpiredKey"),
    "negative ttl": ([user()], [access_key(ttl=-1)], "ExpiredKey"),
    "unreadable creation time": ([user()], [access_key(ttl=3600, made="yesterday")], "ExpiredKey"),
    "idle for longer than the ttl": (
        [user()],
        [access_key(ttl=600, ttlAfterLastActivity=True, last="2026-03-01T11:49:00Z")],
        "ExpiredKey",
    ),
    "two objects with one hash": ([user()], [access_key(), access_key(name="ann-2")], "UnknownKey"),
    "user and team at once": ([user()], [access_key(team="dev")], "UnknownTeam"),
    "user name system:admin": ([user("system:admin")], [access_key(user="system:admin")], "UnknownUser"),
    "key of nobody": ([user()], [access_key(user="")], "UnknownUser"),
}


@pytest.mark.parametrize("users,keys,reason", REFUSED.values(), ids=REFUSED.keys())
def test_refused(users, keys, reason):
    directory = Directory(users, [team("dev")], keys)
    refusal = directory.authenticate(KEY, NOW)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason
    assert KEY not in refusal.message
    assert directory.last_used() == {}


@pytest.mark.parametrize(
    "bearer", ["", KEY + "\n", KEY[:-1], KEY[:-1] + "j", "k" * 65536, "ü" * 64], ids=lambda t: t[:5]
)
def test_nearly_right_keys_are_refused(bearer):
    assert isinstance(Directory([user()], [], [access_key()]).authenticate(bearer, NOW), Refusal)


def test_a_team_that_is_named_like_a_system_group_gives_no_group():
    directory = Directory([user()], [team("system:masters", users=["ann"])], [access_key()])
    identity = directory.authenticate(KEY, NOW)
    assert isinstance(identity, Identity)
    assert identity.groups == ("loft:user:ann", "system:authenticated")


def test_use_prolongs_a_key_that_ends_when_idle():
    directory = Directory([user()], [], [access_key(ttl=3660, ttlAfterLastActivity=True)])
    for minute in range(0, 600, 50):
        assert isinstance(directory.authenticate(KEY, NOW + timedelta(minutes=minute)), Identity)
    assert isinstance(directory.authenticate(KEY, NOW + timedelta(minutes=550 + 62)), Refusal)


def test_removing_ends_access_at_once_and_a_new_object_does_not_inherit_the_last_use():
    directory = Directory([user()], [team("dev", users=["ann"])], [access_key()])
    directory.authenticate(KEY, NOW)
    directory.remove_team("dev")
    assert directory.groups_of("ann") == ("loft:user:ann", "system:authenticated")
    directory.remove_access_key("ann-1")
    assert isinstance(directory.authenticate(KEY, NOW), Refusal)
    directory.set_access_key(access_key())
    assert directory.last_used() == {}
    directory.remove_user("ann")
    assert isinstance(directory.authenticate(KEY, NOW), Refusal)


def test_a_changed_key_is_no_longer_found_by_its_old_hash():
    directory = Directory([user()], [], [access_key()])
    directory.set_access_key(access_key(bearer="n" * 64))
    assert isinstance(directory.authenticate(KEY, NOW), Refusal)
    assert isinstance(directory.authenticate("n" * 64, NOW), Identity)


def test_login_names():
    directory = Directory([user("u-1", username="ann"), user("bob"), user("x", username="carl"), user("carl")])
    ann, bob = directory.by_login("ann"), directory.by_login("bob")
    assert ann is not None and ann.metadata.name == "u-1"
    assert bob is not None and bob.metadata.name == "bob"
    assert directory.by_login("u-1") is None
    assert directory.by_login("carl") is None, "two users with one login name: neither"


def test_a_replica_decides_like_the_directory_until_its_lease_ends():
    spec = {"email": "ann@example.com", "passwordRef": {"secretName": "ann"}, "groups": ["sso"]}
    directory = Directory([user(**spec)], [team("dev", groups=["sso"])], [access_key()])
    data = encode(replica_of(directory, signing_public_key="PEM", lease_s=60, revision="7"))
    assert b"example.com" not in data and b"passwordRef" not in data
    copy = directory_of(decode(data), heard=NOW)
    assert copy.authenticate(KEY, NOW) == directory.authenticate(KEY, NOW)
    refusal = copy.authenticate(KEY, NOW + timedelta(seconds=60))
    assert isinstance(refusal, Refusal) and refusal.reason == "LeaseEnded"


def test_last_uses_move_to_a_new_copy_of_the_same_objects():
    old = Directory([user()], [], [access_key()])
    old.authenticate(KEY, NOW)
    new = Directory([user()], [], [access_key()])
    new.take_over_last_used(old)
    assert new.last_used() == {"ann-1": NOW}
