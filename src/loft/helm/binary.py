"""The helm program as a child process: one call, one answer, bounded in time and size.

Helm gets its kubeconfig and values as files that only we can read and that live for the call; nothing secret is
on a command line, nothing is taken from the environment of whoever started us, and no text from outside can be
read as an option: names are checked, and stand behind `--`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from loft.kube.config import Endpoint, to_kubeconfig

VERSION = "v3.22.0"
OUTPUT_BYTES_MAX = 8 * 1024 * 1024
MESSAGE_LENGTH_MAX = 1000
TIMEOUT_S = 120.0
KILL_AFTER_S = 5.0
RELEASE_LENGTH_MAX = 53
"""Helm's own limit; its Secrets are named after the release."""
HISTORY_MAX = 3
"""Revisions that Helm keeps; each is a Secret as large as the chart."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
NOISE = ("WARNING:", "I0", "W0", "coalesce.go", "warning:")


class HelmError(Exception):
    """Helm could not do it; the message is the last thing it said that helps."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How a release is."""

    status: str
    """deployed, failed, pending-install, pending-upgrade, uninstalling, …"""
    revision: int
    description: str = ""


class _Info(msgspec.Struct):
    status: str = ""
    description: str = ""


class _Release(msgspec.Struct):
    info: _Info = msgspec.field(default_factory=_Info)
    version: int = 0


def find_helm() -> Path:
    """Return the program: $LOFT_HELM, the cache of `loft start`, or PATH. Raises: HelmError saying what to do."""
    cache = Path(os.environ.get("LOFT_CACHE_DIR") or "/var/cache/loft")
    given = os.environ.get("LOFT_HELM")
    for place in filter(None, (given, str(cache / f"helm-{VERSION}" / "helm"), shutil.which("helm"))):
        if os.access(place, os.X_OK):
            return Path(place)
    raise HelmError("the helm program is not there; run `loft start` once, or set LOFT_HELM to its path")


