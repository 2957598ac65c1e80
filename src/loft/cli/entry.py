"""First code of the `loft` process: answers `loft token` without loading the command framework.

kubectl runs `loft token` for every single call, so this path imports `sys`, `os` and `json` only.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; ends the process with the exit code of the command."""
    if len(sys.argv) > 1 and sys.argv[1] == "token":
        from loft.cli.token import run

        sys.exit(run(sys.argv[2:]))
    from loft.cli.app import run_app

    sys.exit(run_app())


if __name__ == "__main__":
    main()
