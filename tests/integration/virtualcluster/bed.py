"""A whole virtual control plane as processes on loopback: the chart's own flags and rights, only paths and ports moved.

The host is a real API server without a kubelet. The hypervisor runs in the test's process, as the chart's
ServiceAccount, so its Role is tested with everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from integration.api_server import ApiServer, _spawner, bound_to_us, free_ports
from loft.core.resource import NAMESPACES, SERVICEACCOUNTS
from loft.embedded import binaries
from loft.hypervisor import certs, members
from loft.hypervisor.certificates import Place
from loft.hypervisor.config import Config, Pod, parse_config
from loft.hypervisor.control_plane_files import configuration_files, store_configuration
from loft.hypervisor.replica import Places, virtual_endpoint
from loft.hypervisor.run import Hypervisor
from loft.kube.client import Client
from loft.kube.config import Endpoint, parse_kubeconfig
from loft.kube.request import Request
from loft.kube.request import create as create_request

CHART = Path(__file__).parents[3] / "charts" / "virtualcluster"
CIDR = "10.96.0.0/16"
IDLE_GOGC = 50
BUSY_GOGC = 150
RESOURCES = {
    "ServiceAccount": "/api/v1/namespaces/{ns}/serviceaccounts",
    "ConfigMap": "/api/v1/namespaces/{ns}/configmaps",
    "Service": "/api/v1/namespaces/{ns}/services",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/roles",
    "StatefulSet": "/apis/apps/v1/namespaces/{ns}/statefulsets",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings",
}

Object = dict[str, Any]


def render(name: str, namespace: str, *settings: str) -> list[Object]:
    """Return the chart's objects."""
    command = [str(binaries.find("helm")), "template", name, str(CHART), "-n", namespace]
    for setting in (f"serviceCIDR={CIDR}", *settings):
        command += ["--set", setting]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return [item for item in yaml.safe_load_all(result.stdout) if item]


class Bed:
    """One virtual cluster in a host namespace of the same name."""

    def __init__(self, host: ApiServer, program: Path, directory: Path, name: str) -> None:
        self.host_server = host
        self.name = name
        self.directory = directory
        self._program = program
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port, self._peer_port, self.health_port, self._store_port = free_ports(4)
        self.pki = directory / "pki"
        self.places = Places(
            pki=self.pki,
            egress_socket=directory / "egress" / "egress.sock",
            api_server=f"https://127.0.0.1:{self.port}",
            health_port=self.health_port,
            health_address="127.0.0.1",
            store_health=("127.0.0.1", self._store_port),
        )
        self.config: Config
        self.hypervisor: Hypervisor

    @contextlib.asynccontextmanager
    async def running(self, *settings: str) -> AsyncIterator[None]:
        """Install the chart's objects, start the processes and the hypervisor; ready when the body begins."""
        objects = render(self.name, self.name, *settings)
        by_kind = {item["kind"]: item for item in objects}
        for folder in ("egress", "etcd", "data"):
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        async with Client(self.host_server.endpoint) as admin:
            await self._install(admin, objects)
            self.config = parse_config(by_kind["ConfigMap"]["data"]["config.json"].encode())
            endpoint = await self._service_account(admin)
        pod = Pod(name=f"{self.name}-0", address="10.1.0.2")  # told, never dialled
        async with Client(endpoint) as host:
            await certs.prepare(host, self.config, pod, self.pki)
            facts = await certs.host_facts(host, self.config)
            data = await certs.authorities(host, self.config, facts.owner)
            moved = configuration_files(str(self.places.egress_socket), self.places.api_server, str(self.pki))
            certs.write_files(self.pki, moved)
            self._write_store_file(certs.place(self.config, pod, facts))
            try:
                self._start(by_kind["StatefulSet"]["spec"]["template"]["spec"]["containers"])
                async with Client(virtual_endpoint(self.places, data["ca.crt"])) as inside:
                    self.hypervisor = Hypervisor((host, inside), self.config, pod, self.places)
                    work = asyncio.ensure_future(self.hypervisor.run(facts, data))
                    try:
                        await self._ready(work)
                        yield
                    finally:
                        work.cancel()
                        await asyncio.gather(work, return_exceptions=True)
            finally:
                self._stop()

    async def admin(self) -> Endpoint:
        """Return the endpoint of the published kubeconfig, moved to loopback."""
        async with Client(self.host_server.endpoint) as host:
            secret = await host.call(Request("GET", f"/api/v1/namespaces/{self.name}/secrets/vc-{self.name}"))
        endpoint = parse_kubeconfig(certs.decoded(secret)["config"], inline_only=True)
        return Endpoint(
            server=self.places.api_server,
            ca_data=endpoint.ca_data,
            client_cert=endpoint.client_cert,
            client_key=endpoint.client_key,
        )

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    async def _install(self, admin: Client, objects: list[Object]) -> None:
        await admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}})
        for item in objects:
            if item["kind"] in RESOURCES:
                path = RESOURCES[item["kind"]].format(ns=self.name)
                await admin.call(Request("POST", path, body=msgspec.json.encode(item)))

    async def _service_account(self, admin: Client) -> Endpoint:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": f"vc-{self.name}", "namespace": self.name},
            "spec": {},
        }
        answer = await admin.call(create_request(SERVICEACCOUNTS, body, subresource="token"))
        return Endpoint(
            server=self.host_server.url, ca_data=self.host_server.authority.cert, token=answer["status"]["token"]
        )

    def _start(self, containers: list[Object]) -> None:
        for container in containers:
            if container["name"] != "hypervisor":
                args = [self._moved(arg, container["name"]) for arg in container.get("args", ())]
                words = [self._moved(word, container["name"]) for word in container["command"]]
                self._spawn(container["name"], words + args)

    def _write_store_file(self, place: Place) -> None:
        only = ",".join(f"{name}={url}" for name, url in members.peers(self.config).items())
        files = store_configuration(place, only, limit_bytes=self.config.store_limit, is_new=True)
        certs.write_files(self.pki, {path: self._moved(text.decode(), "etcd").encode() for path, text in files.items()})

    def _moved(self, argument: str, component: str) -> str:
        for before, after in (
            ("/run/loft/pki", str(self.pki / component)),
            ("/run/loft/etcd", str(self.directory / "etcd")),
            ("/data/", f"{self.directory}/data/"),
            ("--bind-address=0.0.0.0", "--bind-address=127.0.0.1"),
            ("--secure-port=8443", f"--secure-port={self.port}"),
            (":2380", f":{self._peer_port}"),
            (":2381", f":{self._store_port}"),
            ("$(POD_NAME)", f"{self.name}-0"),
            ("$(POD_IP)", "127.0.0.1"),
        ):
            argument = argument.replace(before, after)
        return argument

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = _spawner.submit(
                subprocess.Popen,
                bound_to_us(self._program, *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={"GOGC": str(IDLE_GOGC), "LOFT_BUSY_GOGC": str(BUSY_GOGC), "PATH": ""},
            ).result()

    async def _ready(self, work: asyncio.Future[None]) -> None:
        async with asyncio.timeout(60):
            while await self.hypervisor.check():
                if work.done():
                    work.result()
                for name, process in self._processes.items():
                    assert process.poll() is None, f"{name} ended:\n{self.log(name)[-3000:]}"
                await asyncio.sleep(0.05)

    def _stop(self) -> None:
        for name in ("kube-controller-manager", "kube-apiserver", "etcd"):
            process = self._processes.pop(name, None)
            if process:
                process.kill()
                process.wait()
