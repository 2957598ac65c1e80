"""The bearer token and TLS settings of an endpoint, fresh for each request."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import tempfile
import time
from datetime import datetime
from pathlib import Path

from loft.kube.config import Endpoint, ExecPlugin
from loft.kube.errors import Unauthorized

TOKEN_FILE_FRESH_S = 10.0
EXEC_TIMEOUT_S = 30.0
EXEC_DEFAULT_LIFE_S = 600.0


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return the TLS settings; without a CA the system's trust store is used."""
    context = ssl.create_default_context(cadata=endpoint.ca_data.decode() if endpoint.ca_data else None)
    if endpoint.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if endpoint.client_cert:
        # The standard library loads certificate chains from files only; they live for this call.
        with tempfile.NamedTemporaryFile(prefix="loft-") as file:
            file.write(endpoint.client_cert + b"\n" + endpoint.client_key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


class Credential:
    """Bearer tokens from a fixed value, a file that is replaced now and then, or an exec plugin."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._token = endpoint.token
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def headers(self) -> dict[str, str]:
        """Return Authorization and impersonation headers for the next request."""
        headers: dict[str, str] = {}
        token = await self._current()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if self._endpoint.impersonate_user:
            headers["Impersonate-User"] = self._endpoint.impersonate_user
        return headers

    async def _current(self) -> str:
        endpoint = self._endpoint
        if not endpoint.token_file and not endpoint.exec_:
            return endpoint.token
        async with self._lock:
            now = time.time()
            if now < self._until:
                return self._token
            if endpoint.token_file:
                self._token = Path(endpoint.token_file).read_text().strip()
                self._until = now + TOKEN_FILE_FRESH_S
            elif endpoint.exec_:
                self._token, self._until = await run_plugin(endpoint.exec_, now)
        return self._token


async def run_plugin(plugin: ExecPlugin, now: float) -> tuple[str, float]:
    """Run an exec plugin; return its token and the time (Unix seconds) until which it holds.

    Raises: Unauthorized with the plugin's own last line when it fails.
    """
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
    process = await asyncio.create_subprocess_exec(
        plugin.command,
        *plugin.args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | dict(plugin.env) | {"KUBERNETES_EXEC_INFO": json.dumps(info)},
    )
    try:
        output, complaint = await asyncio.wait_for(process.communicate(), EXEC_TIMEOUT_S)
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise Unauthorized(0, "", f"{plugin.command} gave no credential in {EXEC_TIMEOUT_S:.0f} s") from error
    if process.returncode != 0:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise Unauthorized(0, "", f"{plugin.command} failed: {last[0]}")
    try:
        status = json.loads(output)["status"]
        token = str(status["token"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unauthorized(0, "", f"{plugin.command} printed no ExecCredential with a token") from error
    expiry = status.get("expirationTimestamp")
    until = (
        datetime.fromisoformat(expiry.replace("Z", "+00:00")).timestamp() - 10 if expiry else now + EXEC_DEFAULT_LIFE_S
    )
    return token, until
