"""A direct cluster endpoint is used where it answers and proves itself, else the centre, and the user is told."""

import base64
import socket
import ssl
import threading

import pytest
import trustme

from loft.cli.contexts import Access
from loft.cli.direct import problem_of


@pytest.fixture
def server():
    """A TLS server with a certificate for localhost; gives its URL and the PEM of its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(raw, server_side=True) as secure:
                    secure.recv(1)
            except OSError:
                raw.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"https://localhost:{listener.getsockname()[1]}", authority.cert_pem.bytes()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def access(base, ca=b"", *, insecure=False, direct=True):
    return Access(base, "east", direct, base64.b64encode(ca).decode(), insecure)


def test_an_endpoint_with_a_known_authority_or_none_asked_for_is_fine(server):
    url, ca = server
    assert problem_of(access(url, ca)) is None
    assert problem_of(access(url, insecure=True)) is None


def test_an_unknown_authority_is_a_problem(server):
    url, _ = server
    assert isinstance(problem_of(access(url)), ssl.SSLCertVerificationError)


def test_an_authority_that_the_machine_trusts_is_fine(server, tmp_path, monkeypatch):
    url, ca = server
    (tmp_path / "ca.pem").write_bytes(ca)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert problem_of(access(url)) is None


def test_an_endpoint_where_nobody_listens_is_a_problem():
    assert isinstance(problem_of(access("https://localhost:1")), ConnectionRefusedError)
    assert problem_of(access("https://localhost:1", direct=False)) is None
