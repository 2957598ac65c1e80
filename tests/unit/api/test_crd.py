"""The generated CRDs: complete, documented, and the files in the charts up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from loft.api.cluster import ClusterSpec
from loft.api.crd import DEFINITIONS, VIRTUAL_CLUSTERS, custom_resource_definition, render
from loft.api.schema import at, schema_of, struct_schema
from loft.api.user import User

ROOT = Path(__file__).parents[3]


def test_the_charts_carry_what_the_types_say() -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "tools/gen_crds.py", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_check_finds_a_stale_file(tmp_path: Path) -> None:
    copy = tmp_path / "tools" / "gen_crds.py"
    copy.parent.mkdir()
    copy.write_text((ROOT / "tools/gen_crds.py").read_text())
    run = [sys.executable, str(copy)]
    assert subprocess.run([*run, "--check"], capture_output=True, check=False).returncode == 1
    assert subprocess.run(run, capture_output=True, check=False).returncode == 0
    file = tmp_path / "charts/loft/crds/users.storage.loft.sh.yaml"
    assert file.read_text() == render(DEFINITIONS[0])
    file.write_text(file.read_text() + "#\n")
    result = subprocess.run([*run, "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "users.storage.loft.sh.yaml" in result.stdout
    assert subprocess.run([*run, "--chek"], capture_output=True, check=False).returncode == 2


def test_each_crd_has_one_owner() -> None:
    files = [path.name for path in ROOT.glob("charts/*/crds/*.yaml")]
    assert len(files) == len(set(files))
    assert {definition.name for definition in DEFINITIONS} == {name.removesuffix(".yaml") for name in files}


def test_field_docstrings_become_descriptions() -> None:
    schema = schema_of(User)
    assert at(schema, "spec.tokenGeneration")["description"].startswith("Raising it ends every session")
    assert at(schema, "spec.passwordRef")["description"].startswith("Where the argon2id hash")
    assert "description" not in at(schema, "spec.email")
    # The field's own words win over those of its type.
    assert struct_schema(ClusterSpec)["properties"]["config"]["description"].startswith("Kubeconfig used once")


def test_a_rule_for_a_field_that_is_gone_is_an_error() -> None:
    with pytest.raises(KeyError):
        at(schema_of(User), "spec.nothing")


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.plural)
def test_schemas_are_structural_and_bounded(definition: Any) -> None:
    document = yaml.safe_load(render(definition))
    assert document == custom_resource_definition(definition)
    version = document["spec"]["versions"][0]
    assert version["subresources"] == {"status": {}}
    assert version["additionalPrinterColumns"]
    for schema in _walk(version["schema"]["openAPIV3Schema"]):
        assert "type" in schema or schema.get("x-kubernetes-int-or-string")
        for rule in schema.get("x-kubernetes-validations", ()):
            assert rule["message"]


def test_vcluster_is_a_short_name() -> None:
    assert custom_resource_definition(VIRTUAL_CLUSTERS)["spec"]["names"]["shortNames"] == ["vcluster"]


def _walk(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found = [schema]
    for inner in (*schema.get("properties", {}).values(), schema.get("items")):
        if isinstance(inner, dict):
            found += _walk(inner)
    if isinstance(schema.get("additionalProperties"), dict):
        found += _walk(schema["additionalProperties"])
    return found
