"""HTTP for the command line: the standard library's client, because importing a faster one costs more than a call.

Every call goes to one instance (or a direct cluster endpoint) with the caller's credential; answers that
are Kubernetes Status objects become a `Failure` with the server's own words.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.parse
from collections.abc import Iterator
from typing import Any

from loft.cli import exitcode
from loft.cli.failure import Failure, not_logged_in

TIMEOUT_S = 30.0
ANSWER_BYTES_MAX = 64 * 1024 * 1024

_CODES = {
    404: exitcode.NOT_FOUND,
    403: exitcode.FORBIDDEN,
    409: exitcode.CONFLICT,
    504: exitcode.TIMEOUT,
    502: exitcode.UNREACHABLE,
    503: exitcode.UNREACHABLE,
}


class ServerRefused(Failure):
    """The server answered with an error; `status` is the HTTP code, `reason` Kubernetes' CamelCase reason."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message, _CODES.get(status, exitcode.ERROR))
        self.status = status
        self.reason = reason


def verify_context(ca_data: str, insecure: bool) -> ssl.SSLContext:
    """Return the TLS settings: a pinned authority (base64 PEM), the system's, or none at all when insecure."""
    if insecure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if ca_data:
        return ssl.create_default_context(cadata=base64.b64decode(ca_data).decode())
    return ssl.create_default_context()


def refusal(status: int, body: bytes) -> Failure:
    """Return the failure for an answer of 400 and above."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        answer = {}
    nothing = f"the server answered {status} without saying why; is the URL that of a loft instance?"
    message = str(answer.get("message") or nothing)
    if status == 401:
        failure = not_logged_in()
        failure.message += f" ({message})"
        return failure
    return ServerRefused(status, str(answer.get("reason") or ""), message)


class Transport:
    """Calls to one base URL with one bearer credential."""

    def __init__(self, base: str, bearer: str, context: ssl.SSLContext) -> None:
        parts = urllib.parse.urlsplit(base)
        if parts.scheme != "https" or not parts.hostname:
            raise Failure(f"{base!r} is not an https URL", exitcode.USAGE)
        self.base = base.rstrip("/")
        self._host, self._port = parts.hostname, parts.port or 443
        self._prefix = parts.path.rstrip("/")
        self._bearer = bearer
        self._context = context

    def _open(self, timeout_s: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._context)

    def _send(self, method: str, path: str, body: Any, timeout_s: float, kind: str) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": "loft"}
        if self._bearer:
            headers["Authorization"] = f"Bearer {self._bearer}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = kind
        connection = self._open(timeout_s)
        try:
            connection.request(method, self._prefix + path, body=data, headers=headers)
            return connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise Failure(
                f"the certificate of {self.base} is not trusted ({error.verify_message}); "
                "log in again with --ca-file FILE, or with --insecure if you accept the risk",
                exitcode.UNREACHABLE,
            ) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = getattr(error, "strerror", None) or str(error)
            text = f"{self.base} cannot be reached ({reason}); check the URL, and whether the instance runs"
            raise Failure(text, exitcode.UNREACHABLE) from error

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        timeout_s: float = TIMEOUT_S,
        kind: str = "application/json",
    ) -> Any:
        """Send one request and return the decoded JSON answer (None when empty).

        Raises: Failure (unreachable, untrusted), ServerRefused (an error answer).
        """
        with self._send(method, path, body, timeout_s, kind) as answer:
            try:
                data = answer.read(ANSWER_BYTES_MAX)
            except (OSError, http.client.HTTPException) as error:
                raise Failure(f"{self.base} broke off its answer: {error}", exitcode.UNREACHABLE) from error
            if answer.status >= 400:
                raise refusal(answer.status, data)
        try:
            return json.loads(data) if data else None
        except ValueError as error:
            raise Failure(f"{self.base} did not answer with JSON; is this a loft instance?") from error

    def lines(self, path: str, *, timeout_s: float) -> Iterator[Any]:
        """Yield each JSON line of a watch until the server ends it; a silence of `timeout_s` ends it too."""
        with self._send("GET", path, None, timeout_s, "") as answer:
            if answer.status >= 400:
                raise refusal(answer.status, answer.read(ANSWER_BYTES_MAX))
            while True:
                try:
                    line = answer.readline(ANSWER_BYTES_MAX)
                except (OSError, http.client.HTTPException):
                    return
                if not line:
                    return
                yield json.loads(line)
