"""The command tree as a whole: help everywhere, exit codes, tables."""

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import yaml

from loft.cli import output
from loft.cli.app import COMMANDS
from loft.cli.commands.connect_cluster import minimal
from loft.cli.failure import Failure
from loft.cli.transport import normalise


def loft(*arguments, home):
    return subprocess.run(
        [sys.executable, "-m", "loft.cli.entry", *arguments],
        capture_output=True,
        text=True,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        timeout=30,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    import importlib

    module = importlib.import_module(f"loft.cli.commands.{COMMANDS[name][1]}")
    assert module.command.help


def test_help_loads_no_command(tmp_path):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "loft.cli.entry", "--help"],
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        timeout=30,
    )
    assert result.returncode == 0
    names = {line.rsplit("|", 1)[1].strip() for line in result.stderr.splitlines() if "|" in line}
    assert not names & {"asyncio", "aiohttp", "yaml", "cryptography", "msgspec"}
    assert not [name for name in names if name.startswith("loft.cli.commands.")]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["list", "clusters"], 4, "loft login"),
        (["create", "space"], 2, "NAME"),
        (["nonsense"], 2, "nonsense"),
        (["create", "nonsense"], 2, "nonsense"),
        (["login", "http://plain.example", "--username", "a", "--password", "b"], 2, "not https"),
        (["login", "https://127.0.0.1:9", "--username", "a", "--password", "b"], 8, "cannot be reached"),
        (["login", "https://127.0.0.1:9"], 2, "--username"),
        (["vars", "cluster"], 3, "not one of loft"),
    ],
)
def test_bad_input_is_one_clear_line_and_an_exit_code(tmp_path, arguments, code, says):
    result = loft(*arguments, home=tmp_path)
    assert result.returncode == code
    assert says in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_failed_login_forgets_nothing(tmp_path):
    (tmp_path / ".loft").mkdir()
    config = tmp_path / ".loft/config.json"
    config.write_text('{"host": "https://old", "accesskey": "k"}')
    loft("login", "https://127.0.0.1:9", "--username", "a", "--password", "b", home=tmp_path)
    assert "https://old" in config.read_text()


@pytest.mark.parametrize(("given", "url"), [("h", "https://h"), ("https://h:9898/", "https://h:9898")])
def test_urls(given, url):
    assert normalise(given) == url


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (180000, "2d"), (-5, "0s")],
)
def test_ages(seconds, shown):
    now = datetime(2026, 1, 10, tzinfo=UTC)
    then = datetime.fromtimestamp(now.timestamp() - seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert output.age(then, now) == shown


def test_tables_have_no_trailing_space():
    text = output.table(("Name", "Age"), [("long-name", "5m"), ("b", "")])
    assert text == "Name        Age\nlong-name   5m\nb"


KUBECONFIG = {
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    "clusters": [{"name": "k", "cluster": {"server": "https://x"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
}


@pytest.mark.parametrize(
    ("part", "field", "says"),
    [
        ("cluster", "certificate-authority", "certificate-authority-data"),
        ("user", "client-key", "client-key-data"),
        ("user", "tokenFile", "token"),
        ("user", "exec", "ServiceAccount"),
        ("user", "auth-provider", "ServiceAccount"),
    ],
)
def test_a_kubeconfig_that_refers_to_this_machine_is_refused(part, field, says):
    document = yaml.safe_load(yaml.safe_dump(KUBECONFIG))
    document[part + "s"][0][part][field] = "/etc/passwd"
    with pytest.raises(Failure, match=says):
        minimal(document, "")


def test_only_the_chosen_context_is_sent():
    document = yaml.safe_load(yaml.safe_dump(KUBECONFIG))
    document["users"].append({"name": "other", "user": {"token": "private"}})
    assert "private" not in str(minimal(document, "c"))
