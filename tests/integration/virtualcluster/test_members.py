"""Real members of etcd: one becomes three, loses a volume and gets over it, by the decisions that replicas take."""

import asyncio
import base64
import contextlib
import shutil
import subprocess
from datetime import UTC, datetime

import aiohttp
import msgspec
import pytest

from integration.api_server import _spawner, binary, bound_to_us, free_ports
from loft.hypervisor import certs, members, store
from loft.hypervisor.certificates import Place, component_files, new_authorities
from loft.hypervisor.control_plane_files import STORE_FILE, store_configuration
from loft.hypervisor.members import Join, Lost

LIMIT = 64 << 20


class Replicas:
    """Three folders, each a pod's; `empty` is what their annotations would say."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = dict(zip(("dev-0", "dev-1", "dev-2"), free_ports(3), strict=True))
        self.wanted = {name: f"https://127.0.0.1:{port}" for name, port in self.ports.items()}
        self.data = new_authorities("dev", datetime.now(UTC))
        self.empty = set()
        self.processes = {}
        for name in self.wanted:
            for part in ("data", "socket"):
                (folder / name / part).mkdir(parents=True)
            certs.write_files(folder / name / "pki", component_files(self.data, self.place(name), datetime.now(UTC)))

    def place(self, name):
        return Place(name="dev", namespace="team", service_ip="10.0.0.1", pod_name=name, pod_ip="127.0.0.1")

    def socket(self, name):
        return self.folder / name / "socket" / "etcd.sock"

    def has_data(self, name):
        return any((self.folder / name / "data/etcd/member").glob("wal/*.wal"))

    def start(self, name, initial_cluster, *, is_new):
        home = self.folder / name
        text = store_configuration(self.place(name), initial_cluster, limit_bytes=LIMIT, is_new=is_new)[STORE_FILE]
        moved = text.decode().replace("/run/loft/pki", str(home / "pki/etcd")).replace("/data/", f"{home}/data/")
        moved = moved.replace("/run/loft/etcd", str(home / "socket"))
        moved = moved.replace(f"https://{name}.dev-headless.team.svc:2380", self.wanted[name])
        moved = moved.replace("127.0.0.1:2380", f"127.0.0.1:{self.ports[name]}")
        moved = moved.replace('"listen-metrics-urls":"http://127.0.0.1:2381",', "")
        (home / "etcd.json").write_text(moved)
        with (home / "log").open("ab") as log:
            self.processes[name] = _spawner.submit(
                subprocess.Popen,
                bound_to_us(binary(), "etcd", f"--config-file={home / 'etcd.json'}"),
                stdout=log,
                stderr=log,
                cwd=home,
                env={"PATH": ""},
            ).result()

    def stop(self, name):
        process = self.processes.pop(name, None)
        if process:
            process.kill()
            process.wait()

    async def look(self, name):
        """What the hypervisor of a replica does while its store has no data."""
        if self.has_data(name) or name in self.processes:
            return None
        self.empty.add(name)
        known = None
        for other, url in self.wanted.items():
            if other != name and known is None:
                with contextlib.suppress(store.StoreError):
                    known = await store.ask_peer(url, self.folder / name / "pki/etcd")
        verdict = members.beginning(name, self.wanted, known, self.empty)
        if isinstance(verdict, Join):
            self.empty.discard(name)
            self.start(name, verdict.initial_cluster, is_new=False)
        return verdict

    async def lead(self, name):
        """What the leading one does."""
        with contextlib.suppress(store.StoreError):
            known = await store.ask_own(self.socket(name))
            change = members.plan(self.wanted, known, self.empty)
            if change is not None:
                await store.perform(self.socket(name), change)

    async def until_all_vote(self, leader):
        async with asyncio.timeout(120):
            while True:
                for name in self.wanted:
                    await self.look(name)
                await self.lead(leader)
                with contextlib.suppress(store.StoreError):
                    known = await store.ask_own(self.socket(leader))
                    if len([one for one in known if one.has_started and not one.is_learner]) == 3 and not self.empty:
                        return known
                await asyncio.sleep(0.3)

    async def call(self, name, path, body):
        """Speak to one member as the API server does; writes and reads go through its own store."""
        connector = aiohttp.UnixConnector(str(self.socket(name)))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(f"http://etcd/v3/kv/{path}", json=body) as answer,
        ):
            assert answer.status == 200, await answer.text()
            return msgspec.json.decode(await answer.read())

    async def read(self, name, key):
        found = await self.call(name, "range", {"key": encoded(key)})
        return [base64.b64decode(item["value"]) for item in found.get("kvs", ())]


def encoded(text):
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def replicas(tmp_path):
    found = Replicas(tmp_path)
    yield found
    for name in list(found.processes):
        found.stop(name)


def test_one_member_becomes_three_and_a_lost_volume_is_replaced(replicas):
    asyncio.run(walk(replicas))


async def walk(replicas):
    replicas.start("dev-0", f"dev-0={replicas.wanted['dev-0']}", is_new=True)
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(store.StoreError):
                if len(await store.ask_own(replicas.socket("dev-0"))) == 1:
                    break
            await asyncio.sleep(0.1)
    await replicas.call("dev-0", "put", {"key": encoded("before"), "value": encoded("kept")})
    first = {one.id for one in await replicas.until_all_vote("dev-0")}
    assert [await replicas.read(name, "before") for name in replicas.wanted] == [[b"kept"]] * 3

    replicas.stop("dev-0")
    shutil.rmtree(replicas.folder / "dev-0/data/etcd")
    second = {one.id for one in await replicas.until_all_vote("dev-1")}
    assert len(first & second) == 2
    assert await replicas.read("dev-0", "before") == [b"kept"]
    await replicas.call("dev-0", "put", {"key": encoded("after"), "value": encoded("kept")})

    for name in ("dev-1", "dev-2"):
        replicas.stop(name)
        shutil.rmtree(replicas.folder / name / "data/etcd")
    await replicas.look("dev-1")
    verdict = await replicas.look("dev-2")
    assert isinstance(verdict, Lost)
    assert verdict.problem.startswith("QuorumLost: the volumes of 2 of 3 members")
