"""Snapshots of virtual clusters: the file, where it is, what may be restored."""

import hashlib
import json
import tarfile

import pytest

from loft.cli import snapshots
from loft.cli.failure import Failure
from loft.cli.places import Place, parse
from loft.cli.restoring import holder, size_refusal, version_refusal
from loft.cli.snapshots import Metadata

METADATA = Metadata("dev", "team", "v1.36.3", "2026-01-02T03:04:05Z")


def store_of(content):
    return content + hashlib.sha256(content).digest()


def written(path, content):
    with snapshots.writing(path, METADATA) as file:
        file.write(content)
    return path


@pytest.mark.parametrize("size", [1, 511, 512 - 32, 512, 3 * 1024 * 1024 + 7])
def test_what_is_written_is_read_and_any_tar_finds_the_store(tmp_path, size):
    content = store_of(bytes(range(256)) * (size // 256 + 1))[-size - 32 :]
    content = store_of(content[:size])
    path = written(tmp_path / "one", content)
    found = snapshots.inspect(path)
    assert (found.metadata, found.size) == (METADATA, len(content))
    with path.open("rb") as file:
        file.seek(found.offset)
        assert b"".join(snapshots.part(file, found.size)) == content
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["snapshot.db", "metadata.json"]
        assert archive.extractfile("snapshot.db").read() == content
        assert json.load(archive.extractfile("metadata.json"))["version"] == "v1.36.3"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"short", store_of(b"store")[:-1], b"x" + store_of(b"store")])
def test_a_store_that_came_in_part_leaves_no_snapshot_behind(tmp_path, content):
    with pytest.raises(Failure, match="no whole snapshot"):
        written(tmp_path / "one", content)
    assert list(tmp_path.iterdir()) == []


def test_an_older_snapshot_stays_when_a_newer_fails(tmp_path):
    path = written(tmp_path / "one", store_of(b"before"))
    with pytest.raises(Failure):
        written(path, b"cut")
    assert snapshots.inspect(path).size == len(store_of(b"before"))


def test_what_is_no_snapshot_is_refused(tmp_path):
    whole = written(tmp_path / "whole", store_of(b"store" * 1000)).read_bytes()
    for number, content in enumerate((b"", b"text", whole[:3000], whole.replace(b"storestore", b"STOREstore", 1))):
        path = tmp_path / str(number)
        path.write_bytes(content)
        with pytest.raises(Failure, match="no whole snapshot"):
            snapshots.inspect(path)
    with pytest.raises(Failure, match="cannot be read: No such file"):
        snapshots.inspect(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a.tar", Place("", "a.tar")),
        ("/x/y z", Place("", "/x/y z")),
        ("pvc://claim/a.tar", Place("claim", "a.tar")),
        ("pvc://claim.b/day/a_1.tar", Place("claim.b", "day/a_1.tar")),
    ],
)
def test_places(text, place):
    assert parse(text) == place


@pytest.mark.parametrize(
    "text",
    ["", "s3://bucket/a", "pvc://claim", "pvc://claim/", "pvc:///a", "pvc://Claim/a", "pvc://c/../a", "pvc://c//a"],
)
def test_what_is_no_place_is_refused(text):
    with pytest.raises(Failure):
        parse(text)


@pytest.mark.parametrize(
    ("written_by", "running", "is_allowed"),
    [
        ("v1.36.3", "v1.36.1", True),
        ("v1.35.4", "v1.36.3", True),
        ("v1.34.1", "v1.36.3", False),
        ("v1.36.3", "v1.35.4", False),
        ("nonsense", "v1.36.3", False),
    ],
)
def test_a_store_is_restored_under_its_own_minor_version_or_the_next(written_by, running, is_allowed):
    assert (version_refusal(written_by, running) == "") is is_allowed


def test_the_pod_that_holds_a_volume_may_nothing():
    spec = holder("one", "image", "claim")["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(
    ("size", "limit", "text"),
    [
        (1 << 20, 0, ""),
        ((64 << 20) + 32, 64 << 20, ""),
        (
            (64 << 20) + 33,
            64 << 20,
            "the store in the snapshot is 64 MiB, and storage.limit of the virtual cluster is 64",
        ),
        (128 << 20, 32 << 20, "raise storage.limit"),
    ],
)
def test_a_store_larger_than_the_limit_is_refused_by_name(size, limit, text):
    found = size_refusal(size, limit)
    assert text in found
    assert bool(found) == bool(text)
