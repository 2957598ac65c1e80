"""Addresses of pods are known from what the network plugins left, before the pods' status tells them."""

import asyncio
import json

import pytest

from loft.embedded.addons import podaddresses
from loft.embedded.addons.podaddresses import PodAddresses, read_result, with_addresses


def result(uid="u1", address="10.201.4.2/32", network="main", **changes):
    made = {
        "networkName": network,
        "cniArgs": [["K8S_POD_NAMESPACE", "n"], ["K8S_POD_UID", uid]],
        "result": {"ips": [{"address": "fe80::1/64"}, {"address": address}]},
    }
    return json.dumps(made | changes).encode()


def test_a_result_tells_uid_and_address():
    assert read_result(result(), "main") == ("u1", "10.201.4.2")


@pytest.mark.parametrize(
    "data",
    [
        result(network="main-2"),
        result(result={}),
        result(result={"ips": []}),
        result(cniArgs=[]),
        result(cniArgs="x"),
        result(address="10.201.4.300/32"),
        result()[:20],
        b"",
        b"[]",
    ],
)
def test_another_network_and_what_cannot_be_read_tell_nothing(data):
    assert read_result(data, "main") is None


def test_what_the_network_has_is_newer_than_the_status():
    pods = [
        {"metadata": {"uid": "new"}, "status": {"phase": "Pending"}},
        {"metadata": {"uid": "again"}, "status": {"podIP": "10.0.0.1"}},
        {"metadata": {"uid": "other"}, "status": {"podIP": "10.0.0.9"}},
    ]
    found = with_addresses(pods, {"new": "10.0.0.5", "again": "10.0.0.2"})
    assert [pod["status"].get("podIP") for pod in found] == ["10.0.0.5", "10.0.0.2", "10.0.0.9"]
    assert pods[0]["status"] == {"phase": "Pending"}, "cached objects are not changed"


def test_the_directory_is_followed(tmp_path):
    async def story():
        changed = asyncio.Event()
        folder = tmp_path / "results"
        folder.mkdir()
        (folder / "main-1-eth0").write_bytes(result("first"))

        async def until(expected):
            async with asyncio.timeout(5):
                while True:
                    await changed.wait()
                    changed.clear()
                    if addresses.by_uid() == expected:
                        return

        with PodAddresses("main", changed.set, folder) as addresses:
            assert addresses.by_uid() == {"first": "10.201.4.2"}
            (folder / "main-2-eth0").write_bytes(result("second", "10.201.4.3/32"))
            await until({"first": "10.201.4.2", "second": "10.201.4.3"})
            (folder / "east-2-eth0").write_bytes(result("third", network="east"))
            (folder / "main-1-eth0").unlink()
            await until({"second": "10.201.4.3"})
            half = folder / "main-3-eth0"
            with half.open("wb") as file:
                file.write(result("late")[:30])
                file.flush()
                (folder / "main-4-eth0").write_bytes(result("fourth", "10.201.4.4/32"))
                await until({"second": "10.201.4.3", "fourth": "10.201.4.4"})
                changed.clear()
                file.write(result("late")[30:])
            await until({"second": "10.201.4.3", "fourth": "10.201.4.4", "late": "10.201.4.2"})

    asyncio.run(story())


def test_without_a_watch_the_directory_is_looked_at_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(podaddresses.os, "fsencode", lambda path: b"/nowhere/at/all")

    async def story():
        with PodAddresses("main", lambda: None, tmp_path) as addresses:
            assert addresses.by_uid() == {}
            (tmp_path / "main-1-eth0").write_bytes(result())
            assert addresses.by_uid() == {"u1": "10.201.4.2"}

    asyncio.run(story())
