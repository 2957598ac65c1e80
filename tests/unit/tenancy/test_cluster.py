"""Where a connected cluster is, and how its endpoint proves itself."""

import asyncio
import base64
import ssl

import pytest
import trustme

from loft.api.cluster import DIRECT_ENDPOINT, DIRECT_ENDPOINT_CA, DIRECT_ENDPOINT_INSECURE, Cluster
from loft.api.meta import ObjectMeta
from loft.tenancy.cluster import plan
from loft.tenancy.cluster.connect import AgentSettings, ConnectError, wait_for_call
from loft.tenancy.cluster.probe import proves


def cluster(**annotations):
    names = {"endpoint": DIRECT_ENDPOINT, "insecure": DIRECT_ENDPOINT_INSECURE, "ca": DIRECT_ENDPOINT_CA}
    return Cluster(
        metadata=ObjectMeta(name="east", uid="u1", annotations={names[key]: text for key, text in annotations.items()})
    )


def test_our_authority_is_noted_at_an_endpoint_of_which_nobody_said_anything():
    patch = plan.direct_authority(cluster(endpoint="east.example.com"), b"PEM")
    assert patch.patch == {"metadata": {"annotations": {DIRECT_ENDPOINT_CA: base64.b64encode(b"PEM").decode()}}}
    assert (patch.name, patch.uid) == ("east", "u1")


@pytest.mark.parametrize(
    "found",
    [cluster(), cluster(endpoint="e", insecure="true"), cluster(endpoint="e", ca="theirs"), cluster(ca="theirs")],
)
def test_what_an_administrator_said_of_an_endpoint_stays(found):
    assert plan.direct_authority(found, b"PEM") is None


@pytest.mark.parametrize(
    ("server", "addresses"),
    [
        ("http://east", ["10.0.0.1"]),
        ("https://east", ["127.0.0.1"]),
        ("https://east", ["10.0.0.1", "::1"]),
        ("https://east", ["169.254.169.254"]),
        ("https://east", ["::ffff:169.254.169.254"]),
        ("https://east", ["fd00:ec2::254"]),
        ("https://east", ["0.0.0.0"]),
    ],
)
def test_a_server_where_no_cluster_can_be_is_refused(server, addresses):
    with pytest.raises(plan.Refused):
        plan.check_server(server, addresses)


class Listener:
    """A TLS server that shows one certificate and says nothing."""

    def __init__(self, authority, name):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(self._context)

    async def __aenter__(self):
        async def answer(_reader, writer):
            writer.close()

        self._server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=self._context)
        return self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()


def test_a_certificate_of_ours_for_that_very_name_is_proof():
    ours, other = trustme.CA(), trustme.CA()
    ca = ours.cert_pem.bytes()

    async def look():
        async with Listener(ours, "agent.east.loft.internal") as port:
            assert await proves("127.0.0.1", port, ca, server_name="agent.east.loft.internal")
            assert not await proves("127.0.0.1", port, ca, server_name="agent.west.loft.internal")
            assert not await proves("127.0.0.1", port, ca)
            assert not await proves("127.0.0.1", port, other.cert_pem.bytes(), server_name="agent.east.loft.internal")
        assert not await proves("127.0.0.1", port, ca, server_name="agent.east.loft.internal")

    asyncio.run(look())


def test_a_cluster_is_connected_when_its_agent_called_and_answers(monkeypatch):
    ours = trustme.CA()
    settings = AgentSettings(url="https://centre", ca=b"", authority=ours.cert_pem.bytes(), image="i")
    monkeypatch.setattr("loft.tenancy.cluster.connect.CALL_BACK_S", 0.5)

    async def wait(called, cluster_name):
        async with Listener(ours, "agent.east.loft.internal") as port:
            await wait_for_call(lambda: called, f"127.0.0.1:{port}", cluster_name, settings)

    asyncio.run(wait(True, "east"))
    with pytest.raises(ConnectError) as failed:
        asyncio.run(wait(False, "east"))
    assert failed.value.reason == "NoCall"
    with pytest.raises(ConnectError) as failed:
        asyncio.run(wait(True, "west"))
    assert failed.value.reason == "NotReached"
