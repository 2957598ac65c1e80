"""Run every benchmark and print one table: figure, ours, baseline, ratio, wish, met or not.

Usage: make bench, on a machine where `make start` has been run; or `python bench/run.py NAME...` for some of them. Each
script can also be run alone, measures its baseline in the same run, and removes what it made, also after Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import figures
import measure
import msgspec

HERE = Path(__file__).parent
SCRIPTS = ("create", "warm", "pod_ready", "services", "scale", "memory", "gateway")
INTERRUPTED = 128 + signal.SIGINT


def main(arguments: list[str]) -> int:
    """Run the scripts in turn; return 1 when one failed, 130 after Ctrl-C, 2 when there is no such script."""
    unknown = [name for name in arguments if name not in SCRIPTS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(SCRIPTS)}", file=sys.stderr)
        return 2
    chosen = [name for name in SCRIPTS if not arguments or name in arguments]
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="loft-bench-") as folder:
        results = Path(folder) / "results"
        results.touch()
        code = 0
        for name in chosen:
            print(f"\n== {name}: {_about(HERE / f'{name}.py')}", flush=True)
            code = run(name, results)
            failed += [name] if code else []
            if code == INTERRUPTED:
                break
        series = [msgspec.json.decode(line, type=figures.Series) for line in results.read_bytes().splitlines()]
    print("\n" + figures.table(figures.rows(series, missing=not arguments)))
    if code == INTERRUPTED:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def run(name: str, results: Path) -> int:
    """Run one script to its end and return its exit code; when we are told to end, it is told, and cleans up."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / f"{name}.py")], env=os.environ | {measure.RESULTS: str(results)}
    )
    # Ctrl-C reaches the script by itself; somebody's `kill` reaches only us.
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    }
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return INTERRUPTED if code in (-signal.SIGINT, -signal.SIGTERM, INTERRUPTED) else code


def _about(script: Path) -> str:
    return script.read_text().split('"""')[1].splitlines()[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
