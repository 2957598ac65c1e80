"""What kubectl gets, and how little is loaded for it."""

import json
import os
import subprocess
import sys

import pytest

from loft.cli import token

HEAVY = {"asyncio", "aiohttp", "click", "yaml", "msgspec", "cryptography", "http.client", "ssl", "loft.api.cluster"}


def run(arguments, home, **environment):
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "loft.cli.entry", "token", *arguments],
        capture_output=True,
        text=True,
        env={"HOME": str(home), "PATH": os.environ["PATH"], **environment},
        timeout=30,
    )


@pytest.fixture
def home(tmp_path):
    (tmp_path / ".loft").mkdir()
    (tmp_path / ".loft/config.json").write_text(json.dumps({"host": "https://h", "accesskey": "secret"}))
    return tmp_path


def loaded(result):
    return {line.rsplit("|", 1)[1].strip() for line in result.stderr.splitlines() if "|" in line}


def test_the_answer_is_an_exec_credential_and_nothing_heavy_is_loaded(home):
    result = run(["--silent"], home)
    assert result.returncode == 0
    assert json.loads(result.stdout) == {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "status": {"token": "secret"},
    }
    assert not loaded(result) & HEAVY


def test_the_version_that_the_client_asks_for_is_answered(home):
    asked = json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "spec": {}})
    result = run([], home, KUBERNETES_EXEC_INFO=asked)
    assert json.loads(result.stdout)["apiVersion"] == "client.authentication.k8s.io/v1"


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--nonsense"], 2), (["--direct-cluster-endpoint"], 2), (["--config"], 2)]
)
def test_wrong_options_are_refused(home, arguments, code):
    result = run(arguments, home)
    assert (result.returncode, result.stdout) == (code, "")


def test_without_a_login_the_exit_code_says_so(tmp_path):
    result = run([], tmp_path)
    assert result.returncode == 4
    assert "loft login" in result.stderr


def test_a_damaged_state_file_is_named_and_kept(home):
    (home / ".loft/config.json").write_text("{")
    result = run([], home)
    assert result.returncode == 1
    assert "config.json" in result.stderr
    assert (home / ".loft/config.json").read_text() == "{"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (None, ("", True)),
        ({"token": "t", "requested": 1000}, ("t", False)),
        ({"token": "t", "requested": 1000 - 31 * 60}, ("t", True)),
        ({"token": "t", "requested": 1000 - 25 * 3600}, ("", True)),
        ({"token": "t", "requested": 2000}, ("", True)),
        ({"token": 5, "requested": 1000}, ("", True)),
    ],
    ids=["none", "fresh", "renewal due", "too old", "from the future", "not a text"],
)
def test_remembered_direct_tokens(entry, expected):
    assert token.choose(entry, 1000.0) == expected


def test_the_direct_token_of_before_an_outage_is_used_when_the_centre_cannot_be_reached(tmp_path):
    from loft.cli.failure import Failure
    from loft.cli.state import State

    remembered = {"east": {"token": "old", "requested": 1000}}
    state = State(
        str(tmp_path / "c.json"),
        {"host": "https://127.0.0.1:9", "accesskey": "k", "directClusterEndpointTokens": remembered},
    )
    assert token.direct_token(state, "east", 1000 + 3600) == "old"
    with pytest.raises(Failure, match="cannot be reached"):
        token.direct_token(state, "east", 1000 + 25 * 3600)
