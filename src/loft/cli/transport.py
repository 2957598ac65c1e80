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
from loft.cli.failure import Failure, Refused, one_line

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


_PASSING = (429, 502, 503, 504)


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
    if not ca_data:
        return ssl.create_default_context()
    try:
        pem = base64.b64decode("".join(ca_data.split()), validate=True).decode("ascii")
        if not pem:
            raise ValueError("it is empty")  # the system's authorities would be trusted instead
        return ssl.create_default_context(cadata=pem)
    except (ValueError, ssl.SSLError) as error:
        text = (
            "the authority that is remembered for the instance is no PEM certificate; log in again with --ca-file FILE"
        )
        raise Failure(text) from error


def normalise(url: str) -> str:
    """Return the URL of an instance with scheme and without a trailing slash.

    Raises: Failure for http and for what is no URL of a server: credentials are never sent in the clear.
    """
    url = url if "://" in url else f"https://{url}"
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise Failure(f"{url!r} is no URL: {error}", exitcode.USAGE) from error
    if parts.scheme != "https":
        raise Failure(f"{url!r} is not https; an access key is never sent unencrypted", exitcode.USAGE)
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise Failure(f"{url!r} is no URL of a server; it looks like https://HOST:PORT", exitcode.USAGE)
    if parts.username is not None or parts.query or parts.fragment:
        raise Failure("give the URL as https://HOST:PORT; names and passwords have options", exitcode.USAGE)
    return url.rstrip("/")


def refusal(base: str, status: int, body: bytes) -> Failure:
    """Return the failure for an answer of 400 and above."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        answer = {}
    message = " ".join(str(answer.get("message") or "").split())
    if status == 401:
        return Refused(base, message or "it answered 401")
    if not message and status in _PASSING:
        message = f"{base} is not ready to answer ({status}); try again in a moment"
    if status == 403 and " is forbidden: " in message and "administrator" not in message:
        message += "; ask an administrator for that right"
    return ServerRefused(
        status,
        str(answer.get("reason") or ""),
        message or f"{base} answered {status} without saying why; is this the URL of a loft instance?",
    )


class Transport:
    """Calls to one base URL with one bearer credential."""

    def __init__(self, base: str, bearer: str, context: ssl.SSLContext) -> None:
        self.base = normalise(base)
        parts = urllib.parse.urlsplit(self.base)
        if not bearer.isascii() or not bearer.isprintable() or " " in bearer:
            text = "the access key has characters that no key has; copy it again"
            raise Failure(text, exitcode.NOT_LOGGED_IN)
        self._host, self._port = parts.hostname or "", parts.port or 443
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
        except ssl.SSLError as error:
            connection.close()
            text = f"{self.base} does not speak TLS ({error.reason or one_line(error)}); check the host and the port"
            raise Failure(text, exitcode.UNREACHABLE) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            why = one_line(error) or type(error).__name__
            text = f"{self.base} cannot be reached ({why}); check the URL, and whether the instance runs"
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
                raise refusal(self.base, answer.status, data)
        try:
            return json.loads(data) if data else None
        except ValueError as error:
            raise Failure(f"{self.base} did not answer with JSON; is this the URL of a loft instance?") from error

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        """Send one request whose answer is an object. Raises: as `call`."""
        answer = self.call(method, path, body, **options)
        if not isinstance(answer, dict):
            raise Failure(f"{self.base} did not answer with an object; is this the URL of a loft instance?")
        return answer

    def lines(self, path: str, *, timeout_s: float) -> Iterator[Any]:
        """Yield each JSON line of a watch until the server ends it; a silence of `timeout_s` ends it too."""
        with self._send("GET", path, None, timeout_s, "") as answer:
            if answer.status >= 400:
                raise refusal(self.base, answer.status, answer.read(ANSWER_BYTES_MAX))
            while True:
                try:
                    line = answer.readline(ANSWER_BYTES_MAX)
                except (OSError, http.client.HTTPException):
                    return
                if not line:
                    return
                try:
                    event = json.loads(line)
                except ValueError:
                    return  # cut off in the middle
                yield event
