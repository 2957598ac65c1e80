"""What all servers share as processes: logging, settings from a file, and an end in order.

Jobs are of two kinds. What *works* (controllers, leader election) ends first when the process is told to stop;
what *serves* goes on for a moment, until nobody is sent here any more, and then ends, too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from loft.kube.keep import keep_running

log = logging.getLogger(__name__)

Job = Callable[[], Awaitable[None]]
_Config = TypeVar("_Config", bound=msgspec.Struct)

LEAVING_S = 1.5
"""Endpoints of a Service are told of a pod's end at the same time as the pod."""


class SettingsError(Exception):
    """The process cannot be started as it is told to; the message says what is wrong."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where this process runs."""

    namespace: str
    identity: str
    """Unique among the replicas: the pod's name."""
    run: Path
    """For sockets; ours alone."""


def read_place(environment: Mapping[str, str]) -> Place:
    """Read the environment that the chart sets. Raises: SettingsError."""
    namespace, name = environment.get("POD_NAMESPACE", ""), environment.get("POD_NAME", "")
    if not namespace or not name:
        raise SettingsError("POD_NAMESPACE and POD_NAME must be set (the chart does so)")
    return Place(namespace=namespace, identity=name, run=Path(environment.get("LOFT_RUN_DIR", "/run/loft")))


def read_config(environment: Mapping[str, str], kind: type[_Config]) -> _Config:
    """Read the JSON file that $LOFT_CONFIG names. Raises: SettingsError."""
    path = Path(environment.get("LOFT_CONFIG", "/etc/loft/config.json"))
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise SettingsError(f"{path}: {error}") from error


def main(name: str, job: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run a server until SIGTERM or SIGINT; `job` gets the event that tells of them."""
    logging.basicConfig(
        level=os.environ.get("LOFT_LOG_LEVEL", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        asyncio.run(_supervised(job))
    except SettingsError as error:
        log.error("%s cannot start: %s", name, error)
        sys.exit(2)
    log.info("%s has ended", name)


async def _supervised(job: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.ensure_future(job(stop))
    stopping = asyncio.ensure_future(stop.wait())
    # While it still starts there is nothing to end in order.
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    try:
        async with asyncio.timeout(25.0):
            await running
    except TimeoutError:
        log.warning("not all has ended in time")


async def run_jobs(stop: asyncio.Event, *, serving: Mapping[str, Job], working: Mapping[str, Job]) -> None:
    """Keep all jobs running until `stop` is set; then end them in order."""
    async with asyncio.TaskGroup() as group:
        served = [group.create_task(keep_running(name, job), name=name) for name, job in serving.items()]
        worked = [group.create_task(keep_running(name, job), name=name) for name, job in working.items()]
        await stop.wait()
        log.info("stopping")
        await _end(worked)
        await asyncio.sleep(LEAVING_S)
        await _end(served)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(stop: asyncio.Event, wait: Awaitable[None]) -> bool:
    """Wait for something that a start needs; False when the process is told to stop first."""
    waiting, stopping = asyncio.ensure_future(wait), asyncio.ensure_future(stop.wait())
    await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not waiting.done():
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return False
    waiting.result()
    return True
