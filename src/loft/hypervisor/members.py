"""Who belongs to the cluster of etcd: how a replica's store begins, and which member is taken in or let go next. Pure.

A new virtual cluster's members begin together, from a list. Later there is no list: whoever has data goes on with it,
and whoever has none has to be taken in by the others, one at a time, first as a learner that does not vote and so
cannot cost them their majority. A member that has lost its data must not come back under its old identity, since it
has forgotten what it voted for: it is let go and taken in anew.
Source: etcd.io/docs/v3.6/op-guide/runtime-configuration.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from loft.hypervisor.config import Config
from loft.hypervisor.control_plane_files import peer_url


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of etcd's own list."""

    id: int
    peer_urls: tuple[str, ...]
    has_started: bool
    """Whether it has said by which address clients reach it: the first thing that a running member does."""
    is_learner: bool = False


class Join(msgspec.Struct, frozen=True):
    """Start etcd without data as one that the others have taken in."""

    initial_cluster: str


class Wait(msgspec.Struct, frozen=True):
    """Do not start etcd yet."""

    why: str


class Lost(msgspec.Struct, frozen=True):
    """Never start etcd by itself: what the virtual cluster held is gone, and an empty store would end its pods."""

    problem: str
    """`Reason: message`."""


class Add(msgspec.Struct, frozen=True):
    """Take a learner in."""

    peer_url: str


class Promote(msgspec.Struct, frozen=True):
    """Let a learner vote; etcd refuses until it has caught up."""

    id: int


class Remove(msgspec.Struct, frozen=True):
    """Let a member go whose data is gone."""

    id: int


Change = Add | Promote | Remove

RESTORE = "restore a snapshot (loft restore vcluster), which starts it again, or delete the virtual cluster"


def peers(config: Config) -> dict[str, str]:
    """Return the URL at which other members reach each replica's etcd, by the name of its pod."""
    names = [f"{config.name}-{number}" for number in range(config.replicas)]
    return {name: peer_url(config.name, config.namespace, name) for name in names}


def parse(answer: bytes) -> tuple[Member, ...]:
    """Read a list of members, from `/v3/cluster/member/list` or from a member's peers' port (`/members`).

    Raises: ValueError.
    """
    try:
        found: Any = msgspec.json.decode(answer)
        items = found["members"] if isinstance(found, dict) else found
        return tuple(
            Member(
                id=int(item.get("ID") or item["id"]),
                peer_urls=tuple(item["peerURLs"]),
                has_started=bool(item.get("clientURLs")),
                is_learner=bool(item.get("isLearner")),
            )
            for item in items
        )
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no list of members: {error}") from error


def beginning(
    me: str, wanted: Mapping[str, str], members: Sequence[Member] | None, empty: Collection[str]
) -> Join | Wait | Lost:
    """Return how a replica without data begins in a cluster that has served before.

    Args:
        me: name of its pod.
        wanted: name of each replica's pod -> its peer URL.
        members: what another member says, None when none answers.
        empty: pods that have said that they have no data, this one among them.
    """
    if members is None:
        if set(empty) >= set(wanted):
            volumes = f"volumes of all {len(wanted)} members are" if len(wanted) > 1 else "volume is"
            return Lost(f"StoreLost: the store's {volumes} empty, though it has served; {RESTORE}")
        return Wait("waiting for a member of the store that has data")
    voters = [member for member in members if not member.is_learner]
    urls = {wanted[name] for name in empty if name in wanted}
    lost = [member for member in voters if member.has_started and urls & set(member.peer_urls)]
    if len(voters) - len(lost) < len(voters) // 2 + 1:
        return Lost(f"QuorumLost: the volumes of {len(lost)} of {len(voters)} members are empty; {RESTORE}")
    mine = next((member for member in members if wanted[me] in member.peer_urls), None)
    if mine is None:
        return Wait("waiting to be taken into the store's cluster")
    if mine.has_started:
        return Wait("its volume is empty: waiting to be let go and taken into the store's cluster anew")
    return Join(initial_cluster(wanted, members))


def initial_cluster(wanted: Mapping[str, str], members: Sequence[Member]) -> str:
    """Return `NAME=URL,…` of all members, which etcd compares with what the others say."""
    names = {url: name for name, url in wanted.items()}
    return ",".join(
        f"{names.get(url, f'member-{member.id}')}={url}" for member in members for url in sorted(member.peer_urls)
    )


def plan(wanted: Mapping[str, str], members: Sequence[Member], empty: Collection[str]) -> Change | None:
    """Return the next change of the membership, None for none now.

    One at a time, and nobody is taken in while another is on the way: etcd allows one learner.
    `empty` must have been read after `members`: a pod takes its word back before its etcd starts.
    """
    names = {url: name for name, url in wanted.items()}

    def has_lost(member: Member) -> bool:
        return member.has_started and any(names.get(url) in empty for url in member.peer_urls)

    if gone := next((member for member in members if has_lost(member)), None):
        return Remove(gone.id)
    if learner := next((member for member in members if member.is_learner), None):
        if not any(url in names for url in learner.peer_urls):
            return Remove(learner.id)
        return Promote(learner.id) if learner.has_started else None
    known = {url for member in members for url in member.peer_urls}
    return next((Add(url) for name, url in wanted.items() if url not in known and name in empty), None)
