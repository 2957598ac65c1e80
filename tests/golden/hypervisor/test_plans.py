"""What each kind's plan is, as files: `<kind>/<case>.in.yaml` holds both sides, `.out.yaml` the steps.

`LOFT_REWRITE_GOLDEN=1` writes the outputs anew; the diff is the review.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from loft.core.action import Event
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.plan import plan
from loft.hypervisor.core.side import Step
from loft.hypervisor.kinds import REGISTRY
from loft.hypervisor.settings import Settings

FOLDER = Path(__file__).parent
CASES = sorted(FOLDER.glob("*/*.in.yaml"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Plain(yaml.SafeDumper):
    """Shows equal values in full."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def shown(step: Step) -> dict[str, Any]:
    """Return a step as plain data, without what is the same in every case."""
    action = step.action
    if isinstance(action, Event):
        return {"side": step.side, "event": {"reason": action.reason, "message": action.message, "type": action.type}}
    fields = {
        name: value
        for name, value in msgspec.structs.asdict(action).items()
        if name != "resource" and value not in ("", None)
    }
    return {"side": step.side, f"{type(action).__name__.lower()} {action.resource.plural}": fields}


def test_there_is_a_case_for_every_kind() -> None:
    assert {case.parent.name for case in CASES} == {kind.lower() for kind in REGISTRY}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}-{case.name.removesuffix('.in.yaml')}")
def test_plan(case: Path) -> None:
    given = yaml.safe_load(case.read_text())
    mapping = {kind.lower(): item for kind, item in REGISTRY.items()}[case.parent.name]
    owner = given.get("owner")
    special: dict[str, Any] = {
        key: tuple(item) if isinstance(item, list) else item for key, item in given.get("settings", {}).items()
    }
    settings = Settings(name="dev", host_namespace="vc", api_service_ip="10.96.0.9", owner=owner, **special)
    facts = {"dns_ip": "10.96.0.10"} | (given.get("context") or {})
    facts["services"] = tuple(facts.get("services") or ())
    facts["env_from"] = {key: tuple(value) for key, value in (facts.get("env_from") or {}).items()}
    context = Context(settings=settings, now=NOW, **facts)
    for side in ("virtual", "host"):
        if given.get(side):
            given[side] = {"apiVersion": mapping.resource.api_version, "kind": mapping.kind} | given[side]
    steps = plan(mapping, given.get("virtual"), given.get("host"), Names("dev", "vc"), context)
    text = yaml.dump([shown(step) for step in steps], Dumper=Plain, sort_keys=True, width=120)
    out = case.with_name(case.name.replace(".in.yaml", ".out.yaml"))
    if os.environ.get("LOFT_REWRITE_GOLDEN"):
        out.write_text(text)
    assert text == out.read_text()
