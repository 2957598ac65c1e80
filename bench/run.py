"""Run every benchmark and print what each printed; each script measures its baseline in the same run.

Usage: make bench, on a machine where `loft start` has been run. One script can be run alone.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run the scripts in the order of their names; return 1 when one failed."""
    failed = []
    for script in sorted(HERE.glob("[a-z]*.py")):
        if script.name in ("run.py", "measure.py"):
            continue
        print(f"\n== {script.stem}: {_about(script)}", flush=True)
        if subprocess.run([sys.executable, str(script)], check=False).returncode:
            failed.append(script.stem)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _about(script: Path) -> str:
    return script.read_text().split('"""')[1].splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
