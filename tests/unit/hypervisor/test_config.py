"""The hypervisor's configuration: closed, and refused by name."""

import pytest

from loft.hypervisor.config import ConfigError, parse_access, parse_config, pod_from
from loft.hypervisor.settings import KINDS

LEAST = b'{"name":"dev","namespace":"team","serviceCidr":"10.96.0.0/16"'


def test_defaults() -> None:
    config = parse_config(LEAST + b"}")
    assert config.kinds == KINDS
    assert config.storage_classes == ("*",)


def test_kinds_can_be_switched_off() -> None:
    assert parse_config(LEAST + b',"disabledKinds":["Event"]}').kinds == KINDS - {"Event"}


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (b',"disabledKinds":["Potato"]}', "Potato"),
        (b',"nonsense":1}', "nonsense"),
        (b',"certificateMinutes":0}', "certificateMinutes"),
        (b"", "cannot be read"),
    ],
)
def test_mistakes_are_named(rest: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(LEAST + rest)


def test_access_may_be_empty_but_not_broken() -> None:
    assert parse_access("").rules == []
    with pytest.raises(ConfigError):
        parse_access('{"rules": 3}')


def test_the_pod_must_know_itself() -> None:
    assert pod_from({"POD_NAME": "dev-0", "POD_IP": "10.1.0.7"}).address == "10.1.0.7"
    with pytest.raises(ConfigError, match="POD_IP"):
        pod_from({"POD_NAME": "dev-0"})
