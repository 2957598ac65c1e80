"""Commands as a person types them: one environment, one kubeconfig, real programs."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from loft.embedded.binaries import find


class Shell:
    """Runs commands in one environment; `kubectl` and `loft` are those on its PATH."""

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

    def loft(self, *words, **options):
        return self("loft", *words, **options)

    def helm(self, *words, **options):
        return self(str(find("helm")), *words, **options)

    def get(self, *words):
        return json.loads(self.kubectl("get", *words, "-o", "json").stdout)

    @contextlib.contextmanager
    def started(self, *words):
        """A command that runs on while the test goes on; its output can be read."""
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.environment, text=True
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
            process.stdout.close()


class Person(Shell):
    """Somebody at this machine with a home, and so a login and contexts, of their own."""

    def __init__(self, environment, home):
        home.mkdir(parents=True, exist_ok=True)
        own = {"HOME": str(home), "KUBECONFIG": str(home / ".kube/config")}
        super().__init__({key: value for key, value in environment.items() if key != "LOFT_CONFIG"} | own)
        self.home = home

    def with_environment(self, **more):
        """The same person with some environment variables changed."""
        other = Person(self.environment, self.home)
        other.environment |= more
        return other


def wait_for(check, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.3)
    return found


def base_environment(state):
    path = f"{Path('.venv/bin').resolve()}:/usr/local/bin:{os.environ['PATH']}"
    return os.environ | {"LOFT_STATE_DIR": str(state), "PATH": path, "HOME": str(state / "home")}
