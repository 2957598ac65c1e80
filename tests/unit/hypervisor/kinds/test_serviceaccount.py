"""Tokens: what is asked for, where they go, when they are renewed."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from loft.core.action import Create, Patch
from loft.hypervisor.core.names import Names
from loft.hypervisor.kinds.pod_volumes import TokenSource
from loft.hypervisor.kinds.serviceaccount import due_in_s, plan_tokens, renew_at, token_request
from loft.hypervisor.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = Names("dev", "vc")
SETTINGS = Settings(name="dev", host_namespace="vc", owner={"kind": "Service", "name": "dev", "uid": "o1"})
POD = {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}, "spec": {"serviceAccountName": "builder"}}
TOKENS = {"token-0": ("secret", NOW + timedelta(hours=1)), "token-1": ("other", NOW + timedelta(minutes=10))}


def test_a_token_is_bound_to_the_very_pod() -> None:
    body = token_request(POD, TokenSource("token-0", "token", "vault", 600))
    assert body["metadata"] == {"name": "builder", "namespace": "default"}
    assert body["spec"]["boundObjectRef"] == {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u1"}
    assert body["spec"]["audiences"] == ["vault"] and body["spec"]["expirationSeconds"] == 600


@pytest.mark.parametrize(("life_s", "renew_s"), [(600, 300), (3600, 2880), (10 * 86400, 86400)])
def test_renewal_leaves_time_for_the_files_to_change(life_s: int, renew_s: int) -> None:
    assert renew_at(NOW + timedelta(seconds=life_s), NOW) == NOW + timedelta(seconds=renew_s)


def test_the_first_tokens_make_a_secret_that_is_marked_and_owned() -> None:
    (step,) = plan_tokens(POD, None, TOKENS, NAMES, (SETTINGS, NOW))
    assert step.side == "host" and isinstance(step.action, Create)
    body = step.action.body
    assert base64.b64decode(body["data"]["token-0"]) == b"secret"
    assert body["metadata"]["annotations"]["vcluster.loft.sh/object-kind"] == "Pod"
    assert body["metadata"]["ownerReferences"] == [SETTINGS.owner]
    assert due_in_s(body, NOW) == 300


def test_renewal_changes_the_secret_that_was_seen() -> None:
    secret = {"metadata": {"name": "x", "uid": "h1", "annotations": {}}}
    (step,) = plan_tokens(POD, secret, TOKENS, NAMES, (SETTINGS, NOW))
    assert isinstance(step.action, Patch) and step.action.uid == "h1"


@pytest.mark.parametrize("stamp", [None, "nonsense", "2025-12-31T00:00:00+00:00"])
def test_without_a_good_date_tokens_are_due(stamp: str | None) -> None:
    marks = {"vcluster.loft.sh/renew-at": stamp} if stamp else {}
    assert due_in_s({"metadata": {"annotations": marks}}, NOW) == 0


def test_tokens_that_another_key_has_signed_are_due() -> None:
    settings = msgspec.structs.replace(SETTINGS, token_key="new")
    (step,) = plan_tokens(POD, None, TOKENS, NAMES, (settings, NOW))
    assert isinstance(step.action, Create)
    assert due_in_s(step.action.body, NOW, "new") == 300
    assert due_in_s(step.action.body, NOW, "newer") == 0
    (older,) = plan_tokens(POD, None, TOKENS, NAMES, (SETTINGS, NOW))
    assert isinstance(older.action, Create)
    assert due_in_s(older.action.body, NOW, "new") == 0
