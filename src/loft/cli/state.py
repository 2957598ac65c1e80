"""What the CLI remembers between calls: `~/.loft/config.json`.

The file keeps the fields of the 2.x command line (`host`, `insecure`, `accesskey`, …) so that both
can read it, and adds ours: the pinned certificate authority, one direct-endpoint token per cluster
and the context that was current before we switched. Unknown fields survive a write.
"""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

ENVIRONMENT = "LOFT_CONFIG"


def default_path() -> str:
    """Return the state file: $LOFT_CONFIG, else ~/.loft/config.json. Raises: StateError without a home directory."""
    path = os.environ.get(ENVIRONMENT) or os.path.expanduser(os.path.join("~", ".loft", "config.json"))
    if path.startswith("~"):
        raise StateError(f"there is no home directory: set HOME, or name the state file by {ENVIRONMENT} or --config")
    return path


class StateError(Exception):
    """The state file cannot be used; the message says what to do."""


class State:
    """The remembered values as a plain mapping with the path they came from."""

    def __init__(self, path: str, values: dict[str, Any]) -> None:
        self.path = path
        self.values = values

    @classmethod
    def load(cls, path: str = "") -> State:
        """Read the file; a missing one is an empty state.

        Raises: StateError when the file is there and is not a JSON object (it is left as it is).
        """
        path = os.path.abspath(path or default_path())
        try:
            with open(path, encoding="utf-8") as file:
                values = json.load(file)
        except FileNotFoundError:
            values = {}
        except PermissionError as error:
            raise StateError(f"cannot read {path}: it belongs to somebody else; name another by --config") from error
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise StateError(f"cannot read {path}: {why}; move it away and run 'loft login' again") from error
        if not isinstance(values, dict):
            raise StateError(f"{path} is not a JSON object; move it away and run 'loft login' again")
        return cls(path, values)

    def save(self) -> None:
        """Write the file atomically, readable by its owner only; a link is followed.

        Raises: StateError when it cannot be written; it is then as it was.
        """
        target = os.path.realpath(self.path)
        values = {"kind": "Config", "apiVersion": "storage.loft.sh/v1"} | self.values
        temporary = ""
        try:
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".config-")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(values, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException as error:
            if temporary:
                os.unlink(temporary)
            if isinstance(error, OSError):
                why = error.strerror or error
                raise StateError(f"cannot write {self.path}: {why}; it is unchanged") from error
            raise

    def text(self, name: str) -> str:
        """Return a remembered string, "" when absent."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    @property
    def host(self) -> str:
        """URL of the instance, without a trailing slash; "" when not logged in."""
        return self.text("host").rstrip("/")

    @property
    def access_key(self) -> str:
        """The key of the last login; "" when not logged in."""
        return self.text("accesskey")

    @property
    def insecure(self) -> bool:
        """The user chose not to verify the instance's certificate."""
        return self.values.get("insecure") is True

    @property
    def ca_data(self) -> str:
        """Base64 PEM of the authority pinned for the instance; "" means the system's trust store.

        An instance that root started on this machine is trusted by all who use the machine.
        """
        for known in (self.values.get("knownHosts"), _known_to_this_machine()):
            entry = known.get(self.host) if isinstance(known, dict) else None
            if isinstance(entry, str) and entry:
                return entry
        return ""

    def pin(self, host: str, ca_data: str) -> None:
        """Remember the authority of an instance (base64 PEM)."""
        known = self.values.get("knownHosts")
        self.values["knownHosts"] = (known if isinstance(known, dict) else {}) | {host.rstrip("/"): ca_data}


def _known_to_this_machine() -> Any:
    """Return what `loft start` wrote for everybody: URL to base64 PEM; None when there is nothing."""
    root = os.environ.get("LOFT_STATE_DIR") or "/var/lib/loft"
    try:
        with open(os.path.join(root, "known-hosts.json"), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None
