.PHONY: start test test-long check bench conformance stop uninstall

start: ; @tools/setup.sh && .venv/bin/loft start
test: ; @tools/test.sh
test-long: ; @LOFT_E2E_LONG=1 tools/test.sh
check: ; @tools/setup.sh --dev && tools/check.sh
bench: ; @tools/setup.sh --dev && .venv/bin/python bench/run.py
conformance: ; @tools/setup.sh --dev && .venv/bin/python -m tools.conformance.run --report docs/conformance.md
stop: ; @.venv/bin/loft stop
uninstall: ; @.venv/bin/loft uninstall
