"""Identities in headers."""

import pytest

from loft.apiserver.caller import HeaderNames, caller_from
from loft.kube.errors import Unauthorized

NAMES = HeaderNames()


def test_everything_a_front_proxy_can_say() -> None:
    caller = caller_from(
        [
            (b"x-remote-user", b"loft:user:anna"),
            (b"x-remote-group", b"loft:user:anna"),
            (b"x-remote-group", b"loft:team:dev"),
            (b"x-remote-group", b"system:authenticated"),
            (b"x-remote-uid", b"u-1"),
            (b"x-remote-extra-loft-key", b"key-1"),
            (b"x-remote-extra-example.com%2fx", b"1"),
            (b"x-remote-extra-example.com%2fx", b"2"),
            (b"x-forwarded-for", b"10.0.0.1"),
        ],
        NAMES,
        ours_only=True,
    )
    assert (caller.user_name, caller.team_name, caller.teams, caller.uid) == ("anna", "", ("dev",), "u-1")
    assert caller.key_name == "key-1"
    assert caller.extra["example.com/x"] == ("1", "2")
    assert caller.is_ours


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-remote-user", b"")],
        [(b"x-remote-user", b"a"), (b"x-remote-user", b"b")],
        [(b"x-remote-user", b"a"), (b"x-remote-uid", b"1"), (b"x-remote-uid", b"2")],
        [(b"x-remote-user", b"\xff")],
    ],
)
def test_headers_that_name_nobody(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthorized):
        caller_from(headers, NAMES, ours_only=False)


@pytest.mark.parametrize("user", [b"system:admin", b"loft:user:", b"loft:userx", b"kube", b"loft:team:"])
def test_the_gateway_speaks_for_the_platform_only(user: bytes) -> None:
    assert caller_from([(b"x-remote-user", user)], NAMES, ours_only=False).user == user.decode()
    with pytest.raises(Unauthorized):
        caller_from([(b"x-remote-user", user)], NAMES, ours_only=True)


def test_other_header_names() -> None:
    names = HeaderNames(user=("x-auth",), group=(), uid=(), extra_prefix=())
    headers = [(b"x-auth", b"a"), (b"x-remote-user", b"b"), (b"x-remote-group", b"g")]
    caller = caller_from(headers, names, ours_only=False)
    assert (caller.user, caller.groups, caller.is_ours) == ("a", (), False)
