"""Write the CRDs of our kinds into the charts that own them; `--check` only tells whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from loft.api.crd import DEFINITIONS, render

CHARTS = Path(__file__).resolve().parent.parent / "charts"


def main(arguments: list[str]) -> int:
    """Write what differs (or, with --check, name it and return 1)."""
    if set(arguments) - {"--check"}:
        print("usage: gen_crds.py [--check]", file=sys.stderr)
        return 2
    stale = 0
    for definition in DEFINITIONS:
        path = CHARTS / definition.chart / "crds" / f"{definition.name}.yaml"
        text = render(definition)
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        if "--check" in arguments:
            print(f"{path.relative_to(CHARTS.parent)} is out of date; run: python tools/gen_crds.py")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"wrote {path.relative_to(CHARTS.parent)}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
