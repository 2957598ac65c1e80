"""What every part of one replica's hypervisor works with: its clients, its configuration, and where its files are."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from loft.hypervisor import certs, problems
from loft.hypervisor.certificates import CREDENTIAL_FILE
from loft.hypervisor.config import Config, Pod
from loft.hypervisor.control_plane_files import API_SERVER, EGRESS_SOCKET, STORE_FOLDER, STORE_SOCKET
from loft.hypervisor.health import PORT
from loft.kube.client import Client
from loft.kube.config import Endpoint, ExecPlugin


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where this process finds and offers things; tests run several on one machine."""

    pki: Path = certs.PKI_ROOT
    """The folder that holds the hypervisor's own folder, and in it the credential for the virtual API server."""
    egress_socket: Path = Path(EGRESS_SOCKET)
    api_server: str = API_SERVER
    health_port: int = PORT
    health_address: str = "0.0.0.0"
    store_health: tuple[str, int] = problems.HEALTH_ADDRESS
    store: Path = Path(STORE_FOLDER)
    """The volume of this replica's etcd, to see whether it holds anything."""
    store_socket: Path = Path(STORE_SOCKET)
    distribution: Path = Path("/run/loft/distribution")
    """The folder that a control plane of another make writes its kubeconfig into."""
    kubelet_address: str = ""
    """Where the kubelet API is listened on beside one; the pod's own address by default."""


def virtual_endpoint(places: Places, ca: bytes) -> Endpoint:
    """Return how the hypervisor reaches the virtual API server.

    The credential is a file that is replaced when renewed, in the format of credential plugins: so the client asks
    for it again in time, by the way it knows for certificates that end.
    """
    plugin = ExecPlugin(command="cat", args=(str(places.pki / CREDENTIAL_FILE),))
    return Endpoint(server=places.api_server, ca_data=ca, exec_=plugin)


class Replica:
    """One pod of the control plane."""

    def __init__(self, clients: tuple[Client, Client], config: Config, pod: Pod, places: Places) -> None:
        self.host, self.virtual = clients
        self.config, self.pod, self.places = config, pod, places
        self._began = time.monotonic()

    def age_s(self) -> float:
        """Return for how long this process runs."""
        return time.monotonic() - self._began
