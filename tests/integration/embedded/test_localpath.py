"""The provisioner with the real volume controllers: claims become volumes with a directory, and go with them."""

import asyncio
import stat
from contextlib import asynccontextmanager

import pytest

from loft.core.resource import EVENTS, PVCS, PVS, STORAGECLASSES
from loft.embedded.addons import localpath
from loft.kube.client import Client
from loft.kube.errors import NotFound

pytestmark = pytest.mark.integration

NODE = "node"
SELECTED = {localpath.SELECTED_NODE: NODE}
WAIT_S = 20.0


@pytest.fixture(scope="module")
def server(start_api_server):
    return start_api_server("volumes", controller_manager=True)


@asynccontextmanager
async def provisioning(server, storage):
    async with Client(server.endpoint) as client:
        for body in localpath.manifests():
            await client.apply(STORAGECLASSES, body, manager="test")
        task = asyncio.create_task(localpath.Provisioner(client, localpath.Place(storage, NODE)).run())
        try:
            yield client
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(check, what):
    async with asyncio.timeout(WAIT_S):
        while True:
            if (found := await check()) is not None:
                return found
            await asyncio.sleep(0.1)
    raise AssertionError(what)


def claim(name, **spec):
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default", "annotations": SELECTED},
        "spec": {
            "storageClassName": localpath.CLASS,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}},
        }
        | spec,
    }


async def bound(client, name):
    async def check():
        found = await client.get(PVCS, name, "default")
        return found if found["status"].get("phase") == "Bound" else None

    return (await until(check, f"{name} is bound"))["spec"]["volumeName"]


async def gone(client, volume):
    async def check():
        try:
            await client.get(PVS, volume)
        except NotFound:
            return True
        return None

    await until(check, f"{volume} is gone")


def test_a_claim_gets_a_directory_which_goes_with_it(server, tmp_path):
    async def story():
        async with provisioning(server, tmp_path / "storage") as client:
            await client.create(PVCS, claim("data"), "default")
            volume = await bound(client, "data")
            folder = tmp_path / "storage" / volume
            assert stat.S_IMODE(folder.stat().st_mode) == 0o777
            assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
            (folder / "sub").mkdir()
            (folder / "sub" / "file").write_text("x")
            (folder / "out").symlink_to(tmp_path)
            await client.delete(PVCS, "data", "default")
            await gone(client, volume)
            assert not folder.exists()
            assert tmp_path.exists(), "links are not followed"

    asyncio.run(story())


def test_data_left_by_an_interruption_is_removed_by_the_next_run(server, tmp_path):
    async def story():
        async with provisioning(server, tmp_path / "storage") as client:
            await client.create(PVCS, claim("cut"), "default")
            volume = await bound(client, "cut")
        async with Client(server.endpoint) as client:
            await client.delete(PVCS, "cut", "default")
        async with provisioning(server, tmp_path / "storage") as client:
            await gone(client, volume)
        assert not (tmp_path / "storage" / volume).exists()

    asyncio.run(story())


def test_a_volume_deleted_by_hand_takes_its_data_with_it_once_it_is_free(server, tmp_path):
    async def story():
        async with provisioning(server, tmp_path / "storage") as client:
            await client.create(PVCS, claim("hand"), "default")
            volume = await bound(client, "hand")
            await client.delete(PVS, volume)
            await asyncio.sleep(0.5)
            assert (tmp_path / "storage" / volume).exists(), "it is bound"
            await client.delete(PVCS, "hand", "default")
            await gone(client, volume)
            assert not (tmp_path / "storage" / volume).exists()

    asyncio.run(story())


def test_retained_data_stays_and_a_refusal_is_told(server, tmp_path):
    retain = localpath.manifests()[0] | {"metadata": {"name": "keep"}, "reclaimPolicy": "Retain"}

    async def story():
        async with provisioning(server, tmp_path / "storage") as client:
            await client.apply(STORAGECLASSES, retain, manager="test")
            await client.create(PVCS, claim("kept", storageClassName="keep"), "default")
            volume = await bound(client, "kept")
            await client.delete(PVCS, "kept", "default")

            async def released():
                found = await client.get(PVS, volume)
                return found if found["status"]["phase"] == "Released" else None

            await until(released, "the volume is released")
            await client.delete(PVS, volume)
            await gone(client, volume)
            assert (tmp_path / "storage" / volume).exists()
            await client.create(PVCS, claim("raw", volumeMode="Block"), "default")

            async def told():
                for event in (await client.list(EVENTS, "default")).items:
                    if event["involvedObject"]["name"] == "raw" and event["reason"] == "ProvisioningFailed":
                        return event["message"]
                return None

            assert "Block" in await until(told, "an event about the refusal")

    asyncio.run(story())
