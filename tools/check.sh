#!/usr/bin/env bash
# The whole policy about code in one place: the same here and in CI. Cheap checks first.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; }
step "format and lint"; .venv/bin/ruff format --check -q . || { .venv/bin/ruff format --diff -q . | head -40; exit 1; }
.venv/bin/ruff check -q .
step "sizes"; .venv/bin/python tools/check_sizes.py
step "rooms"; .venv/bin/lint-imports | tail -n 4
step "types"; .venv/bin/mypy
if [ -f tools/gen_crds.py ]; then step "generated files"; .venv/bin/python tools/gen_crds.py --check; fi
