"""Slows down who guesses passwords, without locking out who knows theirs. Pure.

Failures are counted for the pair of account and address, for each address, and for each account. The pair is slowed
down early and for long; the account as a whole late and for a moment only, or anybody could keep anybody out.
Access keys are not concerned: they cannot be guessed.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

FORGOTTEN_S = 3600.0
ENTRIES_MAX = 20_000


class Limit(msgspec.Struct, frozen=True):
    """After `free` failures each further one doubles the wait, from 1 s up to `most_s`."""

    free: int
    most_s: float


PAIR = Limit(5, 300.0)
ADDRESS = Limit(20, 300.0)
ACCOUNT = Limit(50, 5.0)


class _Entry(msgspec.Struct):
    failures: int
    last: float


class Throttle:
    """Remembers failures; times are seconds of any clock that only goes on."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    def wait_s(self, account: str, address: str, now: float) -> float:
        """Return how long this one has to wait before the next attempt is looked at; 0.0 for not at all."""
        return max(self._left(key, limit, now) for key, limit in _keys(account, address))

    def failed(self, account: str, address: str, now: float) -> None:
        """Note a wrong password, or an account that does not exist."""
        for key, _ in _keys(account, address):
            entry = self._entries.pop(key, None)
            if entry is None or now - entry.last > FORGOTTEN_S:
                entry = _Entry(0, now)
            entry.failures += 1
            entry.last = now
            self._entries[key] = entry
        while len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)

    def succeeded(self, account: str, address: str) -> None:
        """Forget the failures of who has signed in, at this address."""
        self._entries.pop(("pair", f"{address} {account}"), None)

    def _left(self, key: tuple[str, str], limit: Limit, now: float) -> float:
        entry = self._entries.get(key)
        if entry is None or entry.failures < limit.free or now - entry.last > FORGOTTEN_S:
            return 0.0
        wait_s = min(limit.most_s, 2.0 ** min(entry.failures - limit.free, 30))
        return max(0.0, entry.last + wait_s - now)


def _keys(account: str, address: str) -> tuple[tuple[tuple[str, str], Limit], ...]:
    return (
        (("pair", f"{address} {account}"), PAIR),
        (("address", address), ADDRESS),
        (("account", account), ACCOUNT),
    )
