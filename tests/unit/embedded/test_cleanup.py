"""How containers end with their cluster, with real processes in their place."""

import contextlib
import os
import signal
import subprocess
import time

import pytest

from loft.embedded import cleanup
from loft.embedded.layout import Layout

# Stands for a shim: known by its name and the address of its containerd; its children are the containers.
SHIM = 'for script in "${@:2}"; do sh -c "$script" & done; wait; kill -STOP $$'


@pytest.fixture
def layout(tmp_path):
    return Layout(name="unit", index=15, state_dir=tmp_path, cache_dir=tmp_path)


@pytest.fixture
def shim(layout):
    started = []

    def start(address, *scripts):
        line = 'exec -a /usr/bin/containerd-shim-runc-v2 bash -c "$0" "$@"'
        words = ["bash", "-c", line, SHIM, "-address", str(address), *scripts]
        started.append(subprocess.Popen(words, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        # What it started is no member of a cgroup here, and so outlives it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(path):
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_containers_get_their_stop_signal_and_then_all_is_gone(layout, shim, tmp_path):
    polite = f"trap 'touch {tmp_path}/said-goodbye; exit 0' TERM; touch {tmp_path}/up; while :; do sleep 0.05; done"
    process = shim(layout.containerd_address, polite)
    wait_for(tmp_path / "up")
    cleanup.end_containers(layout)
    assert (tmp_path / "said-goodbye").exists()
    assert process.wait(5) < 0


def test_one_that_would_ignore_the_signal_is_not_waited_for(layout, shim, tmp_path):
    deaf = f"trap '' TERM; touch {tmp_path}/up; while :; do sleep 0.05; done"
    process = shim(layout.containerd_address, deaf)
    wait_for(tmp_path / "up")
    began = time.monotonic()
    cleanup.end_containers(layout)
    assert time.monotonic() - began < cleanup.GRACE_S
    assert process.wait(5) < 0


def test_containers_of_another_cluster_are_left_alone(layout, shim, tmp_path):
    process = shim("/run/containerd/containerd.sock", f"touch {tmp_path}/up; sleep 600")
    wait_for(tmp_path / "up")
    cleanup.end_containers(layout)
    assert process.poll() is None


def test_the_run_directory_speaks_of_this_boot_or_not(layout):
    layout.run.mkdir(parents=True)
    assert not cleanup.is_same_boot(layout)
    cleanup.note_boot(layout)
    assert cleanup.is_same_boot(layout)
    (layout.run / "boot").write_text("another")
    assert not cleanup.is_same_boot(layout)


def test_state_is_removed_with_everything_in_it(layout):
    (layout.directory / "etcd").mkdir(parents=True)
    (layout.directory / "etcd" / "wal").write_text("x")
    cleanup.forget_runtime(layout)
    cleanup.remove_state(layout)
    assert not layout.directory.exists()
    cleanup.remove_state(layout)
