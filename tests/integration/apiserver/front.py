"""Stands where the gateway stands: takes plain HTTP on loopback, says who the caller is, passes all on over mTLS."""

from __future__ import annotations

import http.client
import ssl
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from loft.pki.authority import KeyPair


class Front:
    """A proxy for one user; `url` is for kubectl's --server."""

    def __init__(self, port: int, ca: bytes, certificate: KeyPair, user: str, teams: tuple[str, ...]) -> None:
        context = ssl.create_default_context(cadata=ca.decode())
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate.cert + certificate.key)
            file.flush()
            context.load_cert_chain(file.name)
        groups = [f"loft:user:{user}", *(f"loft:team:{team}" for team in teams), "system:authenticated"]
        identity = [("X-Remote-User", f"loft:user:{user}"), *(("X-Remote-Group", group) for group in groups)]

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                behind = http.client.HTTPSConnection("localhost", port, context=context, timeout=60)
                kept = [(name, value) for name, value in self.headers.items() if not name.lower().startswith("x-")]
                behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in (*kept, *identity):
                    behind.putheader(name, value)
                behind.endheaders(body)
                answer = behind.getresponse()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                try:
                    while chunk := answer.read1(65536):
                        self.wfile.write(chunk)
                        self.wfile.flush()
                except OSError:
                    pass  # the client has gone, as a watching kubectl does
                finally:
                    answer.close()
                    behind.close()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
