"""YAML from outside: what it says, and that no text of it ends the process or keeps it busy."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from loft.core import yamltext
from loft.core.yamltext import NESTING_MAX, NotYaml


def test_what_it_says() -> None:
    assert yamltext.load("a: [1, {b: c}]") == {"a": [1, {"b": "c"}]}
    assert yamltext.load("") is None
    assert yamltext.load_all(b"a: 1\n---\n- 2\n---\n") == [{"a": 1}, [2], None]
    assert yamltext.load("a: &x [1]\nb: *x", aliases=True) == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "expected"),
        ("a: &x 1\nb: *x", "aliases"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("!!python/object:os.system {}", "could not determine a constructor"),
        ("a: \x01", "not allowed"),
        (b"\xff\xfe\xff", "incomplete|decode|unicode"),
        ("? [a]\n: b", "unhashable"),
    ],
)
def test_what_it_is_not(text: str | bytes, why: str) -> None:
    with pytest.raises(NotYaml, match=why):
        yamltext.load(text)


def test_nesting_has_an_end() -> None:
    assert yamltext.load("[" * NESTING_MAX + "]" * NESTING_MAX)
    with pytest.raises(NotYaml, match="nested more than"):
        yamltext.load("[" * (NESTING_MAX + 1) + "]" * (NESTING_MAX + 1))


@pytest.mark.parametrize("piece", ["[", "- ", "{a: ", "? ", "a: {b: ["])
def test_a_quarter_of_a_megabyte_of_nesting_is_refused_at_once(piece: str) -> None:
    began = time.process_time()
    with pytest.raises(NotYaml):
        yamltext.load(piece * (256 * 1024 // len(piece)))
    assert time.process_time() - began < 5, "it looked at more than the first levels"


def test_the_reader_itself_would_end_the_process() -> None:
    """Why the nesting is counted first; when this fails, libyaml has learnt it, and the count may go."""
    program = "import yaml; yaml.load('[' * 200000, Loader=yaml.CSafeLoader)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode < 0, done.stderr[-200:]
