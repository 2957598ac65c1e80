"""Host messages in the tenant's words."""

from __future__ import annotations

import pytest

from loft.hypervisor.core.names import Names
from loft.hypervisor.core.texts import virtual_text

NAMES = Names("dev", "vc")
HOST = {"metadata": {"name": "web-x-default-x-dev", "namespace": "vc", "uid": "h1-uid"}}
VIRTUAL = {"metadata": {"name": "web", "namespace": "default", "uid": "u1-uid"}}


@pytest.mark.parametrize(
    ("host", "virtual"),
    [
        ("assigned vc/web-x-default-x-dev to node-a", "assigned default/web to node-a"),
        ("pod=web-x-default-x-dev_vc(h1-uid)", "pod=web_default(u1-uid)"),
        ('secret "a.b-x-default-x-dev" not found', 'secret "a.b" not found'),
        ('configmap "vc/cfg-x-other-x-dev" not found', 'configmap "other/cfg" not found'),
        ("web-x-default-x-development stays", "web-x-default-x-development stays"),
        ("a-x-b-x-c-x-dev is ambiguous", "a-x-b-x-c-x-dev is ambiguous"),
        ("nothing here", "nothing here"),
    ],
)
def test_names_become_virtual(host: str, virtual: str) -> None:
    assert virtual_text(host, HOST, VIRTUAL, NAMES) == virtual


def test_a_huge_message_is_bounded() -> None:
    assert len(virtual_text("x" * 1_000_000, HOST, VIRTUAL, NAMES)) <= 16_384
