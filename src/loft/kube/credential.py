"""Who we are at an API server: headers for each request, and a client certificate for each connection.

Tokens in files are replaced by their owner (a kubelet renews a pod's token), plugins give credentials that
end. So a credential is asked for with every request, and answered from memory while it is known to hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from loft.kube.config import Endpoint, ExecPlugin
from loft.kube.errors import Unauthorized

TOKEN_FILE_FRESH_S = 5.0
"""A token file is looked at again after this time; a changed one is read."""
EXEC_TIMEOUT_S = 60.0
OUTPUT_BYTES_MAX = 1024 * 1024
EARLY_S = 10.0
"""A credential is renewed this long before it ends, for clocks that differ and requests on their way."""

Headers = list[tuple[str, str]]


class Identity(msgspec.Struct, frozen=True):
    """A credential as it holds now; certificate and key are PEM, or empty."""

    token: str = ""
    cert: bytes = b""
    key: bytes = b""
    until: float | None = None
    """Unix seconds; None when no end is known."""

    def __repr__(self) -> str:
        return "Identity(…)"  # never in a log


class Credential:
    """The current identity of an endpoint. `clock` gives Unix seconds."""

    def __init__(self, endpoint: Endpoint, clock: Callable[[], float] = time.time) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._lock = asyncio.Lock()
        self._identity: Identity | None = None
        self._looked_at = 0.0
        self._stamp: tuple[int, int, int] | None = None

    async def identity(self) -> Identity:
        """Return the identity for the next request.

        Raises: Unauthorized when the token file or the plugin gives none.
        """
        endpoint = self._endpoint
        if endpoint.exec_ is not None:
            async with self._lock:
                known = self._identity
                if known is None or (known.until is not None and self._clock() >= known.until - EARLY_S):
                    self._identity = known = await run_plugin(endpoint.exec_, endpoint)
                return known
        if endpoint.token_file:
            return self._from_file()
        return Identity(token=endpoint.token)

    def refused(self) -> bool:
        """The server answered 401: forget what was remembered; return whether asking again may give another."""
        self._identity, self._stamp, self._looked_at = None, None, 0.0
        return self._endpoint.exec_ is not None or bool(self._endpoint.token_file)

    async def headers(self) -> Headers:
        """Return Authorization and impersonation headers for the next request. Raises: Unauthorized."""
        endpoint, token = self._endpoint, (await self.identity()).token
        headers = [("Authorization", f"Bearer {token}")] if token else []
        if endpoint.impersonate_user:
            headers.append(("Impersonate-User", endpoint.impersonate_user))
        if endpoint.impersonate_uid:
            headers.append(("Impersonate-Uid", endpoint.impersonate_uid))
        headers += [("Impersonate-Group", group) for group in endpoint.impersonate_groups]
        # Header names have a smaller alphabet than keys: percent-encoded, in lower case as the API server folds them.
        headers += [
            (f"Impersonate-Extra-{quote(key.lower(), safe='')}", value) for key, value in endpoint.impersonate_extra
        ]
        return headers

    def _from_file(self) -> Identity:
        now = self._clock()
        if self._identity is not None and 0 <= now - self._looked_at < TOKEN_FILE_FRESH_S:
            return self._identity
        path = Path(self._endpoint.token_file)
        try:
            status = path.stat()
            # A projected volume swaps a symbolic link, so the inode tells as well as the time does.
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._identity is None or stamp != self._stamp:
                self._identity, self._stamp = Identity(token=path.read_text().strip()), stamp
        except OSError as error:
            if self._identity is None:
                raise Unauthorized(0, "NoToken", f"token file {path} cannot be read: {error.strerror}") from error
        self._looked_at = now
        assert self._identity is not None, "set above or known before"
        return self._identity


async def run_plugin(plugin: ExecPlugin, endpoint: Endpoint) -> Identity:
    """Run a credential plugin and return what it printed.

    The plugin gets no terminal. It is ended when it takes longer than EXEC_TIMEOUT_S.
    Raises: Unauthorized with the plugin's last line when it fails, cannot be started, or prints something else.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A group of its own, so that what the plugin has started can be ended with it.
            start_new_session=True,
            env=os.environ | dict(plugin.env) | {"KUBERNETES_EXEC_INFO": json.dumps(exec_info(plugin, endpoint))},
        )
    except OSError as error:
        hint = f"; {plugin.install_hint}" if plugin.install_hint else ""
        raise _refused(plugin, f"cannot be started: {error.strerror}{hint}") from error
    try:
        async with asyncio.timeout(EXEC_TIMEOUT_S):
            output, complaint = await process.communicate()
    except TimeoutError as error:
        raise _refused(plugin, f"gave no credential within {EXEC_TIMEOUT_S:.0f} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        last = complaint[-OUTPUT_BYTES_MAX:].decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise _refused(plugin, f"ended with exit code {process.returncode}: {last[0][:500]}")
    return read_credential(plugin, output)


def exec_info(plugin: ExecPlugin, endpoint: Endpoint) -> dict[str, Any]:
    """Return what a plugin gets in KUBERNETES_EXEC_INFO."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.provide_cluster_info:
        cluster = {
            "server": endpoint.server,
            "tls-server-name": endpoint.tls_server_name,
            "insecure-skip-tls-verify": endpoint.insecure,
            "certificate-authority-data": msgspec.to_builtins(endpoint.ca_data),
            "proxy-url": endpoint.proxy_url,
        }
        spec["cluster"] = {name: value for name, value in cluster.items() if value}
    return {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}


class _Status(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None


class _ExecCredential(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    status: _Status | None = None


def read_credential(plugin: ExecPlugin, output: bytes) -> Identity:
    """Return the credential that a plugin printed (ExecCredential, JSON).

    Raises: Unauthorized when it is something else, of another version, or holds neither token nor certificate.
    """
    try:
        printed = msgspec.json.decode(output[:OUTPUT_BYTES_MAX], type=_ExecCredential)
    except msgspec.DecodeError as error:
        raise _refused(plugin, f"printed no ExecCredential: {error}") from error
    if printed.kind != "ExecCredential" or printed.api_version != plugin.api_version:
        raise _refused(plugin, f"printed {printed.kind} {printed.api_version}, not ExecCredential {plugin.api_version}")
    status = printed.status or _Status()
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise _refused(plugin, "gave only one of certificate and key")
    if not status.token and not status.client_certificate_data:
        raise _refused(plugin, "gave neither a token nor a certificate")
    until = status.expiration_timestamp
    return Identity(
        token=status.token.strip(),
        cert=status.client_certificate_data.encode(),
        key=status.client_key_data.encode(),
        until=until.timestamp() if until else None,
    )


def _refused(plugin: ExecPlugin, why: str) -> Unauthorized:
    return Unauthorized(0, "ExecPlugin", f"credential plugin {plugin.command} {why}")
