"""The file rules of kubectl, on real files."""

import os
import threading
import time

import pytest
import yaml

from loft.cli import kubeconfig
from loft.cli.failure import Failure

OTHERS = """\
apiVersion: v1
kind: Config
preferences: {colors: true}
current-context: prod
clusters:
- name: prod
  cluster: {server: https://prod.example, certificate-authority-data: QQ==}
contexts:
- name: prod
  context: {cluster: prod, user: prod, namespace: 2024-01-01}
users:
- name: prod
  user: {token: abc, x-unknown: {deep: [1, 2]}}
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return tmp_path


def put(name, current):
    def change(document):
        kubeconfig.put(document, "clusters", name, "cluster", {"server": "https://a"})
        kubeconfig.put(document, "users", name, "user", {"token": "t"})
        kubeconfig.put(document, "contexts", name, "context", {"cluster": name, "user": name})
        if current:
            document["current-context"] = name

    kubeconfig.edit(change, name=name, sets_current=current)


def test_a_missing_file_is_created_private(home):
    put("loft_a", True)
    path = home / ".kube/config"
    assert kubeconfig.current_context() == "loft_a"
    assert path.stat().st_mode & 0o777 == 0o600
    assert not (home / ".kube/config.lock").exists()


def test_everything_else_in_the_file_is_kept(home):
    path = home / ".kube/config"
    path.parent.mkdir()
    path.write_text(OTHERS)
    os.chmod(path, 0o640)
    before = yaml.load(OTHERS, Loader=yaml.BaseLoader)
    put("loft_a", False)
    after = yaml.load(path.read_text(), Loader=yaml.BaseLoader)
    assert after["current-context"] == "prod"
    assert after["preferences"] == before["preferences"]
    for section in ("clusters", "contexts", "users"):
        assert after[section][0] == before[section][0]
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_stanza_is_changed_where_it_is_defined_and_the_current_context_where_it_is_set(home, monkeypatch):
    first, second = home / "first", home / "second"
    first.write_text(OTHERS)
    second.write_text("{}")
    monkeypatch.setenv("KUBECONFIG", f"{second}{os.pathsep}{os.pathsep}{first}{os.pathsep}{second}")
    put("loft_a", True)
    assert kubeconfig.has(kubeconfig.read(str(second)), "contexts", "loft_a")
    assert not kubeconfig.has(kubeconfig.read(str(first)), "contexts", "loft_a")
    assert kubeconfig.read(str(first))["current-context"] == "loft_a"
    assert not kubeconfig.read(str(second)).get("current-context")


def test_a_new_stanza_goes_to_the_last_file_when_none_exists(home, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", f"{home}/one{os.pathsep}{home}/two")
    put("loft_a", True)
    assert not (home / "one").exists()
    assert (home / "two").exists()


def test_an_unreadable_file_is_never_written(home):
    path = home / ".kube/config"
    path.parent.mkdir()
    path.write_text("a: [unclosed")
    with pytest.raises(Failure, match="nothing was changed"):
        put("loft_a", True)
    assert path.read_text() == "a: [unclosed"


def test_a_link_is_followed_and_stays_a_link(home):
    real = home / "dotfiles"
    real.write_text(OTHERS)
    (home / ".kube").mkdir()
    (home / ".kube/config").symlink_to(real)
    put("loft_a", False)
    assert (home / ".kube/config").is_symlink()
    assert kubeconfig.has(kubeconfig.read(str(real)), "contexts", "loft_a")


def test_entries_of_others_are_never_removed(home):
    path = home / ".kube/config"
    path.parent.mkdir()
    path.write_text(OTHERS)
    document = kubeconfig.read(str(path))
    assert not kubeconfig.remove(document, "prod")
    assert kubeconfig.has(document, "contexts", "prod")


def test_a_held_lock_is_waited_for(home):
    (home / ".kube").mkdir()
    lock = home / ".kube/config.lock"
    lock.touch()
    threading.Timer(0.3, lock.unlink).start()
    began = time.monotonic()
    put("loft_a", True)
    assert time.monotonic() - began > 0.2


def test_a_lock_left_behind_is_taken(home):
    (home / ".kube").mkdir()
    lock = home / ".kube/config.lock"
    lock.touch()
    os.utime(lock, (time.time() - 120, time.time() - 120))
    put("loft_a", True)
    assert not lock.exists()


def test_parallel_writers_lose_nothing(home):
    threads = [threading.Thread(target=put, args=(f"loft_{number}", False)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    document = kubeconfig.read(str(home / ".kube/config"))
    assert {entry["name"] for entry in document["contexts"]} == {f"loft_{number}" for number in range(8)}


def test_a_folder_that_cannot_be_written_is_named(home):
    (home / ".kube").write_text("a file")
    with pytest.raises((Failure, OSError)):
        put("loft_a", True)
