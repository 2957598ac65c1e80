"""The running platform that all end-to-end tests share: one embedded cluster, started once, kept out of the user's way.

Tests get a state directory of their own; the cache of binaries and images is the machine's. The cluster
is removed at the end, and what a killed run left behind is removed at the beginning.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

STATE = Path("/var/lib/loft-test")


class Shell:
    """Runs commands as a person would, with one kubeconfig."""

    def __init__(self, environment):
        self.environment = environment

    def __call__(self, *words, check=True, timeout=120, stdin=None):
        result = subprocess.run(
            words, capture_output=True, text=True, env=self.environment, timeout=timeout, input=stdin, check=False
        )
        if check and result.returncode:
            raise AssertionError(f"{' '.join(words)}\nexit code {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def kubectl(self, *words, **options):
        return self("kubectl", *words, **options)

    def get(self, *words):
        return json.loads(self.kubectl("get", *words, "-o", "json").stdout)


def environment():
    path = f"{Path('.venv/bin').resolve()}:/usr/local/bin:{os.environ['PATH']}"
    return os.environ | {"LOFT_STATE_DIR": str(STATE), "PATH": path, "HOME": str(STATE / "home")}


@pytest.fixture(scope="session")
def machine():
    """A shell on a machine with a running cluster."""
    if os.geteuid() != 0:
        pytest.fail("end-to-end tests start a real cluster and need root")
    shell = Shell(environment())
    shell("loft", "uninstall", "--yes", timeout=180)
    (STATE / "home").mkdir(parents=True, exist_ok=True)
    shell("loft", "start", timeout=2400)
    shell.environment |= {"KUBECONFIG": str(STATE / "clusters/loft-cluster/kubeconfig")}
    yield shell
    shell("loft", "uninstall", "--yes", timeout=180)
