"""Added latency of the gateway: the same GET of a namespace, directly at the API server and through four other ways.

    direct           TLS to the API server, impersonating as the gateway does
    kubectl proxy    plain HTTP to kubectl, which impersonates; no authentication, no audit
    plain Envoy      TLS, static headers, no decision, no audit: what Envoy costs by itself
    agent            our gateway at the cluster (what a direct cluster endpoint is): access key, scope, audit
    centre + agent   both gateways

The gateways are those of the running platform; a user, an access key and a permission are made for the run. Load comes
from wrk (Debian package): one keep-alive connection, then 16; the ways take turns, several rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import re
import secrets
import shutil
import socket
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import measure
import msgspec
import plain_envoy

from loft.embedded.layout import API_PORT, Layout
from loft.gateway.process import envoy_binary
from loft.kube.config import Endpoint, load_kubeconfig, to_kubeconfig
from loft.pki.authority import issue, new_authority

PATH = "/api/v1/namespaces/default"
USER = "loft-bench"
GROUP = f"loft:user:{USER}"
"""Name of the user and of the group that both stand for the User object in the cluster."""
CONNECTIONS = (1, 16)
READY_S = 30.0
WORKERS = 2
"""Threads of the plain Envoy: as many as the platform's have."""

OBJECTS = """
apiVersion: storage.loft.sh/v1
kind: User
metadata: {{name: {user}, labels: {{bench.loft.sh/made: ""}}}}
---
apiVersion: storage.loft.sh/v1
kind: AccessKey
metadata: {{name: {user}, labels: {{bench.loft.sh/made: ""}}}}
spec: {{user: {user}, keyHash: {hash}, ttl: 3600}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {user}, labels: {{bench.loft.sh/made: ""}}}}
rules: [{{apiGroups: [""], resources: [namespaces], verbs: [get]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {user}, labels: {{bench.loft.sh/made: ""}}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {user}}}
subjects: [{{kind: Group, name: "loft:user:{user}", apiGroup: rbac.authorization.k8s.io}}]
"""
KINDS = "accesskeys.storage.loft.sh,users.storage.loft.sh,clusterrolebindings,clusterroles"


class Way(msgspec.Struct, frozen=True):
    """How the request is sent."""

    name: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()


class Sample(msgspec.Struct, frozen=True):
    """What one run of wrk found."""

    p50_ms: float
    p99_ms: float
    rate: float
    """Requests a second."""


Samples = dict[str, list[Sample]]
"""By way: one for each round."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each run of wrk")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing; run: apt-get install wrk")
    layout = measure.running_cluster()
    with running(layout) as ways:
        for connections in CONNECTIONS:
            report(connections, taken(ways, connections, options))


@contextlib.contextmanager
def running(layout: Layout) -> Iterator[list[Way]]:
    """Make the user, start kubectl proxy and the plain Envoy, and give all ways once each answers."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loft-bench-")))
        key = stack.enter_context(access_key(layout))
        token = measure.kubectl(layout, "create", "token", "loft-agent-impersonator", "-n", "loft").strip()
        bearer = (("Authorization", f"Bearer {key}"),)
        impersonation = (
            ("Authorization", f"Bearer {token}"),
            ("Impersonate-User", GROUP),
            ("Impersonate-Group", GROUP),  # wrk sends one line for each name: the group with the permission
        )
        ways = [
            Way("direct", f"{layout.api_url}{PATH}", impersonation),
            Way("kubectl proxy", stack.enter_context(kubectl_proxy(layout, token, directory)) + PATH),
            Way("plain Envoy", stack.enter_context(envoy(layout, token, directory)) + PATH, bearer),
            Way("agent", f"https://{address(layout, 'loft-agent')}/kubernetes/cluster{PATH}", bearer),
            Way("centre + agent", f"https://{address(layout, 'loft')}/kubernetes/cluster/{layout.name}{PATH}", bearer),
        ]
        for way in ways:
            answering(way)
        yield ways


@contextlib.contextmanager
def access_key(layout: Layout) -> Iterator[str]:
    """Make a user who may read namespaces; give an access key of theirs."""
    key = secrets.token_urlsafe(48)
    try:
        objects = OBJECTS.format(user=USER, hash=hashlib.sha256(key.encode()).hexdigest())
        measure.kubectl(layout, "apply", "-f", "-", stdin=objects)
        yield key
    finally:
        with measure.uninterrupted():
            measure.kubectl(layout, "delete", KINDS, f"--selector={measure.LABEL}", "--timeout=60s")


def address(layout: Layout, service: str) -> str:
    """Return where a gateway's Service answers on this machine."""
    return measure.kubectl(layout, "get", "service", service, "-n", "loft", "-o", "jsonpath={.spec.clusterIP}")


