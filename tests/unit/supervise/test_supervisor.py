"""The supervisor with real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from loft.supervise import leftover, logs
from loft.supervise.process import Process
from loft.supervise.supervisor import Status, Supervisor


def _shell(name: str, script: str, **more: object) -> Process:
    return Process(name=name, argv=["sh", "-c", script], **more)  # type: ignore[arg-type]


def _file(path: Path):
    async def ask() -> bool:
        return path.exists()

    return ask


def _pid(supervisor: Supervisor, name: str) -> int:
    return next(status.pid for status in supervisor.status() if status.name == name)


async def _wait(condition, timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


def test_starts_and_stops_in_order(tmp_path: Path) -> None:
    story = tmp_path / "story"

    def member(name: str, *after: str) -> Process:
        script = (
            f"trap 'sleep 0.2; echo stop {name} >>{story}; exit 0' TERM; sleep 0.2; echo start {name} >>{story};"
            f"touch {tmp_path}/{name}; while :; do sleep 0.05; done"
        )
        return _shell(name, script, ready=_file(tmp_path / name), after=after)

    async def scenario() -> None:
        supervisor = Supervisor([member("api", "etcd"), member("etcd")], pid_directory=tmp_path / "run")
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(10):
            await supervisor.ready()
        assert (tmp_path / "run" / "api.pid").exists()
        supervisor.stop()
        await running
        assert [status.state for status in supervisor.status()] == ["stopped", "stopped"]

    asyncio.run(scenario())
    assert story.read_text().split("\n")[:-1] == ["start etcd", "start api", "stop api", "stop etcd"]
    assert not list((tmp_path / "run").glob("*.pid"))


def test_what_dies_comes_back_and_is_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen: list[Status] = []
        supervisor = Supervisor([_shell("one", "exec sleep 60")], on_change=seen.append)
        running = asyncio.create_task(supervisor.run())
        await supervisor.ready()
        first = _pid(supervisor, "one")
        os.kill(first, signal.SIGKILL)
        await _wait(lambda: _pid(supervisor, "one") not in (0, first))
        await supervisor.ready()
        assert supervisor.status()[0].restarts == 1
        assert [status.state for status in seen][:4] == ["starting", "ready", "back-off", "starting"]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert leftover.mark_of(_pid(supervisor, "one")) is None
        assert supervisor.status()[0].state == "stopped"

    asyncio.run(scenario())


def test_one_that_cannot_start_does_not_keep_others_from_running() -> None:
    async def scenario() -> None:
        missing = Process(name="missing", argv=["/does/not/exist"])
        supervisor = Supervisor([missing, _shell("one", "exec sleep 60")])
        running = asyncio.create_task(supervisor.run())
        await _wait(lambda: {s.name: s.state for s in supervisor.status()} == {"missing": "back-off", "one": "ready"})
        supervisor.stop()
        await running

    asyncio.run(scenario())


def test_never_ready_is_started_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        process = _shell("one", "exec sleep 60", ready=_file(tmp_path / "never"), ready_timeout_s=0.3)
        supervisor = Supervisor([process])
        running = asyncio.create_task(supervisor.run())
        await _wait(lambda: supervisor.status()[0].restarts >= 1)
        supervisor.stop()
        await running

    asyncio.run(scenario())


def test_one_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    async def scenario() -> None:
        script = f"trap '' TERM; touch {tmp_path}/up; while :; do sleep 0.05; done"
        process = _shell("deaf", script, ready=_file(tmp_path / "up"), stop_timeout_s=0.3)
        supervisor = Supervisor([process])
        running = asyncio.create_task(supervisor.run())
        await supervisor.ready()
        pid = _pid(supervisor, "deaf")
        begin = time.monotonic()
        supervisor.stop()
        await running
        assert 0.25 < time.monotonic() - begin < 5
        assert leftover.mark_of(pid) is None

    asyncio.run(scenario())


def test_restart_gives_a_new_ready_process() -> None:
    async def scenario() -> None:
        supervisor = Supervisor([_shell("one", "exec sleep 60")])
        running = asyncio.create_task(supervisor.run())
        await supervisor.ready()
        first = _pid(supervisor, "one")
        async with asyncio.timeout(10):
            await supervisor.restart("one")
        assert _pid(supervisor, "one") not in (0, first)
        supervisor.stop()
        await running

    asyncio.run(scenario())


CHILD_SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from loft.supervise.process import Process
from loft.supervise.supervisor import Supervisor
process = Process(name="one", argv=["sleep", "60"])
asyncio.run(Supervisor([process], pid_directory=Path(sys.argv[1])).run())
"""


def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", CHILD_SUPERVISOR, str(tmp_path)])

    async def scenario() -> None:
        await _wait(lambda: (tmp_path / "one.pid").exists())
        mark = leftover.read(tmp_path / "one.pid")
        assert mark is not None
        await asyncio.sleep(0.2)
        supervisor.kill()
        await _wait(lambda: not leftover.is_alive(mark))

    try:
        asyncio.run(scenario())
    finally:
        supervisor.kill()
        supervisor.wait()


def test_leftovers_are_ended_before_the_start_and_strangers_are_spared(tmp_path: Path) -> None:
    left, stranger = subprocess.Popen(["sleep", "60"]), subprocess.Popen(["sleep", "60"])
    try:
        leftover.write(tmp_path / "left.pid", left.pid)
        leftover.write(tmp_path / "stranger.pid", stranger.pid)
        # The number was used again: the same pid, another start time.
        text = (tmp_path / "stranger.pid").read_text()
        mark = leftover.mark_of(stranger.pid)
        assert mark is not None
        (tmp_path / "stranger.pid").write_text(text.replace(str(mark.start_ticks), "1"))

        async def scenario() -> None:
            supervisor = Supervisor([_shell("one", "exec sleep 60")], pid_directory=tmp_path)
            running = asyncio.create_task(supervisor.run())
            await supervisor.ready()
            assert leftover.mark_of(left.pid) is None
            supervisor.stop()
            await running

        asyncio.run(scenario())
        assert stranger.poll() is None
    finally:
        for process in (left, stranger):
            process.kill()
            process.wait()


def test_output_goes_to_the_log_which_stays_bounded(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "one.log"

    async def scenario() -> None:
        process = _shell("one", "echo out; echo err >&2; exec sleep 60", log=log)
        supervisor = Supervisor([process])
        running = asyncio.create_task(supervisor.run())
        await _wait(lambda: log.exists() and log.read_text() == "out\nerr\n")
        supervisor.stop()
        await running

    asyncio.run(scenario())
    assert logs.last_lines(log, 1) == ["err"]
    assert not logs.bound(log)
    descriptor = logs.open_log(log)
    try:
        assert logs.bound(log, size_bytes_max=3)
        os.write(descriptor, b"next\n")
    finally:
        os.close(descriptor)
    assert log.read_bytes() == b"next\n"
    assert (tmp_path / "logs" / "one.log.1").read_text() == "out\nerr\n"
