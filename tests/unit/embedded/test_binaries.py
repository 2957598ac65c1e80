"""When a program in the cache counts as there."""

import pytest

from loft.embedded.binaries import (
    MARK,
    NEEDED,
    PROGRAMS,
    SIZE_MARK,
    BuildError,
    _sources,
    find,
    find_kubernetes,
    source_digest,
    source_of,
)
from loft.embedded.images import kubernetes_image
from loft.embedded.layout import KUBERNETES_VERSION

PAUSE = PROGRAMS["pause"]


@pytest.fixture
def cached(tmp_path, monkeypatch):
    monkeypatch.setenv("LOFT_CACHE_DIR", str(tmp_path))
    PAUSE.directory.mkdir(parents=True)
    PAUSE.binary.write_bytes(b"program")
    (PAUSE.directory / SIZE_MARK).write_text("7")
    (PAUSE.directory / MARK).write_text(source_digest("pause"))
    assert find("pause") == PAUSE.binary
    return PAUSE.directory


@pytest.mark.parametrize("content", [b"", b"prog", b"program and more"])
def test_a_program_that_is_cut_off_or_changed_in_size_is_made_again(cached, content):
    PAUSE.binary.write_bytes(content)
    assert not PAUSE.is_built
    with pytest.raises(BuildError, match="run: loft start"):
        find("pause")


def test_a_missing_program_or_mark_is_made_again(cached):
    (cached / MARK).unlink()
    assert not PAUSE.is_built
    (cached / MARK).write_text(source_digest("pause"))
    PAUSE.binary.unlink()
    assert not PAUSE.is_built


def test_an_older_cache_without_sizes_is_used_but_for_empty_programs(cached):
    (cached / SIZE_MARK).unlink()
    assert PAUSE.is_built
    PAUSE.binary.write_bytes(b"")
    assert not PAUSE.is_built


def test_versions_share_their_source_and_nothing_else():
    usual, other = PROGRAMS["kubernetes"], PROGRAMS["kubernetes-v1.35.4"]
    assert usual.directory != other.directory
    assert {path.name for path in _sources(usual)} == {"collect.go", "go.mod", "go.sum", "main.go", "store.go"}
    assert {path.name for path in _sources(other)} == {
        "collect.go",
        "v1.35.4.mod",
        "v1.35.4.sum",
        "main.go",
        "store.go",
    }
    assert "k8s.io/kubernetes v1.35.4" in (source_of(other.key) / other.modfile).read_text()
    assert dict(other.variables)["k8s.io/component-base/version.gitMinor"] == "35"


def test_a_plain_start_builds_no_other_version(monkeypatch, tmp_path):
    monkeypatch.setenv("LOFT_CACHE_DIR", str(tmp_path))
    assert "kubernetes" in NEEDED
    assert "kubernetes-v1.35.4" not in NEEDED
    with pytest.raises(BuildError, match=r"run: loft start --kubernetes-versions v1\.35\.4"):
        find("kubernetes-v1.35.4")


def test_versions_that_cannot_be_built_are_refused_with_those_that_can():
    assert find_kubernetes(KUBERNETES_VERSION) == "kubernetes"
    assert find_kubernetes("v1.35.4") == "kubernetes-v1.35.4"
    with pytest.raises(BuildError, match=r"v1\.30\.0 cannot be built here; these can: v1\.36\.3, v1\.35\.4"):
        find_kubernetes("v1.30.0")


def test_images_of_versions_are_kept_side_by_side():
    usual, other = kubernetes_image(KUBERNETES_VERSION), kubernetes_image("v1.35.4")
    assert (usual.reference, usual.name) == (f"loft.sh/kubernetes:{KUBERNETES_VERSION}", "kubernetes")
    assert (other.reference, other.name) == ("loft.sh/kubernetes:v1.35.4", "kubernetes-v1.35.4")
