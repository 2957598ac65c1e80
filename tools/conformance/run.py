"""`make conformance`: Kubernetes' own conformance specs against the embedded host cluster and a virtual cluster on it.

Resumable: results are kept outside the repository, and only what has not passed yet is run again. Needs a running
platform (`make start`). `--report FILE` writes the report; `--on`, `--focus`, `--minutes` narrow a run.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
import yaml

from loft.embedded import binaries, registry
from loft.embedded.layout import KUBERNETES_VERSION, MAIN_CLUSTER, Layout

from . import images, programs, report, specs
from .specs import Result

ROOT = Path(__file__).resolve().parents[2]
NAME = "conformance"
BATCH = 6
WORKERS = 4
SPEC_S = 900
VALUES = {
    "scheduler": {"enabled": True},
    "hostNodes": {"enabled": True},
    "sync": {"pods": {"rewriteHosts": True}},
    "isolation": {"podSecurityStandard": "privileged"},
    "storage": {"persistence": False},
    "controlPlane": {"resources": {"apiServer": {"limits": {"memory": "4Gi"}}}},
}
"""The profile for conformance.

A scheduler inside, all nodes, names in /etc/hosts, and no Pod Security beyond what each spec asks for.
"""


def say(text: str) -> None:
    """Show progress."""
    print(f"[info] {text}", file=sys.stderr, flush=True)


class Cluster:
    """One cluster under test and its results."""

    def __init__(self, name: str, kubeconfig: Path) -> None:
        self.name, self.kubeconfig = name, kubeconfig
        self.file = programs.folder() / f"results-{name}.jsonl"
        self.logs = programs.folder() / f"logs-{name}"
        self.logs.mkdir(parents=True, exist_ok=True)

    def known(self) -> dict[str, Result]:
        """Return the latest results."""
        return specs.latest(self.file.read_bytes().splitlines()) if self.file.exists() else {}

    def note(self, found: list[Result]) -> None:
        """Add results."""
        with self.file.open("ab") as file:
            file.write(b"".join(msgspec.json.encode(result) + b"\n" for result in found))

    def suite(self, *words: str, log: Path, seconds: float) -> list[dict[str, object]]:
        """Run e2e.test once and return its report, [] when it ended without one."""
        with tempfile.TemporaryDirectory(prefix="loft-conformance-") as folder:
            (Path(folder) / "registries").write_text(images.registry_list())
            wanted = Path(folder) / "report.json"
            command = [str(programs.program("e2e.test")), "-test.timeout=0", "-provider=skeleton"]
            command += [f"-kubeconfig={self.kubeconfig}", f"-kubectl-path={binaries.find('kubernetes').parent}/kubectl"]
            command += ["-disable-log-dump", "-dump-logs-on-failure=false", "-allowed-not-ready-nodes=1"]
            command += ["-ginkgo.no-color", "-ginkgo.timeout=24h", f"-ginkgo.json-report={wanted}", *words]
            environment = os.environ | {"KUBE_TEST_REPO_LIST": f"{folder}/registries", "HOME": folder}
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder
                )
                try:
                    process.wait(seconds)
                except subprocess.TimeoutExpired:
                    process.terminate()
                    process.wait(120)
                finally:
                    if process.poll() is None:
                        process.kill()
                        process.wait()
            return json.loads(wanted.read_bytes()) if wanted.exists() else []

    def run(self, batch: list[str]) -> None:
        """Run specs and note what became of them; what is left without a result is run alone."""
        log = self.logs / f"{hashlib.sha256(batch[0].encode()).hexdigest()[:12]}-{len(batch)}.log"
        found = specs.results(
            self.suite(f"-ginkgo.focus={specs.focus(batch)}", log=log, seconds=SPEC_S * len(batch)), batch
        )
        lost = [result.spec for result in found if result.state == "ended"]
        self.note([result for result in found if result.state != "ended" or len(batch) == 1])
        for result in found:
            if result.state != "ended":
                say(f"{self.name}: {result.state} {result.seconds:.0f} s {result.spec[:130]}")
        if len(batch) > 1:
            for spec in lost:
                self.run([spec])


def running_layout() -> Layout:
    """Return where the embedded cluster is. Raises: SystemExit when it does not run."""
    layout = registry.layout_of(MAIN_CLUSTER)
    if layout is None or not layout.kubeconfig.exists():
        raise SystemExit("[fatal] there is no running platform; run: make start")
    return layout


def virtual_cluster(layout: Layout, image: str) -> Cluster:
    """Install (or upgrade) the virtual cluster and return it."""
    folder = programs.folder()
    values = folder / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES | {"serviceCIDR": layout.service_cidr}))
    environment = os.environ | {"KUBECONFIG": str(layout.kubeconfig)}
    helm = [str(binaries.find("helm")), "upgrade", "--install", NAME, str(ROOT / "charts/virtualcluster")]
    helm += ["-n", NAME, "--create-namespace", "--wait", "--timeout", "180s", "-f", str(values)]
    helm += ["--set", f"image={image}"] if image else []
    subprocess.run(helm, env=environment, check=True, stdout=subprocess.DEVNULL)
    kubectl = [str(binaries.find("kubernetes").parent / "kubectl"), "-n", NAME, "get", "-o", "json"]

    def get(*words: str) -> dict[str, dict[str, str]]:
        said = subprocess.run([*kubectl, *words], env=environment, check=True, capture_output=True).stdout
        return msgspec.json.decode(said, type=dict[str, Any])

    address = get("service", NAME)["spec"]["clusterIP"]
    config = yaml.safe_load(base64.b64decode(get("secret", f"vc-{NAME}")["data"]["config"]))
    config["clusters"][0]["cluster"]["server"] = f"https://{address}:443"
    path = folder / "kubeconfig-virtual"
    path.touch(0o600)
    path.write_text(yaml.safe_dump(config))
    return Cluster("virtual", path)


def all_specs(cluster: Cluster) -> list[str]:
    """Return every conformance spec that the suite has."""
    file = programs.folder() / f"specs-{programs.digest()}.json"
    if not file.exists():
        found = cluster.suite("-ginkgo.dry-run", log=cluster.logs / "list.log", seconds=SPEC_S)
        file.write_text(json.dumps(specs.listed(found)))
    return msgspec.json.decode(file.read_bytes(), type=list[str])


def run(wanted: list[tuple[Cluster, list[str]]], minutes: float) -> None:
    """Run specs on every cluster until all are done or the time is over.

    The clusters are tested beside each other; what must run alone comes after all the rest, one cluster at a time:
    they share their nodes.
    """
    end = time.monotonic() + minutes * 60

    def one(cluster: Cluster, batch: list[str]) -> None:
        if time.monotonic() < end:
            cluster.run(batch)

    last = []
    with ThreadPoolExecutor(WORKERS * len(wanted)) as pool:
        queues = []
        for cluster, chosen in wanted:
            say(f"{cluster.name}: {len(chosen)} specs")
            together, alone = specs.batches(chosen, BATCH)
            queues.append([(cluster, batch) for batch in together])
            last += [(cluster, batch) for batch in alone]
        turns = [turn for turns in zip_longest(*queues) for turn in turns if turn is not None]
        for done in [pool.submit(one, *turn) for turn in turns]:
            done.result()
    # Stable: the order within a cluster stays, and what disturbs is behind everything else on all of them.
    for cluster, batch in sorted(last, key=lambda turn: any(specs.DISRUPTIVE in spec for spec in turn[1])):
        one(cluster, batch)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument("--on", choices=("host", "virtual", "both"), default="both")
    parser.add_argument("--focus", default="", help="only specs that match this regular expression")
    parser.add_argument("--minutes", type=float, default=24 * 60)
    parser.add_argument("--again", action="store_true", help="run failed specs again, too")
    parser.add_argument("--image", default="", help="image of the hypervisor")
    parser.add_argument("--report", type=Path, default=None)
    return parser.parse_args()


def main() -> int:
    """Run what is asked for; exit code 1 when a spec that passes on the host does not in a virtual cluster."""
    asked = options()
    layout = running_layout()
    host = Cluster("host", layout.kubeconfig)
    programs.ensure(say)
    images.ensure(layout, say)
    every = all_specs(host)
    chosen = [spec for spec in every if re.search(asked.focus, spec)]
    clusters = [host] if asked.on in ("host", "both") else []
    if asked.on in ("virtual", "both"):
        clusters.append(virtual_cluster(layout, asked.image))
    wanted = []
    for cluster in clusters:
        done = {spec for spec, result in cluster.known().items() if not asked.again or result.state == "passed"}
        wanted.append((cluster, [spec for spec in chosen if spec not in done]))
    run(wanted, asked.minutes)
    on_host, inside = host.known(), Cluster("virtual", Path()).known()
    if asked.report:
        asked.report.write_text(report.text(every, on_host, inside, KUBERNETES_VERSION, report.reasons()))
    print("\n".join(specs.table(chosen, on_host, inside)))
    return int(any(on_host.get(spec, _NONE).state == "passed" != inside.get(spec, _NONE).state for spec in chosen))


_NONE = Result(spec="", state="unknown")

if __name__ == "__main__":
    sys.exit(main())
