"""What people and scripts get wrong before any server is asked: one line, an exit code, nothing changed."""

import base64
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from loft.api.crd import CLUSTERS, VIRTUAL_CLUSTERS
from loft.cli import kubeconfig, names, token
from loft.cli.failure import Failure, Refused
from loft.cli.state import State, StateError
from loft.cli.transport import Transport, normalise, refusal, verify_context

CHARTS = Path(__file__).parents[3] / "charts"


def loft(*arguments, home, **environment):
    base = {"HOME": str(home), "PATH": os.environ["PATH"], "LOFT_STATE_DIR": str(home / "nothing")}
    return subprocess.run(
        [sys.executable, "-m", "loft.cli.entry", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={key: value for key, value in (base | environment).items() if value is not None},
        timeout=30,
    )


def one_line(result, code, *says):
    assert result.returncode == code, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("[fatal] ")
    for text in says:
        assert text in lines[0]


# Names


@pytest.mark.parametrize("name", ["Upper", "a" * 64, "..", "a/b", "ü", "-a", "a-", "a.b", "a b", "a\nb", "", "a_b"])
@pytest.mark.parametrize(
    "words", ["create space", "create vcluster", "use cluster", "use space", "use vcluster", "delete space"]
)
def test_an_impossible_name_is_told_before_a_server_is_asked(tmp_path, words, name):
    # In this process: a hundred cases.
    kind = {"space": names.SPACE, "cluster": names.CLUSTER, "vcluster": names.VIRTUAL_CLUSTER}[words.split()[1]]
    assert "use 1 to" in kind.why_not(name)
    if name == "Upper":
        one_line(
            loft(*words.split(), "--", name, home=tmp_path), 2, "no name for a", "use 1 to", f"loft {words} --help"
        )


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a" * 40])
def test_a_possible_name(name):
    assert names.VIRTUAL_CLUSTER.why_not(name) == ""


def test_command_crd_and_chart_agree_on_the_length_of_names():
    assert VIRTUAL_CLUSTERS.name_length_max == names.VIRTUAL_CLUSTER_MAX
    chart = (CHARTS / "virtualcluster/templates/_helpers.tpl").read_text()
    assert re.search(rf"gt \(len \.Release\.Name\) {names.VIRTUAL_CLUSTER_MAX}\b", chart)
    assert "a" * CLUSTERS.name_length_max and not names.CLUSTER.why_not("a" * CLUSTERS.name_length_max)
    assert names.CLUSTER.why_not("a" * (CLUSTERS.name_length_max + 1))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["create", "vcluster", "x", "--space", "a/b"], "no name for a space"),
        (["list", "spaces", "--cluster", ".."], "no name for a cluster"),
        (["create", "vcluster", "x", "--timeout", "0"], "--timeout"),
        (["delete", "space", "x", "--timeout", "-1"], "--timeout"),
        (["list", "spaces", "-o", "xml"], "'table', 'json', 'yaml', 'name'"),
        (["list", "nonsense"], "see: loft list --help"),
        (["login", "--username", "a"], "loft login URL"),
        (["login", ""], "https://HOST:PORT"),
        (["token", "--nonsense"], "usage: loft token"),
        (["token", "--direct-cluster-endpoint", "--config"], "usage: loft token"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, words, says):
    one_line(loft(*words, home=tmp_path), 2, says)


# URLs, authorities and keys


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "https://h:99999",
        "https://h:x",
        "https://[::1",
        "https://",
        "https://a b",
        "https://h\n",
        "https://ü",
        "https://u:p@h",
        "https://h?x=1",
        "https://h#x",
        "ftp://h",
    ],
)
def test_what_is_no_url_of_an_instance(url):
    with pytest.raises(Failure) as caught:
        normalise(url)
    assert caught.value.code == 2
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("key", ["a\nb", "a b", "é", "\udcff"])
def test_a_key_that_cannot_be_one_is_not_sent(key):
    with pytest.raises(Failure, match="copy it again") as caught:
        Transport("https://h", key, verify_context("", insecure=True))
    assert caught.value.code == 4


