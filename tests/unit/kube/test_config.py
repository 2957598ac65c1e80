from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loft.kube.config import (
    ConfigError,
    Endpoint,
    ExecPlugin,
    from_environment,
    in_cluster,
    load_kubeconfig,
    parse_kubeconfig,
    to_kubeconfig,
)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def config(*, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **more: Any) -> bytes:
    return msgspec.yaml.encode(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": "https://one:6443", **(cluster or {})}}],
            "users": [{"name": "u", "user": user or {}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "space"}}],
            **more,
        }
    )


def test_everything_inline() -> None:
    endpoint = parse_kubeconfig(
        config(
            cluster={"certificate-authority-data": b64(b"ca"), "tls-server-name": "name", "extensions": [{"x": 1}]},
            user={
                "client-certificate-data": b64(b"cert"),
                "client-key-data": b64(b"key"),
                "token": " t\n",
                "as": "anna",
                "as-uid": "7",
                "as-groups": ["g1", "g2"],
                "as-user-extra": {"scopes": ["a", "b"]},
            },
        )
    )
    assert endpoint == Endpoint(
        server="https://one:6443",
        ca_data=b"ca",
        client_cert=b"cert",
        client_key=b"key",
        token="t",
        tls_server_name="name",
        namespace="space",
        impersonate_user="anna",
        impersonate_uid="7",
        impersonate_groups=("g1", "g2"),
        impersonate_extra=(("scopes", "a"), ("scopes", "b")),
    )


def test_files_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"ca")
    file = tmp_path / "config"
    user = {"tokenFile": "token", "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "bin/plugin"}}
    file.write_bytes(config(cluster={"certificate-authority": "ca.crt"}, user=user))
    endpoint = load_kubeconfig(str(file))
    assert endpoint.ca_data == b"ca"
    assert endpoint.token_file == str(tmp_path / "token")
    assert endpoint.exec_ is not None
    assert endpoint.exec_.command == str(tmp_path / "bin/plugin")


def test_several_files_are_merged_and_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, missing = tmp_path / "one", tmp_path / "two", tmp_path / "missing"
    one.write_bytes(
        msgspec.yaml.encode({"current-context": "there", "users": [{"name": "u", "user": {"token": "first"}}]})
    )
    context = {"name": "there", "context": {"cluster": "c", "user": "u"}}
    two.write_bytes(config(user={"token": "second"}, contexts=[context]))
    monkeypatch.setenv("KUBECONFIG", f"{missing}::{one}:{two}:{one}")
    endpoint = load_kubeconfig()
    assert (endpoint.server, endpoint.token, endpoint.namespace) == ("https://one:6443", "first", "")
    assert from_environment() == endpoint


def test_the_default_file_is_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="no kubeconfig"):
        load_kubeconfig()
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube/config").write_bytes(config())
    assert load_kubeconfig().server == "https://one:6443"


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("cluster", "certificate-authority", "/etc/passwd"),
        ("cluster", "proxy-url", "http://proxy:8080"),
        ("user", "client-certificate", "/etc/passwd"),
        ("user", "client-key", "/etc/passwd"),
        ("user", "tokenFile", "/etc/shadow"),
        ("user", "exec", {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh"}),
        ("user", "auth-provider", {"name": "gcp"}),
        ("user", "as", "system:admin"),
        ("user", "as-groups", ["system:masters"]),
    ],
)
def test_an_uploaded_kubeconfig_may_hold_data_only(part: str, field: str, value: Any) -> None:
    own: dict[str, Any] = {field: value}
    data = config(cluster=own) if part == "cluster" else config(user=own)
    with pytest.raises(ConfigError, match=field):
        parse_kubeconfig(data, inline_only=True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no current context"),
        (b"[1, 2]", "is not a kubeconfig"),
        (b"a: [", "not YAML"),
        (b"text", "is not a kubeconfig"),
        (b"\xff\xfe\x00", "is not a kubeconfig"),
        (b"[" * 5000, "is not a kubeconfig"),
        (config(kind="Pod"), "it is Pod v1"),
        (config(clusters=[]), "no cluster 'c'"),
        (config(users=[]), "no user 'u'"),
        (config(contexts=None), "no context 'here'"),
        (config(cluster={"server": "one:6443"}), "is not an http"),
        (config(cluster={"server": "file:///etc/passwd"}), "is not an http"),
        (config(cluster={"server": "https://"}), "is not an http"),
        (config(cluster={"server": "https://a:b"}), "is not an http"),
        (config(cluster={"server": "https://a\nb"}), "is not an http"),
        (config(cluster={"server": 7}), "Expected `str`"),
        (config(cluster={"certificate-authority-data": "!"}), "certificate-authority-data is not base64"),
        (config(user={"client-certificate-data": b64(b"x")}), "given together"),
        (config(user={"username": "a", "password": "b"}), "username and password"),
        (config(user={"auth-provider": {"name": "oidc"}}), "auth-provider"),
        (config(cluster={"proxy-url": "socks5://x"}), "proxy-url"),
        (config(user={"exec": {"command": "x", "apiVersion": "client.authentication.k8s.io/v1alpha1"}}), "v1alpha1"),
        (config(user={"exec": {"command": "x"}}), "exec.apiVersion ''"),
        (config(user={"client-key": "/no/such/file", "client-certificate": "/no/such/file"}), "cannot be read"),
        (b"x" * (5 * 1024 * 1024), "larger than"),
    ],
)
def test_what_cannot_be_used_is_named(data: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_kubeconfig(data)


def test_a_bomb_of_aliases_is_harmless() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(ConfigError):
        parse_kubeconfig("\n".join([*levels, "users: *a29"]).encode(), inline_only=True)


def test_secrets_do_not_show_in_logs() -> None:
    endpoint = Endpoint(server="https://one", token="secret", client_key=b"secret")
    assert "secret" not in f"{endpoint} {endpoint!r}"


def test_in_a_pod(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(ConfigError, match="not in a pod"):
        in_cluster(tmp_path, environ)
    for name, content in (("token", "t"), ("ca.crt", "ca"), ("namespace", "space\n")):
        (tmp_path / name).write_text(content)
    endpoint = in_cluster(tmp_path, environ)
    assert endpoint == Endpoint(
        server="https://10.0.0.1:443", ca_data=b"ca", token_file=str(tmp_path / "token"), namespace="space"
    )
    assert in_cluster(tmp_path, environ | {"KUBERNETES_SERVICE_HOST": "fd00::1"}).server == "https://[fd00::1]:443"
    with pytest.raises(ConfigError, match="not in a pod"):
        in_cluster(tmp_path, {})


def test_what_is_written_can_be_read_again() -> None:
    endpoint = Endpoint(
        server="https://one/prefix",
        ca_data=b"ca",
        client_cert=b"cert",
        client_key=b"key",
        token="token",
        exec_=ExecPlugin(command="/bin/plugin", args=("a",), env=(("k", "v"),), install_hint="get it"),
        tls_server_name="name",
        namespace="space",
        proxy_url="http://proxy:1",
        impersonate_user="anna",
        impersonate_groups=("g",),
        impersonate_extra=(("scopes", "a"), ("scopes", "b")),
    )
    assert parse_kubeconfig(to_kubeconfig(endpoint, "name"), "name") == endpoint
    with pytest.raises(ConfigError, match="token file"):
        to_kubeconfig(Endpoint(server="https://one", token_file="/x"), "name")
