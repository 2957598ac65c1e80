#!/usr/bin/env bash
# All tests in one run, cheapest first, so that a plain mistake is told in a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh --dev
tools/check.sh
printf '\n== tests\n'
.venv/bin/python -m pytest tests/unit tests/laws -q -n auto --maxfail=5
[ -f src/loft/embedded/binaries.py ] && .venv/bin/python -m loft.embedded.binaries
exec .venv/bin/python -m pytest tests/integration tests/e2e
