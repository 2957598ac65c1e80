"""Keeps a set of child processes running: starts them in order, restarts what ends, stops them in order.

Guarantees
- A process starts only when all it comes `after` are ready, and stops only when all that come after it
  have ended. Independent processes start and stop at the same time.
- A process that ends, or is not ready in time, is started again, for ever, with growing delays.
- No child outlives us: each gets SIGKILL from the kernel when we die (`setpriv --pdeathsig`), and what may
  have been left nevertheless is ended at the next start (leftover.py).

The event loop must run in the thread that lives as long as the process: the kernel ties the death signal
to the thread which made the child.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from loft.supervise import leftover, logs
from loft.supervise.process import Probe, Process, dependents, failures_after, restart_delay_s, start_order

log = logging.getLogger(__name__)

State = Literal["waiting", "starting", "ready", "back-off", "stopped"]

PROBE_INTERVAL_S = 0.1
LOG_CHECK_S = 20.0


class Status(msgspec.Struct, frozen=True):
    """How one process is."""

    name: str
    state: State
    pid: int = 0
    restarts: int = 0


class _Child:
    """One process over all its lives."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.state: State = "waiting"
        self.running: asyncio.subprocess.Process | None = None
        self.lives = 0
        self.is_ready = asyncio.Event()
        self.has_ended = asyncio.Event()


class Supervisor:
    """Runs the processes for as long as `run()` runs."""

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        pid_directory: Path | None = None,
        on_change: Callable[[Status], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing starts yet.

        `pid_directory`: where running processes are noted down, needed to find them after our own death.
        Raises: BadProcesses when they cannot be ordered.
        """
        start_order(processes)
        self._processes = tuple(processes)
        self._children = {process.name: _Child(process) for process in processes}
        self._pid_directory = pid_directory
        self._on_change = on_change
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Start everything and keep it running until `stop()` or cancellation; both stop it in order."""
        if self._pid_directory is not None:
            self._pid_directory.mkdir(parents=True, exist_ok=True)
            for name in await leftover.end_all(self._pid_directory):
                log.warning("%s was left running by an earlier supervisor; ended it", name)
        tasks = [asyncio.create_task(self._keep(child)) for child in self._children.values()]
        tasks.append(asyncio.create_task(self._bound_logs()))
        tasks.append(asyncio.create_task(self._wait_for_stop()))
        try:
            # None but the last ever returns; one that fails is a fault of ours and ends everything.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await asyncio.shield(asyncio.create_task(self._stop_all(tasks)))
        for task in tasks:
            if not task.cancelled() and (error := task.exception()):
                raise error

    async def _wait_for_stop(self) -> None:
        await self._stopping.wait()

    async def ready(self) -> None:
        """Wait until every process is ready at the same time."""
        while not all(child.is_ready.is_set() for child in self._children.values()):
            for child in self._children.values():
                await child.is_ready.wait()

    def stop(self) -> None:
        """Ask `run()` to stop everything and return."""
        self._stopping.set()

    async def restart(self, name: str) -> None:
        """Stop one process and wait until it is ready again (what comes after it stays)."""
        child = self._children[name]
        if child.running is not None:
            child.is_ready.clear()
            await self._end(child, child.running)
        await child.is_ready.wait()

    def status(self) -> list[Status]:
        """Return how each process is, in the order given."""
        return [self._status(child) for child in self._children.values()]

    def _status(self, child: _Child) -> Status:
        pid = child.running.pid if child.running is not None else 0
        return Status(child.process.name, child.state, pid, max(0, child.lives - 1))

    def _enter(self, child: _Child, state: State) -> None:
        if child.state != state:
            child.state = state
            self._on_change(self._status(child))

    async def _keep(self, child: _Child) -> None:
        loop = asyncio.get_running_loop()
        for name in child.process.after:
            await self._children[name].is_ready.wait()
        failures = 0
        while True:
            begin = loop.time()
            outcome = await self._live(child)
            failures = failures_after(failures, loop.time() - begin)
            delay_s = restart_delay_s(failures)
            self._enter(child, "back-off")
            log.warning("%s %s; starting it again in %.1f s", child.process.name, outcome, delay_s)
            await asyncio.sleep(delay_s)

    async def _live(self, child: _Child) -> str:
        """Run the process once; return how it ended."""
        process = child.process
        self._enter(child, "starting")
        child.lives += 1
        try:
            running = await self._spawn(process)
        except OSError as error:
            return f"could not be started: {error}"
        child.running = running
        watching = asyncio.create_task(self._watch_ready(child))
        try:
            code = await running.wait()
        finally:
            watching.cancel()
            child.is_ready.clear()
            if running.returncode is not None:
                child.running = None
                self._forget(process.name)
        await asyncio.gather(watching, return_exceptions=True)
        return f"ended with {_describe(code)}"

    async def _watch_ready(self, child: _Child) -> None:
        process, running = child.process, child.running
        assert running is not None, "only a started process is asked"
        try:
            async with asyncio.timeout(process.ready_timeout_s):
                while process.ready is not None and not await process.ready():  # noqa: ASYNC110 - another process
                    await asyncio.sleep(PROBE_INTERVAL_S)
        except TimeoutError:
            log.warning("%s is not ready after %.0f s", process.name, process.ready_timeout_s)
            await self._end(child, running)
            return
        child.is_ready.set()
        self._enter(child, "ready")

    async def _spawn(self, process: Process) -> asyncio.subprocess.Process:
        output = logs.open_log(process.log) if process.log is not None else None
        try:
            running = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", "--"),
                *process.argv,
                env=None if process.env is None else dict(process.env),
                cwd=process.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            if output is not None:
                os.close(output)
        if self._pid_directory is not None:
            leftover.write(self._pid_directory / f"{process.name}.pid", running.pid)
        return running

    async def _end(self, child: _Child, running: asyncio.subprocess.Process) -> None:
        """End one life: the stop signal, then SIGKILL after the process's time is over."""
        mark = leftover.mark_of(running.pid)
        if mark is not None and running.returncode is None:
            process = child.process
            await leftover.end(mark, timeout_s=process.stop_timeout_s, polite=process.stop_signal)

    async def _stop_all(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._stop_one(child) for child in self._children.values()))

    async def _stop_one(self, child: _Child) -> None:
        name = child.process.name
        for later in dependents(self._processes, name):
            await self._children[later].has_ended.wait()
        try:
            if (running := child.running) is not None:
                await self._end(child, running)
                await running.wait()
                child.running = None
                self._forget(name)
            self._enter(child, "stopped")
        finally:
            child.has_ended.set()

    def _forget(self, name: str) -> None:
        if self._pid_directory is not None:
            (self._pid_directory / f"{name}.pid").unlink(missing_ok=True)

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for process in self._processes:
                if process.log is not None and await asyncio.to_thread(logs.bound, process.log):
                    log.info("log of %s has been cut", process.name)


async def _until(probe: Probe | None) -> None:
    while probe is not None and not await probe():  # noqa: ASYNC110 - another process: nothing tells us
        await asyncio.sleep(PROBE_INTERVAL_S)


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
