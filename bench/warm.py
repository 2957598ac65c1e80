"""From asking for a virtual cluster to its API being usable, where warm ones wait; a cold creation is the baseline.

Needs a platform that keeps at least one (`loft start --values FILE` with `agent: {virtualClusters: {warm: 1}}`).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import figures
import measure

from loft.embedded.layout import Layout

RUNS = 5
REFILL_S = 60.0
CLAIMS = "/apis/cluster.loft.sh/v1/virtualclusterclaims"


def main() -> None:
    """Claim some, one after the other, each when the pool is full again; then create one."""
    layout = measure.running_cluster()
    warm = []
    for number in range(RUNS):
        wait_for_one(layout)
        began = time.perf_counter()
        space = claim(layout, f"bench-{number}")
        try:
            use(layout, space)
            warm.append(time.perf_counter() - began)
        finally:
            with measure.uninterrupted():
                measure.kubectl(layout, "delete", "namespace", space, "--timeout=120s")
    began = time.perf_counter()
    with measure.virtual_cluster(layout, "warm-baseline"):
        cold = time.perf_counter() - began
    measure.show(figures.WARM, warm)
    measure.show(figures.WARM_BASELINE, [cold])


def wait_for_one(layout: Layout) -> None:
    """Wait until a warm virtual cluster serves and nothing else starts. Raises: SystemExit when none comes."""
    deadline = time.monotonic() + REFILL_S
    while time.monotonic() < deadline:
        found = json.loads(measure.kubectl(layout, "get", "virtualclusters.storage.loft.sh", "-A",
                                           "-l", "loft.sh/warm", "-o", "json"))["items"]  # fmt: skip
        if found and all((item.get("status") or {}).get("controlPlaneReady") for item in found):
            time.sleep(2.0)
            return
        time.sleep(0.5)
    raise SystemExit("no warm virtual cluster: start the platform with agent: {virtualClusters: {warm: 1}} (--values)")


def claim(layout: Layout, name: str) -> str:
    """Claim one; return its space."""
    body = {"apiVersion": "cluster.loft.sh/v1", "kind": "VirtualClusterClaim", "metadata": {}}
    wish = json.dumps(body | {"spec": {"virtualCluster": name}})
    return str(json.loads(measure.kubectl(layout, "create", "--raw", CLAIMS, "-f", "-", stdin=wish))["status"]["space"])


def use(layout: Layout, space: str) -> None:
    """Ask it for something, by its own kubeconfig."""
    with TemporaryDirectory(prefix="loft-bench-") as folder:
        path = Path(folder) / "kubeconfig"
        path.write_text(measure.kubeconfig(layout, space.removeprefix("vcluster-"), space))
        measure.kubectl(layout, f"--kubeconfig={path}", "get", "serviceaccount", "default")


if __name__ == "__main__":
    main()
