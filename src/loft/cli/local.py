"""What the commands share that work on this machine's own clusters instead of an instance's API."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loft.cli import exitcode
from loft.cli.failure import Failure, one_line

if TYPE_CHECKING:
    from loft.embedded.layout import Layout


def need_root() -> None:
    """Refuse early and clearly what only root can do. Raises: Failure."""
    if os.geteuid() != 0:
        raise Failure("this needs root: run it with sudo", exitcode.FORBIDDEN)


def chosen(name: str) -> list[Layout]:
    """Return the layout of the named cluster, or of all clusters of this machine.

    Raises: Failure NOT_FOUND for an unknown name, naming those there are.
    """
    from loft.embedded import registry

    with failures():
        names = registry.known()
    if name and name not in names:
        raise Failure(f"there is no cluster {name!r} here; there are: {', '.join(names) or 'none'}", exitcode.NOT_FOUND)
    found = [registry.layout_of(item) for item in ([name] if name else names)]
    return [layout for layout in found if layout is not None]


@contextmanager
def failures() -> Iterator[None]:
    """Turn what can go wrong on this machine into one line and an exit code."""
    from loft.embedded.binaries import BuildError
    from loft.embedded.cleanup import CleanupError
    from loft.embedded.images import ImageError
    from loft.embedded.layout import BadName
    from loft.embedded.network import NetworkError
    from loft.embedded.platform import PlatformError
    from loft.embedded.preflight import PreflightError
    from loft.embedded.registry import RegistryError
    from loft.embedded.run import StartError

    try:
        yield
    except (
        BuildError,
        CleanupError,
        ImageError,
        BadName,
        NetworkError,
        PlatformError,
        PreflightError,
        RegistryError,
        StartError,
    ) as error:
        raise Failure(str(error)) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Failure(f"{where}the disk is full; free some space and run the command again") from error
        raise Failure(f"{where}{one_line(error)}") from error
