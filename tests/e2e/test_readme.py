"""README as a newcomer walks it: every command of its blocks, typed into a terminal, on the running platform."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_walk():
    spec = importlib.util.spec_from_file_location("walk", ROOT / "tools" / "walk.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def newcomer(platform, machine):
    person = platform.person("newcomer")
    yield person
    for name, home in (("far", "east"), ("dev", "loft-cluster")):
        person.loft("delete", "vcluster", name, "--cluster", home, "--delete-space", check=False, timeout=180)
    person.loft("delete", "space", "team-a", "--cluster", "loft-cluster", check=False)
    person.loft("use", "management", check=False)
    person.kubectl("delete", "cluster", "east", check=False)
    machine.loft("uninstall", "--name", "east", "--yes", check=False, timeout=180)


@pytest.mark.timeout(900)
def test_every_command_does_what_readme_says(newcomer, platform, machine, monkeypatch):
    walk = load_walk()
    monkeypatch.setitem(walk.__dict__, "STEP_S", 200.0)
    blocks = walk.blocks_of((ROOT / "README.md").read_text())
    assert [block.name for block in blocks] == [
        "virtual-cluster",
        "workday",
        "space",
        "second-region",
        "direct-endpoint",
        "outage",
    ]
    with walk.Terminal(newcomer.environment, platform.password) as terminal:
        for block in blocks:
            for command in block.commands:
                text = command.text.replace("/var/lib/loft/", f"{machine.state}/")
                step = terminal.run(replace(command, text=text))
                print(f"# {text}\n{step.output}")
                assert not step.problem, f"{block.name}: {text}: {step.problem}\n{step.output}"


def test_every_block_has_its_picture():
    walk = load_walk()
    text = (ROOT / "README.md").read_text()
    for block in walk.blocks_of(text):
        assert f"(docs/pictures/{block.name}.svg)" in text
        assert (ROOT / "docs/pictures" / f"{block.name}.svg").is_file()
