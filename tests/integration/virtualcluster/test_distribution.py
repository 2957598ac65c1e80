"""The hypervisor beside a control plane that is not ours: a real API server and signers, nothing of our files."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from integration.api_server import ApiServer, binary, free_ports
from integration.virtualcluster.bed import CIDR, Bed, render
from loft.core.resource import CSRS, MUTATINGWEBHOOKS, SECRETS, SERVICES, STATEFULSETS
from loft.hypervisor import certs, distribution_run, problems
from loft.hypervisor.config import Config, Pod, parse_config
from loft.hypervisor.replica import Places
from loft.kube.client import Client
from loft.kube.config import Endpoint, parse_kubeconfig, to_kubeconfig
from loft.kube.errors import Forbidden

pytestmark = pytest.mark.integration

NAME = "foreign"
POD = Pod(name=f"{NAME}-0", address="10.1.0.2")  # told, never dialled
KUBELET = "127.0.0.77"
ARGUMENTS = ("distribution.image=example.com/kubernetes:1", "metrics.enabled=true")


class Foreign:
    """A virtual cluster with the control plane `server`, whose kubeconfig is in the folder `shared`."""

    def __init__(self, host: ApiServer, directory: Path) -> None:
        program = binary()
        assert program is not None
        self.host, self.directory = host, directory
        self.bed = Bed(host, program, directory, NAME)
        self.shared = directory / "shared"
        self.shared.mkdir()
        (self.health_port,) = free_ports(1)
        self.config: Config
        self.account: Endpoint
        self.service_ip = ""

    async def install(self) -> None:
        objects = render(NAME, NAME, *ARGUMENTS)
        by_kind = {item["kind"]: item for item in objects}
        self.config = parse_config(by_kind["ConfigMap"]["data"]["config.json"].encode())
        async with Client(self.host.endpoint) as admin:
            await self.bed._install(admin, objects)
            self.account = await self.bed._service_account(admin)
            self.service_ip = (await certs.host_facts(admin, self.config)).service_ip

    @contextlib.asynccontextmanager
    async def running(self, server: ApiServer) -> AsyncIterator[None]:
        places = Places(
            pki=self.directory / "pki",
            api_server=server.url,
            health_port=self.health_port,
            health_address="127.0.0.1",
            distribution=self.shared,
            kubelet_address=KUBELET,
        )
        async with Client(self.account) as host:
            work = asyncio.ensure_future(distribution_run.run(host, self.config, POD, places))
            try:
                yield
                if work.done():
                    work.result()
            finally:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)

    async def until(self, wanted: str, seconds: float = 60.0) -> None:
        """Wait until the probe says something."""
        said, end = "", time.monotonic() + seconds
        while wanted not in said:
            assert time.monotonic() < end, said
            with contextlib.suppress(OSError):
                said = await ask(self.health_port, "/readyz")
            await asyncio.sleep(0.1)


async def ask(port: int, path: str, address: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> str:
    """Return the answer to a GET, "" when the connection was closed without one."""
    name = POD.address if context else None
    reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=name)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(10):
            return (await reader.read(65536)).decode()
    except (ConnectionError, ssl.SSLError):
        return ""
    finally:
        writer.close()


def as_client(folder: Path, endpoint: Endpoint | None, authority: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.decode())
    if endpoint:
        (folder / "pair.pem").write_bytes(endpoint.client_cert + b"\n" + endpoint.client_key)
        context.load_cert_chain(folder / "pair.pem")
    return context


async def call_kubelet(folder: Path, server: ApiServer, endpoint: Endpoint | None) -> str:
    context = as_client(folder, endpoint, server.authority.cert)
    return await ask(10250, "/pods", KUBELET, context)


def test_it_is_waited_for_and_used_through_its_api_alone(
    host_server: ApiServer, start_api_server: Callable[..., ApiServer], tmp_path: Path
) -> None:
    foreign = Foreign(host_server, tmp_path)
    asyncio.run(foreign.install())
    names = {"dns": (f"{NAME}.{NAME}.svc",), "ips": (foreign.service_ip,)}
    server = start_api_server("distribution", controller_manager=True, service_cidr=CIDR, **names)
    nameless = start_api_server("nameless", service_cidr=CIDR)

    async def problem(host: Client) -> str:
        found: dict[str, Any] = await host.get(STATEFULSETS, NAME, NAME)
        return str((found["metadata"].get("annotations") or {}).get(problems.ANNOTATION, ""))

    async def one_whose_certificate_leads_elsewhere(host: Client) -> None:
        async with foreign.running(nameless):
            await foreign.until("waiting for the distribution's kubeconfig")
            (foreign.shared / "admin.conf").write_bytes(to_kubeconfig(nameless.endpoint, "x"))
            await foreign.until(f"is not valid for {NAME}.{NAME}.svc, {foreign.service_ip}")
            assert (await problem(host)).startswith("CertificateLacksNames")
        (foreign.shared / "admin.conf").unlink()

    async def one_that_serves(host: Client, inside: Client) -> None:
        (foreign.shared / "admin.conf").write_bytes(to_kubeconfig(server.endpoint, "x"))
        async with foreign.running(server):
            await foreign.until("HTTP/1.1 200")
            assert await problem(host) == ""
            assert (await inside.get(MUTATINGWEBHOOKS, "loft-hypervisor"))["webhooks"]
            assert not (await inside.list(CSRS)).items
            # Its Services have the host's addresses, and its own is that of the control plane.
            body = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}}
            address = (await inside.create(SERVICES, body))["spec"]["clusterIP"]
            listed = (await host.list(SERVICES, NAME)).items
            assert address in {item["spec"]["clusterIP"] for item in listed}
            own = await inside.get(SERVICES, "kubernetes", "default")
            assert own["spec"]["clusterIP"] == foreign.service_ip
            assert own["spec"]["ports"][0]["targetPort"] == 6443
            await people_have_certificates_of_its_signer()
            await its_kubelet_api_asks_the_api_server()

    async def people_have_certificates_of_its_signer() -> None:
        found = parse_kubeconfig(certs.decoded(await _secret(foreign))["config"], inline_only=True)
        assert found.server == f"https://{NAME}.{NAME}.svc:443"
        moved = Endpoint(
            server=server.url, ca_data=found.ca_data, client_cert=found.client_cert, client_key=found.client_key
        )
        async with Client(moved) as owner:
            assert (await owner.list(SERVICES, "default")).items

    async def its_kubelet_api_asks_the_api_server() -> None:
        assert not await call_kubelet(tmp_path, server, None)
        nobody = server.endpoint_for("ann")
        assert not await call_kubelet(tmp_path, server, nobody)
        async with Client(nobody) as ann:
            with pytest.raises(Forbidden):
                await ann.list(SERVICES, "default")
        assert "PodList" in await call_kubelet(tmp_path, server, server.endpoint)
        # A certificate of another authority, whatever it says.
        assert not await call_kubelet(tmp_path, server, nameless.endpoint)

    async def story() -> None:
        async with Client(host_server.endpoint) as host, Client(server.endpoint) as inside:
            await one_whose_certificate_leads_elsewhere(host)
            await one_that_serves(host, inside)

    asyncio.run(story())


async def _secret(foreign: Foreign) -> dict[str, Any]:
    async with Client(foreign.host.endpoint) as host:
        return await host.get(SECRETS, f"vc-{NAME}", NAME)