@contextlib.contextmanager
def kubectl_proxy(layout: Layout, token: str, directory: Path) -> Iterator[str]:
    """Run `kubectl proxy` with the same impersonation."""
    port = free_port()
    endpoint = Endpoint(
        server=layout.api_url,
        ca_data=load_kubeconfig(str(layout.kubeconfig)).ca_data,
        token=token,
        impersonate_user=GROUP,
        impersonate_groups=(GROUP, "system:authenticated"),
    )
    path = directory / "proxy.kubeconfig"
    path.write_bytes(to_kubeconfig(endpoint, "bench"))
    with child([str(layout.binaries / "kubectl"), f"--kubeconfig={path}", "proxy", f"--port={port}"]):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def envoy(layout: Layout, token: str, directory: Path) -> Iterator[str]:
    """Run the plain Envoy with the same impersonation."""
    now = datetime.now(UTC)
    plain = plain_envoy.Plain(
        port=free_port(),
        admin=directory / "admin.sock",
        serving=issue(new_authority("bench", now), common_name="bench", ips=["127.0.0.1"], usage="server", now=now),
        address=layout.node_ip,
        api_port=API_PORT,
        ca=load_kubeconfig(str(layout.kubeconfig)).ca_data,
        headers=(
            ("authorization", f"Bearer {token}"),
            ("impersonate-user", GROUP),
            ("impersonate-group", GROUP),
            ("impersonate-group", "system:authenticated"),
        ),
    )
    config = directory / "plain.json"
    config.write_text(json.dumps(plain_envoy.configuration(plain)))
    options = ["--concurrency", str(WORKERS), "--disable-hot-restart", "--log-level", "error"]
    with child([str(envoy_binary()), "--config-path", str(config), *options]):
        yield f"https://127.0.0.1:{plain.port}"


def free_port() -> int:
    """Return a port that is free on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def child(command: list[str]) -> Iterator[None]:
    """Run a process as long as the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answering(way: Way) -> None:
    """Wait until a way gives the namespace: keys reach the gateways by watches. Raises: SystemExit."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            status, body = fetched(way)
        except (OSError, http.client.HTTPException) as error:
            status, body = 0, str(error).encode()
        if status == 200:
            if json.loads(body)["metadata"]["name"] != "default":
                raise SystemExit(f"{way.name}: this is another answer: {body[:200]!r}")
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"{way.name}: {way.url} does not answer: {status} {body[:300]!r}")
        time.sleep(0.1)


def fetched(way: Way) -> tuple[int, bytes]:
    """Send the request once. wrk verifies no certificate either: what is measured is the traffic, not its trust."""
    url = urlsplit(way.url)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host = str(url.hostname)
    connection = http.client.HTTPConnection(host, url.port, timeout=5)
    if url.scheme == "https":
        connection = http.client.HTTPSConnection(host, url.port, timeout=5, context=context)
    with contextlib.closing(connection):
        connection.request("GET", url.path, headers=dict(way.headers))
        answer = connection.getresponse()
        return answer.status, answer.read()


def taken(ways: list[Way], connections: int, options: argparse.Namespace) -> Samples:
    """Send requests over each way in turn; the first, short turn only warms up."""
    found: Samples = {way.name: [] for way in ways}
    for way in ways:
        once(way, connections, 1)
    for _ in range(options.rounds):
        for way in ways:
            found[way.name].append(once(way, connections, options.seconds))
    return found


def once(way: Way, connections: int, seconds: int) -> Sample:
    """Run wrk once. Raises: SystemExit when an answer was not 200."""
    headers = [word for name, value in way.headers for word in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *headers, way.url]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{way.name}: not every answer was 200\n{text}")
    return sample(text)


def sample(text: str) -> Sample:
    """Read wrk's output; pure."""
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    lines = re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)", text, re.MULTILINE)
    times = {which: float(value) * units[unit] for which, value, unit in lines}
    return Sample(times["50"], times["99"], float(re.findall(r"Requests/sec:\s+([\d.]+)", text)[0]))


def report(connections: int, found: Samples) -> None:
    """Print one table and record its series."""
    what = f"{connections} connection{'s' if connections > 1 else ''}"
    print(f"\n{what}, keep-alive; median of {len(found['direct'])} rounds")
    print(f"{'way':<16}{'p50 ms':>9}{'p99 ms':>9}{'added p50':>11}{'added p99':>11}{'req/s':>9}{'to direct':>11}")
    for way, samples in found.items():
        pairs = list(zip(samples, found["direct"], strict=True))
        p50, p99, rate = ([getattr(one, part) for one in samples] for part in ("p50_ms", "p99_ms", "rate"))
        added50 = [one.p50_ms - base.p50_ms for one, base in pairs]
        added99 = [one.p99_ms - base.p99_ms for one, base in pairs]
        share = statistics.median(one.rate / base.rate for one, base in pairs)
        middles = [statistics.median(values) for values in (p50, p99, added50, added99, rate)]
        numbers = f"{middles[0]:>9.2f}{middles[1]:>9.2f}{middles[2]:>11.2f}{middles[3]:>11.2f}"
        print(f"{way:<16}{numbers}{middles[4]:>9.0f}{share:>11.2f}", flush=True)
        measure.record(f"{way}: p99, {what}", p99, "ms")
        measure.record(f"{way}: added p50, {what}", added50, "ms")
        measure.record(f"{way}: throughput, {what}", rate, "/s")


if __name__ == "__main__":
    main()
