"""Downloads are taken only when they are what was pinned; everything else means building."""

import hashlib
import http.server
import io
import os
import socket
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import pytest

from loft.embedded import downloads
from loft.embedded.binaries import PROGRAMS, source_of
from loft.embedded.downloads import NotTaken, Pin


def archive(name="linux/tool", data=b"#!", kind=tarfile.REGTYPE):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.linkname = kind, len(data) if kind == tarfile.REGTYPE else 0, "/etc/passwd"
        made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def serve():
    content = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = content.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def put(path, body):
            content[path] = body
            return f"http://127.0.0.1:{server.server_port}{path}"

        yield put
        server.shutdown()
        thread.join()


def pin(url, body, member="linux/tool"):
    return Pin(version="v1", url=url, sha256=hashlib.sha256(body).hexdigest(), member=member)


def test_what_was_pinned_is_taken(serve, tmp_path):
    body = archive()
    downloads.fetch(pin(serve("/a.tgz", body), body), tmp_path / "tool")
    assert (tmp_path / "tool").read_bytes() == b"#!"
    assert (tmp_path / "tool").stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("body", "member", "why"),
    [
        (archive("other"), "linux/tool", "holds no linux/tool"),
        (archive(kind=tarfile.SYMTYPE), "linux/tool", "is no file"),
        (b"not an archive", "linux/tool", "cannot be downloaded"),
        (archive()[:60], "linux/tool", "cannot be downloaded"),
    ],
    ids=["no such member", "a link", "no archive", "cut off"],
)
def test_a_strange_archive_is_not_taken(serve, tmp_path, body, member, why):
    with pytest.raises(NotTaken, match=why):
        downloads.fetch(pin(serve("/a.tgz", body), body, member), tmp_path / "tool")


def test_another_content_is_not_taken_and_never_unpacked(serve, tmp_path):
    url = serve("/a.tgz", archive(data=b"evil"))
    with pytest.raises(NotTaken, match="not what was pinned"):
        downloads.fetch(pin(url, archive()), tmp_path / "tool")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_no_reason_to_build(serve):
    body = archive(data=os.urandom(1 << 20))
    with pytest.raises(OSError, match="No space left") as caught, tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / "tool"
        full.symlink_to("/dev/full")
        downloads.fetch(pin(serve("/a.tgz", body), body), full)
    assert not isinstance(caught.value, NotTaken)


def test_a_missing_page_is_not_taken(serve, tmp_path):
    with pytest.raises(NotTaken, match="404"):
        downloads.fetch(pin(serve("/a.tgz", b"").replace("a.tgz", "b.tgz"), b""), tmp_path / "tool")


def test_a_server_that_says_nothing_costs_three_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "REACH_S", 0.3)
    monkeypatch.setattr(downloads, "READ_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(NotTaken, match="cannot be reached within"):
            downloads.fetch(pin(f"http://127.0.0.1:{silent.getsockname()[1]}/", b""), tmp_path / "tool")
        assert time.monotonic() - began < 1


def test_too_much_is_not_taken(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "SIZE_BYTES_MAX", 10)
    body = archive()
    with pytest.raises(NotTaken, match="too large"):
        downloads.fetch(pin(serve("/a.tgz", body), body), tmp_path / "tool")


PINS = (source_of("helm").parent / "pins.toml").read_text()


def test_a_pin_is_for_one_version_and_machine():
    assert downloads.pin_of(PINS, "helm", PROGRAMS["helm"].version, "x86_64") is not None
    assert downloads.pin_of(PINS, "helm", "v3.0.0", "x86_64") is None
    assert downloads.pin_of(PINS, "helm", PROGRAMS["helm"].version, "s390x") is None
    assert downloads.pin_of(PINS, "pause", "v1", "x86_64") is None


def test_every_pin_is_secure_and_of_the_version_that_is_built():
    import tomllib

    for name, machines in tomllib.loads(PINS).items():
        for machine in machines:
            found = downloads.pin_of(PINS, name, PROGRAMS[name].version, machine)
            assert found is not None, f"{name}: the pin is of another version"
            assert found.url.startswith("https://")
            assert len(bytes.fromhex(found.sha256)) == 32
