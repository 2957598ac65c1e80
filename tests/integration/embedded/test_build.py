"""Programs are really built by Go into the cache: once, whole or not at all; and pause does what it is for."""

import os
import signal
import subprocess
import threading
import time

import pytest

from loft.embedded import binaries
from loft.embedded.binaries import BuildError

pytestmark = pytest.mark.integration


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOFT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def build(said=None):
    binaries.ensure((said if said is not None else []).append, ("pause",))
    return binaries.find("pause")


def test_a_program_is_built_once(cache):
    said = []
    first = build(said).stat()
    assert any(text.startswith("building pause") for text in said)
    said.clear()
    assert build(said).stat() == first
    assert said == []
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []


def test_two_starts_build_once(cache):
    said = []
    threads = [threading.Thread(target=build, args=(said,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert sum(text.startswith("building pause") for text in said) == 1
    assert binaries.PROGRAMS["pause"].is_built


def test_a_changed_source_is_built_again_and_leftovers_go(cache, tmp_path, monkeypatch):
    before = build().read_bytes()
    source = tmp_path / "pause"
    source.mkdir()
    for path in binaries.source_of("pause").iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "more.go").write_text('package main\n\nfunc init() { println("changed") }\n')
    monkeypatch.setattr(binaries, "source_of", lambda name: source)
    (tmp_path / "pins.toml").write_text("")
    (cache / ".pause-left").mkdir()
    assert not binaries.PROGRAMS["pause"].is_built
    after = build().read_bytes()
    assert after != before
    assert not (cache / ".pause-left").exists()
    assert not (binaries.PROGRAMS["pause"].directory / ".old").exists()


def test_a_failed_build_says_why_and_leaves_nothing(cache, tmp_path, monkeypatch):
    source = tmp_path / "pause"
    source.mkdir()
    (source / "go.mod").write_text("module x\n\ngo 1.26\n")
    (source / "main.go").write_text("package main\n\nfunc main() { nowhere() }\n")
    (tmp_path / "pins.toml").write_text("")
    monkeypatch.setattr(binaries, "source_of", lambda name: source)
    with pytest.raises(BuildError, match="undefined: nowhere"):
        build()
    # On a machine without Go, that was installed first.
    assert {path.name for path in cache.iterdir()} - {"go"} == {"build.lock"}
    with pytest.raises(BuildError, match="loft start"):
        binaries.find("pause")


def test_pause_collects_orphans_and_ends_when_told(cache):
    program = build()
    # As in a pod that shares its process namespace: pause is process 1 there, and a grandchild loses its parent.
    pod = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", program])
    try:
        inner = wait_for(lambda: children(pod.pid))[0]
        enter = ["nsenter", "--target", str(inner), "--pid", "--mount"]
        subprocess.run([*enter, "sh", "-c", "(sleep 0.2 &)"], check=True, timeout=10)
        wait_for(lambda: children(inner) == [])
        os.kill(inner, signal.SIGTERM)
        assert pod.wait(5) == 0
    finally:
        pod.kill()
        pod.wait()


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return []


def wait_for(check):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")
