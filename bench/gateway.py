"""Added latency of the gateway: the same GET to a real API server, directly and through five ways.

    direct           TLS to the API server, impersonating as the gateway does
    kubectl proxy    plain HTTP to kubectl, which impersonates
    plain Envoy      TLS, static headers, no decision: what Envoy costs by itself
    agent            our gateway at the cluster (direct cluster endpoint)
    centre + agent   both gateways

One keep-alive connection and 16; the ways take turns, several rounds; printed are the medians over the rounds,
and the ratio to `direct`. Needs wrk (Debian package), the Kubernetes binary (LOFT_TEST_KUBERNETES or the cache).
Run: .venv/bin/python bench/gateway.py [--rounds 5] [--seconds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from integration.api_server import ApiServer, binary
from integration.gateway.bed import KEY, Bed, Behind, free_ports
from integration.gateway.conftest import prepare
from loft.gateway.envoy.proto import pipe, socket_address, typed
from loft.gateway.process import envoy_binary
from loft.kube.config import Endpoint, to_kubeconfig
from loft.pki.authority import KeyPair

PATH = "/api/v1/namespaces/gateway-test/configmaps/bench"
GROUPS = ("loft:user:ann", "loft:team:dev", "system:authenticated")
CONNECTIONS = (1, 16)


class Way(msgspec.Struct, frozen=True):
    """How the request is sent."""

    name: str
    url: str
    headers: tuple[str, ...] = ()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is missing: apt-get install wrk", file=sys.stderr)
        return 1
    with contextlib.ExitStack() as stack:
        ways = stack.enter_context(running())
        results = {count: measure(ways, count, options) for count in CONNECTIONS}
    for count, found in results.items():
        report(ways, count, found)
    return 0


@contextlib.contextmanager
def running() -> Iterator[list[Way]]:
    """Start the API server, the gateways, a plain Envoy and kubectl proxy; stop them at the end."""
    with tempfile.TemporaryDirectory(prefix="gw") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        program = binary()
        if program is None:
            raise SystemExit("no Kubernetes binary: run `loft start` once, or set LOFT_TEST_KUBERNETES")
        server = ApiServer(directory / "api", program)
        server.start()
        stack.callback(server.stop)
        token = asyncio.run(prepare(server))
        asyncio.run(make_object(server))
        certificate = server.endpoint_for("loft:gateway")
        pair = KeyPair(cert=certificate.client_cert, key=certificate.client_key)
        behind = Behind(address=f"127.0.0.1:{server.port}", ca=server.authority.cert, gateway=pair, token=token)
        bed = Bed(directory, behind)
        stack.callback(bed.close)
        proxy = stack.enter_context(kubectl_proxy(server, token, directory))
        envoy = stack.enter_context(plain_envoy(bed, server, token, directory))
        impersonation = (
            f"Authorization: Bearer {token}",
            "Impersonate-User: loft:user:ann",
            "Impersonate-Group: loft:team:dev",  # wrk sends one line for each name: the group with the permission
        )
        key = (f"Authorization: Bearer {KEY}",)
        agent, centre = bed.agent.settings.tls_port, bed.centre.settings.tls_port
        yield [
            Way("direct", f"{server.url}{PATH}", impersonation),
            Way("kubectl proxy", f"{proxy}{PATH}"),
            Way("plain Envoy", f"{envoy}{PATH}", key),
            Way("agent", f"https://127.0.0.1:{agent}/kubernetes/cluster{PATH}", key),
            Way("centre + agent", f"https://127.0.0.1:{centre}/kubernetes/cluster/east{PATH}", key),
        ]


async def make_object(server: ApiServer) -> None:
    """Make what is read in each request."""
    from loft.core.resource import CONFIGMAPS
    from loft.kube.client import Client

    async with Client(server.endpoint) as client:
        await client.create(CONFIGMAPS, {"metadata": {"name": "bench", "namespace": "gateway-test"}})


@contextlib.contextmanager
def kubectl_proxy(server: ApiServer, token: str, directory: Path) -> Iterator[str]:
    """Run `kubectl proxy` with the same impersonation."""
    (port,) = free_ports(1)
    endpoint = Endpoint(
        server=server.url,
        ca_data=server.authority.cert,
        token=token,
        impersonate_user="loft:user:ann",
        impersonate_groups=GROUPS,
    )
    (directory / "proxy.kubeconfig").write_bytes(to_kubeconfig(endpoint, "bench"))
    command = ["kubectl", f"--kubeconfig={directory / 'proxy.kubeconfig'}", "proxy", f"--port={port}"]
    with child(command, executable=binary()):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def plain_envoy(bed: Bed, server: ApiServer, token: str, directory: Path) -> Iterator[str]:
    """Run an Envoy that adds the same headers to every request and decides nothing."""
    (port,) = free_ports(1)
    config = directory / "plain.json"
    config.write_text(json.dumps(plain_configuration(bed, server, token, port)))
    command = [str(envoy_binary()), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    with child(command):
        yield f"https://127.0.0.1:{port}"


def plain_configuration(bed: Bed, server: ApiServer, token: str, port: int) -> dict[str, object]:
    """Return the start configuration of the plain Envoy."""
    certificate = bed.certificates.server
    tls = {
        "tls_certificates": [
            {
                "certificate_chain": {"inline_string": certificate.cert.decode()},
                "private_key": {"inline_string": certificate.key.decode()},
            }
        ],
        "alpn_protocols": ["h2", "http/1.1"],
    }
    added = [("authorization", f"Bearer {token}"), ("impersonate-user", "loft:user:ann")]
    added += [("impersonate-group", group) for group in GROUPS]
    headers = [
        {
            "header": {"key": name, "value": value},
            "append_action": "APPEND_IF_EXISTS_OR_ADD" if name == "impersonate-group" else "OVERWRITE_IF_EXISTS_OR_ADD",
        }
        for name, value in added
    ]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "api", "timeout": "0s"}, "request_headers_to_add": headers}
    manager = typed(
        "hcm",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="plain",
        http_filters=[typed("router", "extensions.filters.http.router.v3.Router")],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    )
    sockets = "extensions.transport_sockets.tls.v3."
    context = {"validation_context": {"trusted_ca": {"inline_string": server.authority.cert.decode()}}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    auto = {"http_protocol_options": {}, "http2_protocol_options": {}}
    listener = {
        "name": "plain",
        "address": socket_address("127.0.0.1", port),
        "filter_chains": [
            {
                "filters": [manager],
                "transport_socket": typed("tls", sockets + "DownstreamTlsContext", common_tls_context=tls),
            }
        ],
    }
    upstream = {
        "name": "api",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "api",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address("127.0.0.1", server.port)}}]}],
        },
        "transport_socket": typed("tls", sockets + "UpstreamTlsContext", common_tls_context=context),
        "typed_extension_protocol_options": {
            options: typed("", options.removeprefix("envoy."), auto_config=auto)["typed_config"]
        },
    }
    admin = {"address": pipe(str(bed.directory / "plain-admin.sock"))}
    return {"admin": admin, "static_resources": {"listeners": [listener], "clusters": [upstream]}}


@contextlib.contextmanager
def child(command: list[str], executable: Path | None = None) -> Iterator[None]:
    """Run a process as long as the block."""
    process = subprocess.Popen(command, executable=executable, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(2)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


Figures = dict[str, list[tuple[float, float, float]]]
"""By way: (p50 µs, p99 µs, requests per second) of each round."""


def measure(ways: list[Way], connections: int, options: argparse.Namespace) -> Figures:
    """Send requests over each way in turn; the first, short turn only warms up."""
    found: Figures = {way.name: [] for way in ways}
    for way in ways:
        once(way, connections, 1)
    for _ in range(options.rounds):
        for way in ways:
            found[way.name].append(once(way, connections, options.seconds))
    return found


def once(way: Way, connections: int, seconds: int) -> tuple[float, float, float]:
    """Run wrk once. Raises: SystemExit when an answer was not 200."""
    headers = [argument for header in way.headers for argument in ("-H", header)]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *headers, way.url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{way.name}: not every answer was 200\n{text}")
    return percentile(text, 50), percentile(text, 99), float(re.findall(r"Requests/sec:\s+([\d.]+)", text)[0])


def percentile(text: str, which: int) -> float:
    """Read one line of wrk's latency distribution, in microseconds."""
    value, unit = re.findall(rf"^\s+{which}%\s+([\d.]+)(us|ms|s)", text, re.MULTILINE)[0]
    return float(value) * {"us": 1, "ms": 1000, "s": 1_000_000}[unit]


def report(ways: list[Way], connections: int, found: Figures) -> None:
    """Print one table."""
    print(f"\n{connections} keep-alive connection(s), GET of one ConfigMap, median of the rounds")
    print(f"{'way':<16}{'p50 µs':>9}{'p99 µs':>9}{'added p50':>11}{'added p99':>11}{'ratio p50':>11}{'req/s':>9}")
    base = [statistics.median(column) for column in zip(*found[ways[0].name], strict=True)]
    for way in ways:
        p50, p99, rate = (statistics.median(column) for column in zip(*found[way.name], strict=True))
        added = f"{p50 - base[0]:>11.0f}{p99 - base[1]:>11.0f}"
        print(f"{way.name:<16}{p50:>9.0f}{p99:>9.0f}{added}{p50 / base[0]:>11.2f}{rate:>9.0f}")


if __name__ == "__main__":
    sys.exit(main())
