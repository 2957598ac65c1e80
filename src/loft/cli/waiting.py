"""Waiting for an object to go, for commands with `--wait`."""

from __future__ import annotations

import time

from loft.cli import exitcode
from loft.cli.failure import Failure
from loft.cli.platform_api import PlatformApi
from loft.cli.transport import ServerRefused

PAUSE_S = 0.5


def until_gone(api: PlatformApi, cluster: str, path: str, timeout_s: float) -> None:
    """Ask for an object until the server says it is gone.

    Raises: Failure TIMEOUT when it is still there after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            api.in_cluster(cluster, "GET", path)
        except Failure as failure:
            if isinstance(failure, ServerRefused) and failure.status == 404:
                return
            # An instance that cannot be reached for a while is waited for.
            if failure.code != exitcode.UNREACHABLE:
                raise
        time.sleep(PAUSE_S)
    raise Failure(f"it is still being deleted after {timeout_s:.0f} s; deletion goes on", exitcode.TIMEOUT)
