"""What goes wrong on this machine becomes one line that says what to do."""

import errno

import pytest

from loft.cli import local
from loft.cli.failure import Failure


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "/x/y: the disk is full; free some space and run"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full; free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/x"), "/x: the disk is full"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "/x: Read-only file system"),
    ],
)
def test_errors_of_the_system(error, says):
    with pytest.raises(Failure) as caught, local.failures():
        raise error
    assert caught.value.message.startswith(says)


@pytest.mark.parametrize("content", ["{", '{"x": 99}'])
def test_a_damaged_list_of_clusters_is_told(tmp_path, monkeypatch, content):
    monkeypatch.setenv("LOFT_STATE_DIR", str(tmp_path))
    (tmp_path / "clusters.json").write_text(content)
    with pytest.raises(Failure, match="is damaged"):
        local.chosen("")


def test_an_unknown_cluster_is_told_with_those_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv("LOFT_STATE_DIR", str(tmp_path))
    with pytest.raises(Failure, match=r"no cluster '\.\./x' here; there are: none") as caught:
        local.chosen("../x")
    assert caught.value.code == 3
