"""The platform on the main cluster: charts `loft` and `loft-agent`, installed by Helm, reached at a loopback port.

What is installed is written down beside the cluster (`Record`): a start that finds the same charts, image and
options, and an instance that answers, has nothing to do. Everything else is Helm's `upgrade --install`, which
can be repeated after an interruption at any point.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

import loft
from loft.core.resource import CLUSTERS, CRDS, DEPLOYMENTS, NAMESPACES, PODS, SECRETS
from loft.embedded import images
from loft.embedded.binaries import ensure as ensure_binaries
from loft.embedded.layout import Layout
from loft.embedded.lock import locked
from loft.embedded.machine import occupied
from loft.helm.binary import Helm, HelmError
from loft.helm.charts import chart_path
from loft.kube.client import Client
from loft.kube.config import load_kubeconfig
from loft.kube.errors import ApiError

Object = dict[str, Any]
Progress = Callable[[str], None]

NAMESPACE = "loft"
CENTRE, AGENT = "loft", "loft-agent"
AGENT_VALUES = "agent"
"""Key of a values file below which the values of chart `loft-agent` are."""
PORT = 9898
"""Where people reach the instance, on this machine's loopback address."""
NODE_PORT = 30898
"""Where agents of other embedded clusters reach it, on the node's address."""
CA_SECRET = "loft-ca"
ADMIN_SECRET = "loft-admin-password"
MANAGER = "loft-start"
READY_S = 150.0
POLL_S = 0.25
HEALTH_TIMEOUT_S = 2.0


class PlatformError(Exception):
    """The platform does not come up; the message says what is wrong and where to look."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen at `loft start`; kept until it is chosen anew."""

    port: int = PORT
    values: dict[str, Any] = {}
    """More values of chart `loft`, over ours; those below AGENT_VALUES are for chart `loft-agent`."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed; `digest` covers the charts and the image."""

    digest: str
    options: Options


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """A platform that answers."""

    url: str
    ca: bytes
    """PEM of the authority that signed its certificate."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How the platform shall be."""

    password: str
    """Of the first user; looked at only while there is none."""
    hashed: Callable[[str], str]
    port: int | None = None
    values: dict[str, Any] | None = None


def start(layout: Layout, wish: Wish, progress: Progress) -> Instance:
    """Install the platform or bring it up to date, and wait until it can be used; returns at once when it is so.

    Raises: PlatformError, HelmError, ImageError, BuildError.
    """
    ensure_binaries(progress)
    built = images.ensure_images(progress)
    with locked(layout.directory / "platform.lock"):
        before = recorded(layout)
        record = Record(digest=_digest(built), options=_options(before, wish))
        if record == before and (instance := _answering(layout, record.options)) is not None:
            return instance
        images.import_images(layout, built, progress)
        return asyncio.run(_install(layout, record, wish, progress))


def check_port(layout: Layout, port: int | None) -> None:
    """Refuse a port that another program has; ours is no socket but a rule, so whoever listens is somebody else.

    `port` is the one that is wished, None for the one from before. Raises: PlatformError.
    """
    before = recorded(layout)
    chosen = port or (before.options.port if before is not None else PORT)
    # The URL says localhost, and that may as well be ::1.
    for item in occupied({"127.0.0.1": (chosen,), "::1": (chosen,)}):
        raise PlatformError(
            f"port {chosen} on {item.address} is in use by {item.program or 'another program'}; "
            "stop it, or choose another port: loft start --local-port PORT"
        )