@pytest.mark.parametrize("data", ["!", base64.b64encode(b"no certificate").decode(), "w4Q="])
def test_a_damaged_authority_is_told(data):
    with pytest.raises(Failure, match="--ca-file"):
        verify_context(data, insecure=False)


def test_a_file_without_certificate_is_refused(tmp_path):
    (tmp_path / "ca").write_bytes(b"\xff no certificate")
    words = ("login", "https://127.0.0.1:9", "--access-key", "x", "--ca-file", str(tmp_path / "ca"))
    one_line(loft(*words, home=tmp_path), 2, "holds no certificate in PEM form")


def status(message):
    return json.dumps({"message": message, "reason": "R"}).encode()


@pytest.mark.parametrize(
    ("code", "body", "exit_code", "says"),
    [
        (401, status("key has expired"), 4, "Not logged in at https://h: key has expired; run: loft login https://h"),
        (401, status("wrong key; log in again"), 4, "at https://h: wrong key; run: loft login https://h --username"),
        (403, status("no\n right"), 5, "no right"),
        (403, status("spaces is forbidden: User x cannot"), 5, "cannot; ask an administrator for that right"),
        (404, b"<html>", 3, "https://h answered 404 without saying why; is this the URL of a loft instance?"),
        (409, status("taken"), 6, "taken"),
        (500, b"[]", 1, "answered 500 without saying why"),
        (503, b"", 8, "https://h is not ready to answer (503); try again in a moment"),
    ],
)
def test_refusals_are_one_line_with_an_exit_code(code, body, exit_code, says):
    failure = refusal("https://h", code, body)
    assert failure.code == exit_code
    assert says in failure.message
    assert "\n" not in failure.message
    assert isinstance(failure, Refused) == (code == 401)


