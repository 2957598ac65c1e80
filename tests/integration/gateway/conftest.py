"""Fixtures of the gateway's tests."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.api_server import ApiServer
from integration.gateway.bed import Bed, Behind, Side
from loft.core.resource import CLUSTERROLEBINDINGS, CLUSTERROLES, NAMESPACES, SERVICEACCOUNTS
from loft.kube.client import Client
from loft.pki.authority import KeyPair


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Centre and agent in front of an upstream that shows what reached it."""
    made = Bed(Path(tmp_path_factory.mktemp("gw")))
    yield made
    made.close()


@pytest.fixture(params=["centre", "agent"])
def side(bed: Bed, request: pytest.FixtureRequest) -> Side:
    """Each test once against the centre and once against the agent's own endpoint."""
    return bed.side(request.param)


def binding(name: str, role: str, subject: dict[str, str]) -> dict[str, object]:
    """Return a ClusterRoleBinding."""
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    return {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}


async def prepare(server: ApiServer) -> str:
    """Make the identities that may only impersonate, and what Ann may do; return the agent's token."""
    account = {"metadata": {"name": "impersonator", "namespace": "gateway-test"}}
    impersonate = {"apiGroups": [""], "resources": ["users", "groups"], "verbs": ["impersonate"]}
    working = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get", "list", "watch", "delete"]}
    running = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}
    group = "rbac.authorization.k8s.io"
    async with Client(server.endpoint) as client:
        await client.create(NAMESPACES, {"metadata": {"name": "gateway-test"}})
        await client.create(SERVICEACCOUNTS, account)
        for name, rule in (("impersonate", impersonate), ("work", working), ("run", running)):
            await client.create(CLUSTERROLES, {"metadata": {"name": f"gateway-{name}"}, "rules": [rule]})
        for name, role, subject in (
            ("a", "impersonate", {"kind": "ServiceAccount", "name": "impersonator", "namespace": "gateway-test"}),
            ("b", "impersonate", {"kind": "User", "name": "loft:gateway", "apiGroup": group}),
            ("c", "work", {"kind": "Group", "name": "loft:team:dev", "apiGroup": group}),
            ("d", "run", {"kind": "User", "name": "loft:user:ann", "apiGroup": group}),
        ):
            await client.create(CLUSTERROLEBINDINGS, binding(f"gateway-{name}", f"gateway-{role}", subject))
        request = {**account, "spec": {"expirationSeconds": 3600}}
        answer = await client.create(SERVICEACCOUNTS, request, "gateway-test", "token")
    return str(answer["status"]["token"])


@pytest.fixture(scope="session")
def real_bed(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Centre and agent in front of a real API server."""
    token = asyncio.run(prepare(api_server))
    certificate = api_server.endpoint_for("loft:gateway")
    behind = Behind(
        address=f"127.0.0.1:{api_server.port}",
        ca=api_server.authority.cert,
        gateway=KeyPair(cert=certificate.client_cert, key=certificate.client_key),
        token=token,
    )
    made = Bed(Path(tmp_path_factory.mktemp("gwr")), behind)
    yield made
    made.close()


@pytest.fixture(params=["centre", "agent"])
def real_side(real_bed: Bed, request: pytest.FixtureRequest) -> Side:
    """Each test once through both gateways and once through the agent's own endpoint."""
    return real_bed.side(request.param)
