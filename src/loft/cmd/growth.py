"""loft-growth: the step before an upgrade that gives a virtual control plane more replicas."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from loft.hypervisor.growth import make_way
from loft.kube.client import Client
from loft.kube.config import ConfigError, from_environment
from loft.kube.errors import ApiError


def main(arguments: list[str] | None = None) -> int:
    """Run to the end; return the exit code."""
    parser = argparse.ArgumentParser(prog="loft-growth", description=__doc__)
    parser.add_argument("namespace")
    parser.add_argument("name")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_run(options.namespace, options.name))
    except (ConfigError, ApiError) as error:
        logging.getLogger("loft-growth").error("%s", error)
        return 1
    return 0


async def _run(namespace: str, name: str) -> None:
    async with Client(from_environment(), user_agent="loft-growth") as host:
        await make_way(host, namespace, name)


if __name__ == "__main__":
    sys.exit(main())
