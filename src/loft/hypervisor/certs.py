"""Make the virtual cluster's keys once, give each component its files, and renew them while it runs.

The authorities live in the Secret `vc-NAME-certs`; whoever creates it first wins, so several replicas that start
together agree. What a pod needs is issued from them on the spot into a volume in memory, and issued again in the last
third of its lifetime: kube-apiserver, kube-controller-manager and etcd notice changed files by themselves.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from loft.core.resource import SECRETS, SERVICES
from loft.hypervisor import rotation
from loft.hypervisor.certificates import (
    ClientPairs,
    Place,
    check_interval_s,
    component_files,
    is_short_of,
    missing_entries,
    new_authorities,
    next_renewal,
    trusted,
)
from loft.hypervisor.config import Config, ConfigError, Pod
from loft.hypervisor.control_plane_files import configuration_files
from loft.hypervisor.exports import Target, balancer_addresses, contents, targets
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists, ApiError
from loft.pki.authority import KeyPair, due, issued_by

log = logging.getLogger(__name__)

PKI_ROOT = Path("/run/loft/pki-all")
START_FILE = "start"
SERVICE_WAIT_S = 60.0

Object = dict[str, Any]


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What certificates need to know from the host cluster."""

    service_ip: str
    owner: dict[str, Any]
    """ownerReference to the Service of the virtual cluster: what is made for it goes with it."""


async def host_facts(host: Client, config: Config) -> HostFacts:
    """Read the virtual cluster's Service on the host. Raises: ConfigError when it has no address."""
    for _ in range(int(SERVICE_WAIT_S / 0.2)):
        try:
            service = await host.find(SERVICES, config.name, config.namespace)
        except ApiError as error:
            log.warning("Service %s: %s", config.name, error)
            service = None
        address = ((service or {}).get("spec") or {}).get("clusterIP")
        if service is not None and address and address != "None":
            metadata = service["metadata"]
            owner = {"apiVersion": "v1", "kind": "Service", "name": metadata["name"], "uid": metadata["uid"]}
            return HostFacts(service_ip=address, owner=owner)
        await asyncio.sleep(0.2)
    raise ConfigError(f"the Service {config.namespace}/{config.name} has no ClusterIP")


async def authorities(host: Client, config: Config, owner: Object) -> dict[str, bytes]:
    """Return the data of the Secret `vc-NAME-certs`, made now if there is none.

    Guarantees: all replicas get the same data, whichever of them made it.
    Raises: ConfigError when the Secret is there but incomplete: making new authorities would lock everybody out.
    """
    name = f"vc-{config.name}-certs"
    found = await host.find(SECRETS, name, config.namespace)
    if found is None:
        make = partial(new_authorities, config.name, datetime.now(UTC), days=config.authority_days)
        body = _secret(config, name, "Opaque", await asyncio.to_thread(make), owner)
        if config.rotate_authority:
            # New ones need not be exchanged.
            state = msgspec.json.encode(rotation.State(token=config.rotate_authority)).decode()
            body["metadata"]["annotations"] = {rotation.ANNOTATION: state}
        try:
            found = await host.create(SECRETS, body)
        except AlreadyExists:
            found = await host.get(SECRETS, name, config.namespace)
    data = decoded(found)
    missing = missing_entries(data)
    if missing:
        raise ConfigError(f"Secret {config.namespace}/{name} lacks {', '.join(missing)}; restore it from a backup")
    return data


def place(config: Config, pod: Pod, facts: HostFacts) -> Place:
    """Return where this pod's control plane runs."""
    return Place(
        name=config.name,
        namespace=config.namespace,
        service_ip=facts.service_ip,
        pod_name=pod.name,
        pod_ip=pod.address,
        extra_names=config.extra_names,
        validity_hours=config.certificate_hours,
    )


