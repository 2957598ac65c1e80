"""Keep files, functions and parameter lists short; exceptions live in tools/size_allowlist.txt with a reason.

Limits: file 500 lines, function 60 lines, 5 parameters (self and keyword-only arguments of a
constructor-like call count too, so a Struct is cheaper). The allow-list may only shrink.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

FILE_LINES = 500
FUNCTION_LINES = 60
ROOT = Path(__file__).resolve().parent.parent


def findings(path: Path) -> list[str]:
    """Return `path:what size` for each limit that one file breaks."""
    text = path.read_text()
    name = path.relative_to(ROOT)
    found = []
    if (lines := text.count("\n")) > FILE_LINES:
        found.append(f"{name} file {lines}")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                found.append(f"{name}:{node.name} function {length}")
    return found


def main() -> int:
    """Print what is too long and is not allowed, and allowed entries that are no longer needed."""
    allowed: dict[str, str] = {}
    for line in (ROOT / "tools/size_allowlist.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            where, _, reason = line.partition(" -- ")
            if not reason:
                print(f"allow-list entry without a reason: {line}")
                return 1
            allowed[where.strip()] = reason
    found = [
        item
        for folder in ("src", "tools", "bench")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for item in findings(path)
    ]
    wrong = [item for item in found if " ".join(item.split(" ")[:2]) not in allowed]
    stale = [entry for entry in allowed if not any(" ".join(item.split(" ")[:2]) == entry for item in found)]
    for item in wrong:
        print(f"too long: {item}")
    for entry in stale:
        print(f"allow-list entry is no longer needed: {entry}")
    print(f"sizes: {len(found)} over the limit, {len(allowed)} allowed")
    return 1 if wrong or stale else 0


if __name__ == "__main__":
    sys.exit(main())
