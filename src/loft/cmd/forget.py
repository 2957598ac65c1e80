"""loft-forget: the step after a deletion that empties a virtual cluster's part of an external etcd."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from loft.hypervisor.external import ForgetError, ended, forget, key_range
from loft.kube.client import Client
from loft.kube.config import ConfigError, from_environment
from loft.kube.errors import ApiError

log = logging.getLogger("loft-forget")
FOLDER = Path("/run/loft/etcd")


def main(arguments: list[str] | None = None) -> int:
    """Run to the end; return the exit code."""
    parser = argparse.ArgumentParser(prog="loft-forget", description=__doc__)
    parser.add_argument("namespace")
    parser.add_argument("name")
    parser.add_argument("replicas", type=int)
    parser.add_argument("endpoints", nargs="+")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_run(options))
    except (ConfigError, ApiError, ForgetError, ValueError) as error:
        log.error("%s", error)
        return 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    keys = key_range(options.namespace, options.name)
    async with Client(from_environment(), user_agent="loft-forget") as host:
        pods = [f"{options.name}-{number}" for number in range(options.replicas)]
        await ended(host, options.namespace, pods)
    log.info("%d keys below %s are removed", await forget(options.endpoints, FOLDER, keys), keys[0].decode())


if __name__ == "__main__":
    sys.exit(main())