def write_files(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files so that a reader sees an old or a new one, never a part; readable by the pod's group only.

    Keys come before certificates: a component that reads between the two takes the pair as broken and tries again.
    """
    for path in sorted(files, key=lambda name: (name.endswith(".crt"), name)):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        with os.fdopen(handle, "wb") as file:
            file.write(files[path])
        temporary.rename(target)


async def prepare(host: Client, config: Config, pod: Pod, root: Path = PKI_ROOT) -> tuple[HostFacts, dict[str, bytes]]:
    """Put the authorities into their Secret, and certificates and configuration into files; return what is known then.

    The components' containers wait for it: see `let_start`.
    """
    facts = await host_facts(host, config)
    data = await authorities(host, config, facts.owner)
    issued = await asyncio.to_thread(component_files, data, place(config, pod, facts), datetime.now(UTC))
    write_files(root, issued | configuration_files())
    return facts, data


def let_start(root: Path, *components: str) -> None:
    """Let components of this pod begin: their containers wait for the file `start` in their folder."""
    write_files(root, {f"{component}/{START_FILE}": b"" for component in components})


async def renew(where: Callable[[], Awaitable[Place]], data: Mapping[str, bytes], root: Path) -> None:
    """Issue the files of this pod anew when one is due or a name was added (`where`); runs until cancelled."""
    while True:
        now_here = await where()
        present = await asyncio.to_thread(_leaves, root)
        short = is_short_of(present["kube-apiserver/server.crt"], now_here)
        if short or next_renewal(present, datetime.now(UTC)):
            issued = await asyncio.to_thread(component_files, data, now_here, datetime.now(UTC))
            await asyncio.to_thread(write_files, root, issued)
            log.info("certificates of %s renewed", now_here.pod_name)
        await asyncio.sleep(check_interval_s(now_here.validity_hours))


async def current_place(host: Client, config: Config, pod: Pod, facts: HostFacts) -> Place:
    """Return where this pod's control plane runs, with the addresses that a load balancer has given it by now."""
    found = place(config, pod, facts)
    if not config.load_balancer:
        return found
    addresses = await external_addresses(host, config)
    return msgspec.structs.replace(found, extra_names=(*found.extra_names, *addresses))


async def external_addresses(host: Client, config: Config) -> tuple[str, ...]:
    """Return the load balancer's addresses, none when they cannot be read now."""
    if not config.load_balancer:
        return ()
    try:
        return balancer_addresses(await host.find(SERVICES, config.name, config.namespace) or {})
    except ApiError as error:
        log.warning("Service %s: %s", config.name, error)
        return ()


def _leaves(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("*/*.crt")}


async def publish_clients(
    host: Client,
    config: Config,
    data: Mapping[str, bytes],
    owner: Object,
    issue: Callable[[], Awaitable[ClientPairs]],
) -> None:
    """Keep the Secrets with kubeconfigs and `vc-NAME-gateway` as they should be; returns when they are.

    Args:
        data: `ca.crt` verifies the API server; clients are verified by `client-ca.crt`, where that is another one.
        issue: makes new client certificates.

    Raises: ApiError; what could be written is.
    """
    wanted = targets(config, await external_addresses(host, config))
    own, gateway = wanted[0], f"vc-{config.name}-gateway"
    found = decoded(await host.find(SECRETS, own.name, own.namespace))
    admin = KeyPair(cert=found.get("client-certificate", b""), key=found.get("client-key", b""))
    gateways = decoded(await host.find(SECRETS, gateway, config.namespace))
    now, client_ca = datetime.now(UTC), data.get("client-ca.crt") or data["ca.crt"]
    is_trusting = gateways.get("ca.crt") == trusted(data, "ca.crt")
    certificates = (admin.cert, gateways.get("tls.crt", b""))
    is_good = all(cert and issued_by(cert, client_ca) and not due(cert, now) for cert in certificates)
    if not (is_good and is_trusting):
        pairs = await issue()
        admin = pairs.admin
        content = gateway_secret(trusted(data, "ca.crt"), pairs)
        body = _secret(config, gateway, "kubernetes.io/tls", content, owner)
        await host.apply(SECRETS, body, manager="loft-hypervisor")
    for target in wanted:
        await _publish(host, config, target, contents(target, trusted(data, "ca.crt"), admin), owner)


async def _publish(host: Client, config: Config, target: Target, content: Mapping[str, bytes], owner: Object) -> None:
    present = await host.find(SECRETS, target.name, target.namespace)
    if decoded(present) == content:
        return
    if target.namespace == config.namespace:
        body = _secret(config, target.name, "Opaque", content, owner)
        await host.apply(SECRETS, body, manager="loft-hypervisor")
        return
    # Made by the chart, which gives the right to change this one: an owner cannot be in another namespace.
    encoded = {entry: base64.b64encode(value).decode() for entry, value in content.items()}
    await host.patch(SECRETS, target.name, {"data": encoded}, target.namespace)


def gateway_secret(ca: bytes, pairs: ClientPairs) -> dict[str, bytes]:
    """Return the Secret by which the agent's gateway reaches the virtual cluster."""
    return {"ca.crt": ca, "tls.crt": pairs.gateway.cert, "tls.key": pairs.gateway.key}


def decoded(secret: Object | None) -> dict[str, bytes]:
    """Return a Secret's data, {} for none."""
    return {name: base64.b64decode(value) for name, value in ((secret or {}).get("data") or {}).items()}


def _secret(config: Config, name: str, kind: str, data: Mapping[str, bytes], owner: Object) -> Object:
    labels = {"app.kubernetes.io/name": "virtualcluster", "app.kubernetes.io/instance": config.name}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": config.namespace, "labels": labels, "ownerReferences": [owner]},
        "type": kind,
        "data": {entry: base64.b64encode(value).decode() for entry, value in data.items()},
    }