ANSWERS = {"/html": b"<html>", "/list": b"[1]", "/null": b"null", "/empty": b""}


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A web server over TLS that is no instance; the path of the URL chooses what it answers."""
    folder = tmp_path_factory.mktemp("stranger")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 2"
    files = ("-addext", "subjectAltName=DNS:localhost", "-keyout", str(folder / "key"), "-out", str(folder / "ca"))
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = ANSWERS.get(f"/{self.path.split('/')[1]}", b"")
            self.send_response(200 if f"/{self.path.split('/')[1]}" in ANSWERS else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca", folder / "key")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://localhost:{server.server_port}", folder / "ca"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", [*ANSWERS, "/missing"])
@pytest.mark.parametrize("credential", [("--access-key", "k"), ("--username", "a", "--password", "b")])
def test_a_server_that_is_no_instance_is_called_so(stranger, tmp_path, path, credential):
    url, ca = stranger
    result = loft("login", url + path, *credential, "--ca-file", str(ca), home=tmp_path)
    one_line(result, 1, "answers, but not as a loft instance")
    assert not (tmp_path / ".loft").exists()


def test_a_server_without_tls_is_called_so(tmp_path):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"https://localhost:{server.server_port}"
            one_line(loft("login", url, "--access-key", "k", home=tmp_path), 8, "does not speak TLS", "the port")
        finally:
            server.shutdown()
            thread.join()


# The state file


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b""])
def test_a_damaged_state_file_is_told_and_kept(tmp_path, content):
    (tmp_path / ".loft").mkdir()
    path = tmp_path / ".loft/config.json"
    path.write_bytes(content)
    for words in (["list", "clusters"], ["token"], ["login", "https://127.0.0.1:9", "--access-key", "k"]):
        one_line(loft(*words, home=tmp_path), 1, str(path), "loft login")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "values",
    [
        {"host": 7, "accesskey": ["x"]},
        {"host": "not a url", "accesskey": "k"},
        {"host": "http://plain", "accesskey": "k"},
        {"host": "https://h:99999", "accesskey": "k"},
        {"host": "https://127.0.0.1:9", "accesskey": "k\n"},
        {"host": "https://127.0.0.1:9", "accesskey": "k", "knownHosts": {"https://127.0.0.1:9": "garbage"}},
    ],
)
def test_strange_values_are_told(tmp_path, values):
    (tmp_path / ".loft").mkdir()
    (tmp_path / ".loft/config.json").write_text(json.dumps(values))
    result = loft("list", "clusters", home=tmp_path)
    one_line(result, result.returncode)
    assert result.returncode in (1, 2, 4)


def test_a_state_file_that_cannot_be_written_is_told_and_nothing_half_written_stays(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StateError, match=r"cannot write .*: File exists; it is unchanged"):
        State(str(tmp_path / "file/config.json"), {}).save()
    (tmp_path / "folder/config.json").mkdir(parents=True)
    with pytest.raises(StateError, match="Is a directory"):
        State(str(tmp_path / "folder/config.json"), {}).save()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["config.json"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_linked_state_file_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "real/config.json")
    State(str(tmp_path / "link.json"), {"host": "https://h"}).save()
    assert (tmp_path / "link.json").is_symlink()
    assert State.load(str(tmp_path / "link.json")).host == "https://h"
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["config.json"]


def test_without_a_home_the_variable_is_named(tmp_path, monkeypatch):
    def unknown(_):
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "KUBECONFIG", "LOFT_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StateError, match="set HOME, or name the state file by LOFT_CONFIG or --config"):
        State.load()
    with pytest.raises(Failure, match="set HOME or KUBECONFIG"):
        kubeconfig.edit(print, name="x", sets_current=True)
    assert list(tmp_path.iterdir()) == []


# Tokens of direct endpoints


@pytest.mark.parametrize("requested", ["x", None, [], float("nan"), float("inf"), 2000])
def test_a_damaged_remembered_token_is_asked_for_again(requested):
    assert token.choose({"token": "t", "requested": requested}, 1000.0) == ("", True)


class Centre:
    """Answers for one call of direct_token, which is what the test is not about."""

    def __init__(self, during):
        self._during = during

    def direct_token(self, _):
        self._during()
        return "fresh"


def test_a_new_login_survives_a_token_that_is_fetched_meanwhile(tmp_path, monkeypatch):
    path = str(tmp_path / "config.json")
    State(path, {"host": "https://h", "accesskey": "old"}).save()

    def login():
        State(path, {"host": "https://h", "accesskey": "new"}).save()

    monkeypatch.setattr("loft.cli.platform_api.connect", lambda _: Centre(login))
    assert token.direct_token(State.load(path), "east", 1000.0) == "fresh"
    assert State.load(path).values["accesskey"] == "new"
    assert "directClusterEndpointTokens" not in State.load(path).values


def test_a_token_that_cannot_be_remembered_is_used_nevertheless(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    state = State(str(tmp_path / "config.json"), {"host": "https://h", "accesskey": "k"})
    state.save()

    def becomes_a_folder():
        Path(state.path).unlink()
        Path(state.path).mkdir()

    monkeypatch.setattr("loft.cli.platform_api.connect", lambda _: Centre(becomes_a_folder))
    assert token.direct_token(state, "east", 1000.0) == "fresh"
    assert "[warn]" in capsys.readouterr().err


# The kubeconfig


@pytest.mark.parametrize(
    "content",
    [
        b"contexts: [",
        b"\xff\xfe",
        b"just text",
        b"- a list",
        b"contexts: text",
        b"contexts: {a: b}",
        b"contexts: [1]",
        b"users: [{name: x, user: text}]",
        b"users: [{name: x, user: {extensions: [1]}}]",
        b"a: &a [*a]\n" + b"[" * 5000,
    ],
)
def test_a_damaged_kubeconfig_is_told_on_one_line_and_kept(tmp_path, monkeypatch, content):
    path = tmp_path / "kubeconfig"
    path.write_bytes(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    for act in (
        kubeconfig.check,
        kubeconfig.current_context,
        lambda: kubeconfig.edit(print, name="x", sets_current=True),
    ):
        with pytest.raises(Failure) as caught:
            act()
        assert str(path) in caught.value.message
        assert "nothing was changed" in caught.value.message
        assert "\n" not in caught.value.message
    assert path.read_bytes() == content
    assert [item.name for item in tmp_path.iterdir()] == ["kubeconfig"]


@pytest.mark.parametrize("words", ["create space x", "create vcluster x", "delete space x", "delete vcluster x"])
def test_what_needs_the_kubeconfig_looks_at_it_first(tmp_path, words):
    (tmp_path / "kubeconfig").write_text("contexts: [")
    (tmp_path / ".loft").mkdir()
    # Nobody listens there: had the instance been asked first, it could not have been reached.
    (tmp_path / ".loft/config.json").write_text(json.dumps({"host": "https://127.0.0.1:9", "accesskey": "k"}))
    result = loft(*words.split(), home=tmp_path, KUBECONFIG=str(tmp_path / "kubeconfig"))
    one_line(result, 1, str(tmp_path / "kubeconfig"), "nothing was changed")
    option = "--no-create-context" if "create" in words else "--no-delete-context"
    one_line(
        loft(*words.split(), option, home=tmp_path, KUBECONFIG=str(tmp_path / "kubeconfig")), 8, "cannot be reached"
    )


def test_a_place_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "file/config"))
    with pytest.raises(Failure, match="file"):
        kubeconfig.check()
    with pytest.raises(Failure, match=r"cannot make .*file: File exists; nothing was changed"):
        kubeconfig.edit(print, name="x", sets_current=True)


def test_a_lock_that_is_held_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(kubeconfig, "LOCK_WAIT_S", 0.2)
    (tmp_path / "config.lock").touch()
    with pytest.raises(Failure, match=r"remove .*config\.lock; nothing was changed"):
        kubeconfig.edit(print, name="x", sets_current=True)
    assert (tmp_path / "config.lock").exists()


# Files that are given


@pytest.mark.parametrize("content", [b"a: [", b"\xff", b"[1]", b"text"])
def test_values_that_are_no_object_are_told_before_a_space_is_made(tmp_path, content):
    (tmp_path / "values.yaml").write_bytes(content)
    (tmp_path / ".loft").mkdir()
    (tmp_path / ".loft/config.json").write_text(json.dumps({"host": "https://127.0.0.1:9", "accesskey": "k"}))
    result = loft("create", "vcluster", "x", "--values", str(tmp_path / "values.yaml"), home=tmp_path)
    one_line(result, 2, "values.yaml")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "has no context"),
        ({"current-context": "c", "contexts": [{"name": "c"}]}, "has no context 'c'"),
        ({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k"}}]}, "has no cluster 'k'"),
    ],
)
def test_a_kubeconfig_without_what_it_names_is_refused(tmp_path, document, says):
    (tmp_path / "given").write_text(yaml.safe_dump(document))
    (tmp_path / ".loft").mkdir()
    (tmp_path / ".loft/config.json").write_text(json.dumps({"host": "https://127.0.0.1:9", "accesskey": "k"}))
    result = loft("connect", "cluster", "x", "--kubeconfig", str(tmp_path / "given"), home=tmp_path)
    one_line(result, 3, says)


def test_output_that_cannot_be_written_is_no_success(tmp_path):
    for words in (["completion", "bash"], ["--help"]):
        with open("/dev/full", "w") as full:
            result = subprocess.run(
                [sys.executable, "-m", "loft.cli.entry", *words],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            )
        one_line(result, 1, "No space left")
