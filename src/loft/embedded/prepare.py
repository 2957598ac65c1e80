"""Makes everything a cluster's processes find when they start: directories, certificates, files, cgroups, network.

May be repeated at any moment, and after an interruption at any point.
"""

from __future__ import annotations

import base64
import os
import secrets
from datetime import datetime
from pathlib import Path

from loft.embedded import certificates, cleanup, configuration, network
from loft.embedded.layout import Layout

CAP_SYS_RESOURCE = 24
ENCRYPTION_KEY_BYTES = 32


def prepare(layout: Layout, now: datetime) -> None:
    """Make what is missing. Raises: NetworkError, OSError."""
    for folder in (layout.config / "cni", layout.logs, layout.pod_logs, layout.run, layout.storage):
        folder.mkdir(parents=True, exist_ok=True)
    # Pods run as other users and reach their volumes below; nothing else here is theirs to see.
    layout.directory.chmod(0o711)
    layout.run.chmod(0o700)
    layout.logs.chmod(0o700)
    cleanup.note_boot(layout)
    certificates.ensure(layout, now)
    lower = has_capability(CAP_SYS_RESOURCE, Path("/proc/self/status").read_text())
    for path, text in configuration.files(layout, _encryption_key(layout), may_lower_oom_score=lower).items():
        _write(path, text)
    (layout.config / "resolv.conf").write_text("")
    cleanup.make_cgroups(layout)
    network.apply(layout)


def has_capability(number: int, status: str) -> bool:
    """Tell whether a process has a capability in effect; `status` is the text of its /proc/PID/status."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _encryption_key(layout: Layout) -> str:
    """Return the key of Secrets in etcd; made once, for without it no Secret could ever be read again."""
    path = layout.pki / "encryption.key"
    if not path.exists():
        _write(path, base64.b64encode(secrets.token_bytes(ENCRYPTION_KEY_BYTES)).decode())
    return path.read_text()


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
