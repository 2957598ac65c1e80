"""The running platform that all end-to-end tests share, started once, kept out of the user's way.

Tests get a state directory of their own; the cache of binaries and images is the machine's. All of it is removed
at the end, and what a killed run left behind is removed at the beginning. While tests are written they can use
a platform that runs: LOFT_E2E_STATE is its state directory, LOFT_E2E_PASSWORD the password of user admin.
"""

import os
import re
import tempfile
from pathlib import Path

import pytest

from e2e.shell import Person, Shell, base_environment

STATE = Path("/var/lib/loft-test")
URL = "https://localhost:9898"


class Platform:
    """An instance and the password of its first user."""

    def __init__(self, machine, password, home):
        self.machine, self.password, self.url = machine, password, URL
        self._home = home

    def person(self, name):
        """Somebody who has not logged in: a home of their own, whoever else has the same name."""
        return Person(self.machine.environment, Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._home)))

    def admin(self, name="admin"):
        """A person who is logged in as the first user."""
        person = self.person(name)
        person.loft("login", self.url, "--username", "admin", "--password", self.password)
        return person


@pytest.fixture(scope="session")
def machine():
    """A shell on a machine with a running platform; kubectl is the administrator's."""
    if os.geteuid() != 0:
        pytest.fail("end-to-end tests start a real cluster and need root")
    running = os.environ.get("LOFT_E2E_STATE")
    state = Path(running or STATE)
    shell = Shell(base_environment(state))
    shell.state = state
    shell.environment |= {"KUBECONFIG": str(state / "clusters/loft-cluster/kubeconfig")}
    if running:
        shell.password = os.environ.get("LOFT_E2E_PASSWORD", "")
        yield shell
        return
    shell("loft", "uninstall", "--yes", timeout=180)
    (state / "home").mkdir(parents=True, exist_ok=True)
    said = shell("loft", "start", timeout=2400).stdout
    shell.password = re.search(r"^Password: (\S+)$", said, re.MULTILINE)[1]
    yield shell
    shell("loft", "uninstall", "--yes", timeout=180)


@pytest.fixture(scope="session")
def platform(machine, tmp_path_factory):
    return Platform(machine, machine.password, tmp_path_factory.mktemp("people"))
