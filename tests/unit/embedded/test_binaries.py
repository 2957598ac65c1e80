"""When a program in the cache counts as there."""

import pytest

from loft.embedded.binaries import MARK, PROGRAMS, SIZE_MARK, BuildError, find, source_digest

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
