"""loft-hypervisor: prepares a pod of a virtual control plane, lets its components begin, and runs beside them."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from asyncio import sslproto
from pathlib import Path

from loft.hypervisor.config import CONFIG_FILE, Config, ConfigError, Pod, for_this_pod, load_config, pod_from
from loft.hypervisor.replica import Places
from loft.hypervisor.run import run
from loft.kube.client import Client
from loft.kube.config import ConfigError as KubeConfigError
from loft.kube.config import from_environment
from loft.kube.errors import ApiError

TLS_BUFFER_BYTES = 32 * 1024


def main(arguments: list[str] | None = None) -> int:
    """Run until ended; return the exit code."""
    parser = argparse.ArgumentParser(prog="loft-hypervisor", description=__doc__)
    parser.add_argument("--config", type=Path, default=CONFIG_FILE)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args(arguments)
    level = logging.DEBUG if options.verbose else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        asyncio.run(_run(options.config))
    except (ConfigError, KubeConfigError, ApiError) as error:
        logging.getLogger("loft-hypervisor").error("%s", error)
        return 1
    return 0


async def _run(path: Path) -> None:
    config, pod = for_this_pod(load_config(path), os.environ), pod_from(os.environ)
    # Each TLS connection holds a buffer of that size from its beginning; with some forty watches, which are mostly
    # silent, the default of 256 KiB would be a quarter of the process's memory.
    sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
    # What is loaded by now stays; the collector need not look at it again and again.
    gc.freeze()
    work = asyncio.ensure_future(_beside(config, pod))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _show_tasks)
    try:
        await work
    except asyncio.CancelledError:
        logging.getLogger("loft-hypervisor").info("stopped")


async def _beside(config: Config, pod: Pod) -> None:
    """Run beside our own components, or beside a control plane of another make."""
    if config.distribution is None:
        await run(from_environment(), config, pod, Places())
        return
    from loft.hypervisor import distribution_run  # what it needs is loaded where it is needed

    places = Places(api_server=f"https://127.0.0.1:{config.distribution.port}")
    async with Client(from_environment(), user_agent="loft-hypervisor") as host:
        await distribution_run.run(host, config, pod, places)


def _show_tasks() -> None:
    """Write where every task waits: `kill -USR1 1` in the container tells why nothing goes on."""
    for task in asyncio.all_tasks():
        task.print_stack(limit=3, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
