"""The supervisor with real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loft.supervise import leftover, logs, probe
from loft.supervise.process import Process
from loft.supervise.supervisor import Supervisor

SERVE = """
import socket, sys, signal, time
path, note = sys.argv[1:]
def end(*_):
    open(note, "a").write("stop " + path.rsplit("/", 1)[1] + "\\n"); sys.exit(0)
signal.signal(signal.SIGTERM, end)
s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen()
open(note, "a").write("start " + path.rsplit("/", 1)[1] + "\\n")
while True: time.sleep(0.05)
"""


def server(folder, name, *after):
    path = folder / name
    return Process(
        name=name,
        argv=(
            "sh",
            "-c",
            f'rm -f "$1"; exec {sys.executable} -c "$0" "$1" "$2"',
            SERVE,
            str(path),
            str(folder / "note"),
        ),
        ready=probe.unix(path),
        after=after,
        log=folder / f"{name}.log",
    )


async def running(supervisor):
    task = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(20):
        await supervisor.ready()
    return task


def pid_of(supervisor, name):
    return next(item.pid for item in supervisor.status() if item.name == name)


def is_gone(pid):
    return leftover.mark_of(pid) is None


def test_start_and_stop_are_in_order(tmp_path):
    async def story():
        supervisor = Supervisor([server(tmp_path, "api", "etcd"), server(tmp_path, "etcd")])
        task = await running(supervisor)
        supervisor.stop()
        await asyncio.wait_for(task, 20)

    asyncio.run(story())
    assert (tmp_path / "note").read_text().split("\n")[:4] == ["start etcd", "start api", "stop api", "stop etcd"]


def test_a_process_that_dies_comes_back(tmp_path):
    async def story():
        supervisor = Supervisor([server(tmp_path, "one")], pid_directory=tmp_path / "pids")
        task = await running(supervisor)
        first = pid_of(supervisor, "one")
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(20):
            while pid_of(supervisor, "one") in (0, first):
                await asyncio.sleep(0.05)
            await supervisor.ready()
        second = pid_of(supervisor, "one")
        supervisor.stop()
        await asyncio.wait_for(task, 20)
        assert is_gone(second)
        assert not list((tmp_path / "pids").glob("*.pid"))

    asyncio.run(story())


def test_a_process_that_does_not_end_politely_is_killed(tmp_path):
    stubborn = Process(
        name="stubborn",
        argv=("sh", "-c", 'trap "" TERM; touch "$0"; while :; do sleep 0.1; done', str(tmp_path / "up")),
        stop_timeout_s=0.5,
    )

    async def story():
        supervisor = Supervisor([stubborn])
        task = await running(supervisor)
        while not (tmp_path / "up").exists():
            await asyncio.sleep(0.02)
        pid = pid_of(supervisor, "stubborn")
        supervisor.stop()
        await asyncio.wait_for(task, 20)
        assert is_gone(pid)

    asyncio.run(story())


def test_a_program_that_does_not_exist_is_tried_again_and_can_be_stopped(tmp_path):
    seen = []

    async def story():
        supervisor = Supervisor(
            [Process(name="none", argv=("/no/such/program",))], on_change=lambda status: seen.append(status.state)
        )
        task = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(20):
            while seen.count("starting") < 2:
                await asyncio.sleep(0.05)
        supervisor.stop()
        await asyncio.wait_for(task, 20)

    asyncio.run(story())
    assert "back-off" in seen


def test_no_child_outlives_a_supervisor_that_is_killed(tmp_path):
    code = """
import asyncio, sys
from pathlib import Path
from loft.supervise.process import Process
from loft.supervise.supervisor import Supervisor
asyncio.run(Supervisor([Process(name="child", argv=("sleep", "600"))], pid_directory=Path(sys.argv[1])).run())
"""
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], start_new_session=True)
    try:
        mark = _wait_for_mark(tmp_path / "child.pid")
    finally:
        parent.kill()
        parent.wait(10)
    deadline = time.monotonic() + 10
    while leftover.is_alive(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not leftover.is_alive(mark)


def _wait_for_mark(path: Path):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if mark := leftover.read(path):
            return mark
        time.sleep(0.02)
    raise AssertionError("the child was never noted down")


def test_what_an_earlier_supervisor_left_behind_is_ended_first(tmp_path):
    orphan = subprocess.Popen(["sleep", "600"])
    leftover.write(tmp_path / "orphan.pid", orphan.pid)

    async def story():
        supervisor = Supervisor([], pid_directory=tmp_path)
        task = asyncio.create_task(supervisor.run())
        await asyncio.to_thread(orphan.wait, 20)
        supervisor.stop()
        await asyncio.wait_for(task, 20)

    asyncio.run(story())
    assert orphan.returncode is not None


def test_a_number_that_was_given_to_another_process_is_not_that_process(tmp_path):
    mark = leftover.mark_of(os.getpid())
    assert leftover.is_alive(mark)
    other = leftover.Mark(mark.pid, mark.start_ticks + 1, mark.boot_id)
    assert not leftover.is_alive(other)
    assert asyncio.run(leftover.end(other)) is False


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": "x"}'])
def test_a_damaged_pid_file_is_no_process(tmp_path, content):
    (tmp_path / "a.pid").write_bytes(content)
    assert leftover.read(tmp_path / "a.pid") is None


def test_logs_are_bounded_and_keep_one_older_part(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("line\n" * 100)
    assert not logs.bound(path, 1000)
    assert logs.bound(path, 100)
    assert path.read_text() == ""
    assert (tmp_path / "a.log.1").read_text() == "line\n" * 100
    assert logs.last_lines(tmp_path / "a.log.1", 2) == ["line", "line"]
    assert logs.last_lines(tmp_path / "none") == []
