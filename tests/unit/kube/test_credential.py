from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loft.kube import credential
from loft.kube.config import ConfigError, Endpoint, ExecPlugin
from loft.kube.credential import Credential, exec_info, read_credential
from loft.kube.errors import Unauthorized
from loft.kube.tls import tls_context
from loft.pki.authority import issue, new_authority

V1 = "client.authentication.k8s.io/v1"
PLUGIN = ExecPlugin(command="plugin")


def printed(**status: Any) -> bytes:
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status}).encode()


def test_what_plugins_print() -> None:
    identity = read_credential(PLUGIN, printed(token="t", expirationTimestamp="2026-01-02T03:04:05Z"))
    assert (identity.token, identity.until) == ("t", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp())
    identity = read_credential(PLUGIN, printed(clientCertificateData="c", clientKeyData="k"))
    assert (identity.token, identity.cert, identity.key, identity.until) == ("", b"c", b"k", None)
    assert "k" not in repr(identity).replace("Identity", "")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b"", "no ExecCredential"),
        (b"token", "no ExecCredential"),
        (json.dumps({"apiVersion": "v1", "kind": "Pod"}).encode(), "printed Pod v1"),
        (printed().replace(b"/v1", b"/v1beta1"), "printed ExecCredential client.authentication.k8s.io/v1beta1"),
        (printed(), "neither a token nor a certificate"),
        (printed(clientCertificateData="c"), "only one"),
        (printed(token="t", expirationTimestamp="tomorrow"), "no ExecCredential"),
    ],
)
def test_what_cannot_be_used(output: bytes, words: str) -> None:
    with pytest.raises(Unauthorized, match=words):
        read_credential(PLUGIN, output)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo first >&2; echo 'log in again' >&2; exit 3", "exit code 3: log in again"),
        ("exit 1", "it said nothing"),
        ("echo x", "no ExecCredential"),
        ("sleep 20", "no credential within"),
    ],
)
def test_plugins_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str) -> None:
    monkeypatch.setattr(credential, "EXEC_TIMEOUT_S", 1.0)
    plugin = ExecPlugin(command=script(tmp_path / "plugin", f"exec 3>&-; {text}"))
    with pytest.raises(Unauthorized, match=words):
        asyncio.run(Credential(Endpoint(server="https://x", exec_=plugin)).identity())


def test_a_plugin_that_is_not_installed_says_how_to_get_it() -> None:
    plugin = ExecPlugin(command="/no/such/plugin", install_hint="get it there")
    with pytest.raises(Unauthorized, match="cannot be started: No such file or directory; get it there"):
        asyncio.run(Credential(Endpoint(server="https://x", exec_=plugin)).identity())


def test_a_plugin_is_asked_again_shortly_before_its_credential_ends(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    ends = (now + timedelta(seconds=60)).isoformat()
    answer = json.dumps(
        {"apiVersion": V1, "kind": "ExecCredential", "status": {"token": "t", "expirationTimestamp": ends}}
    )
    count = tmp_path / "count"
    plugin = ExecPlugin(command=script(tmp_path / "plugin", f"echo x >> {count}; echo '{answer}'"))
    time_s = now.timestamp()
    credential = Credential(Endpoint(server="https://x", exec_=plugin), clock=lambda: time_s)

    async def main() -> None:
        nonlocal time_s
        await asyncio.gather(*(credential.identity() for _ in range(3)))
        time_s += 49
        await credential.identity()
        assert count.read_text() == "x\n"
        time_s += 2
        await credential.identity()
        assert count.read_text() == "x\nx\n"

    asyncio.run(main())


def test_plugins_are_told_the_cluster_only_when_asked_for() -> None:
    endpoint = Endpoint(server="https://x", ca_data=b"ca", token="secret", tls_server_name="name")
    assert exec_info(PLUGIN, endpoint)["spec"] == {"interactive": False}
    info = exec_info(ExecPlugin(command="plugin", provide_cluster_info=True), endpoint)
    assert info["spec"]["cluster"] == {
        "server": "https://x",
        "tls-server-name": "name",
        "certificate-authority-data": base64.b64encode(b"ca").decode(),
    }


def test_a_token_file_that_disappears_keeps_its_last_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    time_s = 0.0
    credential = Credential(Endpoint(server="https://x", token_file=str(file)), clock=lambda: time_s)

    async def token() -> str:
        return (await credential.identity()).token

    async def main() -> None:
        nonlocal time_s
        assert await token() == "one"
        other = tmp_path / "other"
        other.write_text("two")
        os.replace(other, file)
        assert await token() == "one", "fresh enough"
        time_s += 60
        assert await token() == "two"
        file.unlink()
        time_s += 60
        assert await token() == "two"
        assert credential.refused(), "a renewed file may help"
        with pytest.raises(Unauthorized, match="cannot be read"):
            await token()

    asyncio.run(main())


def test_headers() -> None:
    endpoint = Endpoint(
        server="https://x",
        token="t",
        impersonate_user="anna",
        impersonate_groups=("g1", "g2"),
        impersonate_extra=(("Loft.sh/Key", "v"),),
    )
    assert asyncio.run(Credential(endpoint).headers()) == [
        ("Authorization", "Bearer t"),
        ("Impersonate-User", "anna"),
        ("Impersonate-Group", "g1"),
        ("Impersonate-Group", "g2"),
        ("Impersonate-Extra-loft.sh%2Fkey", "v"),
    ]
    assert not Credential(endpoint).refused(), "a fixed token stays what it is"


def test_tls_settings() -> None:
    now = datetime.now(UTC)
    authority = new_authority("ca", now)
    pair = issue(authority, common_name="me", usage="client", now=now)
    context = tls_context(
        Endpoint(server="https://x", ca_data=authority.cert, client_cert=pair.cert, client_key=pair.key)
    )
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert len(context.get_ca_certs()) == 1, "only the given authority is trusted"
    insecure = tls_context(Endpoint(server="https://x", insecure=True))
    assert insecure.verify_mode == ssl.CERT_NONE
    for broken in ({"ca_data": b"no pem"}, {"client_cert": b"no pem", "client_key": b"x"}):
        with pytest.raises(ConfigError, match="cannot be used"):
            tls_context(Endpoint(server="https://x", **broken))