def recorded(layout: Layout) -> Record | None:
    """Return what is installed, None when nothing is, or nothing that we can read."""
    try:
        return msgspec.json.decode(_record_path(layout).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def url_of(options: Options) -> str:
    """Return where people reach the instance."""
    return f"https://localhost:{options.port}"


def values_of(layout: Layout, record: Record, password_hash: str) -> dict[str, Any]:
    """Return the values of chart `loft` on an embedded cluster. Pure."""
    ours: dict[str, Any] = {
        "admin": {"passwordHash": password_hash},
        "localCluster": {"name": layout.name},
        "hosts": [layout.node_ip],
        "agents": {"url": f"https://{layout.node_ip}:{NODE_PORT}"},
        "service": {"type": "NodePort", "nodePorts": {"https": NODE_PORT}},
        "gateway": {"hostPort": {"enabled": True, "ip": "127.0.0.1", "port": record.options.port}},
        "podAnnotations": {"loft.sh/digest": record.digest},
    }
    return merged(ours, {key: value for key, value in record.options.values.items() if key != AGENT_VALUES})


def agent_values_of(record: Record) -> dict[str, Any]:
    """Return the values of chart `loft-agent` on an embedded cluster. Pure."""
    given = record.options.values.get(AGENT_VALUES)
    return merged({"podAnnotations": {"loft.sh/digest": record.digest}}, given if isinstance(given, dict) else {})


def merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Return `low` with the values of `high` over it, as Helm merges two values files. Pure."""
    both = dict(low)
    for key, value in high.items():
        mine = both.get(key)
        both[key] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return both


def is_answering(url: str, ca: bytes) -> bool:
    """Tell whether the instance answers and proves to be ours."""
    try:
        context = ssl.create_default_context(cadata=ca.decode())
        with urllib.request.urlopen(f"{url}/healthz", timeout=HEALTH_TIMEOUT_S, context=context) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


async def _install(layout: Layout, record: Record, wish: Wish, progress: Progress) -> Instance:
    deadline = time.monotonic() + READY_S
    async with Client(load_kubeconfig(str(layout.kubeconfig)), user_agent=f"loft-start/{loft.__version__}") as client:
        try:
            stored = await _password_hash(client)
            await _prepare(client)
            progress("installing the charts loft and loft-agent")
            await _charts(layout, record, stored or wish.hashed(wish.password))
            progress("waiting for the platform")
            ca = await _usable(client, layout, record, deadline)
        except ApiError as error:
            raise PlatformError(f"cluster {layout.name} refuses the platform: {error}") from error
    _keep(layout, record, ca)
    return Instance(url=url_of(record.options), ca=ca)


async def _password_hash(client: Client) -> str:
    """Return the hash that is installed: another one would make the same pods anew for nothing."""
    found = await client.find(SECRETS, ADMIN_SECRET, NAMESPACE)
    return base64.b64decode(((found or {}).get("data") or {}).get("hash") or "").decode()


async def _prepare(client: Client) -> None:
    """Bring what Helm does not: newer CRDs, and a way past an installation that was interrupted."""
    await client.apply(NAMESPACES, {"metadata": {"name": NAMESPACE}}, manager=MANAGER)
    for chart in (CENTRE, AGENT):
        for path in sorted((chart_path(chart) / "crds").glob("*.yaml")):
            await client.apply(CRDS, yaml.safe_load(path.read_bytes()), manager=MANAGER)
    # Nobody else installs while we hold the lock: a revision that is pending was given up, and Helm would wait for
    # it for ever.
    for release in (CENTRE, AGENT):
        selector = f"owner=helm,name={release},status in (pending-install,pending-upgrade,pending-rollback)"
        for secret in (await client.list(SECRETS, NAMESPACE, label_selector=selector)).items:
            metadata = secret["metadata"]
            await client.delete(SECRETS, metadata["name"], NAMESPACE, uid=metadata["uid"])


async def _charts(layout: Layout, record: Record, password_hash: str) -> None:
    helm = Helm(layout.kubeconfig)
    centre = values_of(layout, record, password_hash)
    agent = agent_values_of(record)
    async with asyncio.TaskGroup() as group:
        group.create_task(_chart(helm, CENTRE, centre))
        group.create_task(_chart(helm, AGENT, agent))


async def _chart(helm: Helm, name: str, values: Mapping[str, Any]) -> None:
    try:
        await helm.install(name, NAMESPACE, chart_path(name), values)
    except HelmError as error:
        raise PlatformError(f"chart {name} cannot be installed: {error}") from error


async def _usable(client: Client, layout: Layout, record: Record, deadline: float) -> bytes:
    """Wait until the instance answers and its own cluster is connected; return the authority of its certificate."""
    missing = "nothing is known yet"
    while time.monotonic() < deadline:
        ca = await _authority(client)
        missing = await _missing(client, layout)
        if not missing and ca and await asyncio.to_thread(is_answering, url_of(record.options), ca):
            return ca
        missing = missing or f"{url_of(record.options)} does not answer"
        await asyncio.sleep(POLL_S)
    raise PlatformError(
        f"the platform is not up after {READY_S:.0f} s: {missing} "
        f"(kubectl --kubeconfig {layout.kubeconfig} -n {NAMESPACE} get pods shows more)"
    )


async def _authority(client: Client) -> bytes:
    found = await client.find(SECRETS, CA_SECRET, NAMESPACE)
    return base64.b64decode(((found or {}).get("data") or {}).get("ca.crt") or "")


async def _missing(client: Client, layout: Layout) -> str:
    """Return what is still missing, "" when all is there."""
    for name in (CENTRE, AGENT):
        if not rolled_out(await client.get(DEPLOYMENTS, name, NAMESPACE)):
            pods = await client.list(PODS, NAMESPACE, label_selector=f"app.kubernetes.io/name={name}")
            return f"{name} is not ready{reason_of(pods.items)}"
    status = ((await client.find(CLUSTERS, layout.name)) or {}).get("status") or {}
    if status.get("phase") != "Initialized" or not status.get("online"):
        return f"cluster {layout.name} is not connected yet: {status.get('message') or 'its agent has not called'}"
    return ""


def rolled_out(deployment: Object) -> bool:
    """Tell whether all pods of a Deployment are of its newest form and ready. Pure."""
    status = deployment.get("status") or {}
    wanted = deployment["spec"].get("replicas", 1)
    current = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    counts = (status.get("updatedReplicas", 0), status.get("availableReplicas", 0), status.get("replicas", 0))
    return bool(current and counts == (wanted, wanted, wanted))


def reason_of(pods: list[Object]) -> str:
    """Return why a container does not run, as the kubelet says it; "" when it says nothing. Pure."""
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or []:
            state, last = container.get("state") or {}, container.get("lastState") or {}
            found = state.get("waiting") or state.get("terminated") or last.get("terminated") or {}
            if found.get("reason") not in (None, "ContainerCreating"):
                return f": {found['reason']} {found.get('message', '')}".rstrip()
    return ""


def _options(before: Record | None, wish: Wish) -> Options:
    kept = before.options if before is not None else Options()
    return Options(
        port=kept.port if wish.port is None else wish.port,
        values=kept.values if wish.values is None else wish.values,
    )


def _digest(built: list[images.Built]) -> str:
    digest = hashlib.sha256()
    for chart in (CENTRE, AGENT):
        for path in sorted(chart_path(chart).rglob("*")):
            if path.is_file():
                digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for image in built:
        if image.reference.startswith("loft.sh/loft:"):
            digest.update(images.manifest_digest(image.archive).encode())
    return digest.hexdigest()[:32]


def _answering(layout: Layout, options: Options) -> Instance | None:
    try:
        ca = _ca_path(layout).read_bytes()
    except OSError:
        return None
    url = url_of(options)
    return Instance(url=url, ca=ca) if is_answering(url, ca) else None


def _keep(layout: Layout, record: Record, ca: bytes) -> None:
    # The record last: what it says is then true.
    _ca_path(layout).write_bytes(ca)
    _write_known_host(layout, url_of(record.options), ca)
    path = _record_path(layout)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(record))
    temporary.rename(path)


def known_hosts_path(layout: Layout) -> Path:
    """Return the file by which every user of this machine trusts the instance: URL to base64 PEM."""
    return layout.state_dir / "known-hosts.json"


def _write_known_host(layout: Layout, url: str, ca: bytes) -> None:
    path = known_hosts_path(layout)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode({url: base64.b64encode(ca).decode()}))
    temporary.chmod(0o644)
    temporary.rename(path)


def _record_path(layout: Layout) -> Path:
    return layout.directory / "platform.json"


def _ca_path(layout: Layout) -> Path:
    return layout.directory / "platform-ca.crt"