class Helm:
    """Helm against one cluster with one identity.

    `home` keeps Helm's cache of what the API server serves, which saves a part of each call; by default each
    call starts from nothing.
    """

    def __init__(
        self, cluster: Endpoint | Path | None, *, home: Path | None = None, program: Path | None = None
    ) -> None:
        """`cluster`: an endpoint with inline credentials, or a kubeconfig file; None for `template` only."""
        self._cluster = cluster
        self._home = home
        self._program = program

    async def install(
        self,
        release: str,
        namespace: str,
        chart: Path,
        values: Mapping[str, Any],
        *,
        wait: bool = False,
        timeout_s: float = TIMEOUT_S,
        create_namespace: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Install a release or bring it up to date. `wait`: until its pods are ready.

        `labels` are put on the Secret in which Helm keeps the release. Raises: HelmError.
        """
        args = [
            *("upgrade", "--install", "--history-max", str(HISTORY_MAX), "--hide-notes"),
            # The API server checks what it gets; fetching its whole schema first costs more than all the rest.
            "--disable-openapi-validation",
            *("--timeout", f"{max(1, int(timeout_s))}s"),
        ]
        args += ["--wait"] if wait else []
        args += ["--create-namespace"] if create_namespace else []
        if labels:
            args += ["--labels", ",".join(f"{key}={_label(value)}" for key, value in sorted(labels.items()))]
        await self._run(args, (_name(release), str(chart)), namespace, values=values, timeout_s=timeout_s + 10)

    async def uninstall(self, release: str, namespace: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Remove a release and what belongs to it; done as well when there is none. Raises: HelmError."""
        args = ["uninstall", "--ignore-not-found", "--timeout", f"{max(1, int(timeout_s))}s"]
        await self._run(args, (_name(release),), namespace, timeout_s=timeout_s + 10)

    async def status(self, release: str, namespace: str) -> Status | None:
        """Return how a release is, None when there is none. Raises: HelmError."""
        try:
            output = await self._run(["status", "--output", "json"], (_name(release),), namespace, timeout_s=30)
        except HelmError as error:
            if "release: not found" in str(error):
                return None
            raise
        found = msgspec.json.decode(output, type=_Release)
        return Status(status=found.info.status, revision=found.version, description=found.info.description)

    async def template(
        self, release: str, namespace: str, chart: Path, values: Mapping[str, Any], *, timeout_s: float = 30.0
    ) -> list[dict[str, Any]]:
        """Return the objects that the chart makes of these values, without any cluster. Raises: HelmError."""
        args = ["template", "--skip-tests"]
        output = await self._run(args, (_name(release), str(chart)), namespace, values=values, timeout_s=timeout_s)
        return [document for document in yaml.safe_load_all(output) if document]

    async def _run(
        self,
        args: Sequence[str],
        names: tuple[str, ...],
        namespace: str,
        *,
        values: Mapping[str, Any] | None = None,
        timeout_s: float,
    ) -> bytes:
        with tempfile.TemporaryDirectory(prefix="loft-helm-") as folder:
            home = self._home or Path(folder)
            options = ["--namespace", _name(namespace, 63)]
            if self._cluster is not None:
                options += ["--kubeconfig", str(self._kubeconfig(Path(folder)))]
            if values is not None:
                # JSON is YAML; unlike `--set`, no character of a value means anything.
                options += ["--values", str(_private(Path(folder) / "values.yaml", msgspec.json.encode(values)))]
            program = self._program or find_helm()
            argv = [str(program), *args, *options, "--", *names]
            return await _call(argv, _environment(home), timeout_s, args[0])

    def _kubeconfig(self, folder: Path) -> Path:
        if isinstance(self._cluster, Endpoint):
            return _private(folder / "kubeconfig", to_kubeconfig(self._cluster, "cluster"))
        assert self._cluster is not None, "asked for only with a cluster"
        return self._cluster


def useful_line(output: bytes) -> str:
    """Return the last line that says what went wrong: Helm ends with it, behind warnings and log lines."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(NOISE)]
    # "values don't meet the specifications of the schema" comes first, with the reasons on the lines behind it.
    for index, line in enumerate(kept):
        if line.startswith("Error:"):
            return " ".join(kept[index:]).removeprefix("Error:").strip()[:MESSAGE_LENGTH_MAX]
    return (kept or lines or ["it said nothing"])[-1][:MESSAGE_LENGTH_MAX]


async def _call(argv: Sequence[str], environment: Mapping[str, str], timeout_s: float, verb: str) -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise HelmError(f"helm cannot be started: {error.strerror}") from error
    assert process.stdout is not None and process.stderr is not None, "both are pipes"
    try:
        async with asyncio.timeout(timeout_s):
            output, complaints = await asyncio.gather(_bounded(process.stdout), _bounded(process.stderr))
            code = await process.wait()
    except TimeoutError:
        raise HelmError(f"helm {verb} did not end within {timeout_s:.0f} s") from None
    finally:
        if process.returncode is None:
            await _end(process)
    if code:
        raise HelmError(useful_line(complaints or output))
    return output


async def _bounded(stream: asyncio.StreamReader) -> bytes:
    """Read to the end, keep a bounded part: a chatty child must neither block nor fill our memory."""
    pieces, size = [], 0
    while piece := await stream.read(65536):
        size += len(piece)
        if size <= OUTPUT_BYTES_MAX:
            pieces.append(piece)
    if size > OUTPUT_BYTES_MAX:
        raise HelmError(f"helm printed more than {OUTPUT_BYTES_MAX} bytes")
    return b"".join(pieces)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the call and its children: first politely, since Helm then marks the release as failed."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_AFTER_S):
                await process.wait()
                return


def _environment(home: Path) -> dict[str, str]:
    folders = dict(_folders(home))
    for folder in folders.values():
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home)} | folders


def _folders(home: Path) -> Iterator[tuple[str, str]]:
    for name in ("CACHE", "CONFIG", "DATA"):
        yield f"HELM_{name}_HOME", str(home / name.lower())
    yield "KUBECACHEDIR", str(home / "kube")


def _private(path: Path, content: bytes) -> Path:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return path


def _name(name: str, most: int = RELEASE_LENGTH_MAX) -> str:
    if len(name) > most or not _NAME.fullmatch(name):
        raise HelmError(f"{name[:80]!r} is no name here: use at most {most} characters a-z, 0-9 and '-'")
    return name


def _label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise HelmError(f"{value[:80]!r} is no value for a label")
    return value
