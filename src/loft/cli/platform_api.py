"""The platform's public API as the commands use it: management objects, spaces and virtual clusters."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from loft.cli import exitcode
from loft.cli.failure import Failure, not_logged_in
from loft.cli.state import State
from loft.cli.transport import Transport, verify_context

MANAGEMENT = "/kubernetes/management/apis/management.loft.sh/v1"
CLUSTER_API = "/apis/cluster.loft.sh/v1"
RETRY_S = 0.2


def connect(state: State) -> PlatformApi:
    """Return the API of the instance somebody is logged into.

    Raises: Failure NOT_LOGGED_IN when there was no login.
    """
    if not state.host or not state.access_key:
        raise not_logged_in()
    return PlatformApi(Transport(state.host, state.access_key, verify_context(state.ca_data, state.insecure)))


class PlatformApi:
    """Calls by meaning; every answer is a Kubernetes object or list as `dict`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def self_(self) -> dict[str, Any]:
        """Return who the caller is (management `selves`)."""
        body = {"apiVersion": "management.loft.sh/v1", "kind": "Self"}
        return self.transport.ask("POST", f"{MANAGEMENT}/selves", body)

    def clusters(self) -> list[dict[str, Any]]:
        """Return the connected clusters that the caller may see, by name."""
        return _items(self.transport.ask("GET", f"{MANAGEMENT}/clusters"))

    def cluster(self, name: str) -> dict[str, Any]:
        """Return one connected cluster.

        Raises: Failure NOT_FOUND naming the clusters there are.
        """
        clusters = self.clusters()
        for cluster in clusters:
            if cluster["metadata"]["name"] == name:
                return cluster
        raise Failure(f"cluster {name!r} is not known; there are: {_names(clusters)}", exitcode.NOT_FOUND)

    def choose_cluster(self, name: str) -> dict[str, Any]:
        """Return the named cluster, or the only one when no name is given."""
        if name:
            return self.cluster(name)
        clusters = self.clusters()
        if len(clusters) == 1:
            return clusters[0]
        if not clusters:
            raise Failure("no cluster is connected that you may use; ask an administrator", exitcode.NOT_FOUND)
        raise Failure(f"several clusters are connected, name one with --cluster: {_names(clusters)}", exitcode.USAGE)

    def direct_token(self, cluster: str) -> str:
        """Ask the centre for a token that works at the direct endpoint of one cluster only."""
        body = {
            "apiVersion": "management.loft.sh/v1",
            "kind": "DirectClusterEndpointToken",
            "spec": {"cluster": cluster},
        }
        answer = self.transport.ask("POST", f"{MANAGEMENT}/directclusterendpointtokens", body)
        token = (answer.get("status") or {}).get("token")
        if not isinstance(token, str) or not token:
            raise Failure(f"{self.transport.base} gave no token for the direct endpoint of cluster {cluster}")
        return token

    def management(self, method: str, path: str, body: Any = None) -> Any:
        """Call management.loft.sh/v1; `path` begins with the resource."""
        return self.transport.call(method, f"{MANAGEMENT}/{path}", body, timeout_s=180)

    def in_cluster(self, cluster: str, method: str, path: str, body: Any = None) -> Any:
        """Call the API of a connected cluster; `path` begins with /api or /apis."""
        return self.transport.call(method, f"/kubernetes/cluster/{quote(cluster)}{path}", body)

    def spaces(self, cluster: str) -> list[dict[str, Any]]:
        """Return the spaces of one cluster that the caller may see."""
        return _items(self.in_cluster(cluster, "GET", f"{CLUSTER_API}/spaces"))

    def virtual_clusters(self, cluster: str, space: str = "") -> list[dict[str, Any]]:
        """Return the virtual clusters of one cluster (or one space of it) that the caller may see."""
        scope = f"/namespaces/{quote(space)}" if space else ""
        # What waits to be claimed is nobody's yet.
        query = urlencode({"labelSelector": "!loft.sh/warm"})
        return _items(self.in_cluster(cluster, "GET", f"{CLUSTER_API}{scope}/virtualclusters?{query}"))

    def watch_virtual_cluster(
        self, cluster: str, space: str, name: str, *, timeout_s: float = 60.0
    ) -> Iterator[dict[str, Any]]:
        """Yield the virtual cluster now and whenever it changes, for as long as the server keeps the watch."""
        limit = str(max(1, min(60, math.ceil(timeout_s))))
        query = urlencode({"watch": "1", "fieldSelector": f"metadata.name={name}", "timeoutSeconds": limit})
        path = f"/kubernetes/cluster/{quote(cluster)}{CLUSTER_API}/namespaces/{quote(space)}/virtualclusters?{query}"
        for event in self.transport.lines(path, timeout_s=70):
            if event.get("type") in ("ADDED", "MODIFIED"):
                yield event["object"]
            elif event.get("type") == "DELETED":
                raise Failure(f"virtual cluster {name} was deleted meanwhile", exitcode.NOT_FOUND)

    def wait_virtual_cluster(self, cluster: str, space: str, name: str, *, timeout_s: float) -> str:
        """Wait until a virtual cluster can be used; return what the server has to say about it, "" usually.

        An instance that cannot be reached for a while is waited for.
        Raises: Failure with the reason the server gives when it failed, TIMEOUT with the last state otherwise.
        """
        deadline = time.monotonic() + timeout_s
        state = "it has no status yet"
        place = f"{name} --space {space} --cluster {cluster}"
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                for found in self.watch_virtual_cluster(cluster, space, name, timeout_s=left_s):
                    status = found.get("status") or {}
                    if status.get("phase") == "Failed":
                        why = " ".join(str(status.get("message") or status.get("reason")).split())
                        raise Failure(f"virtual cluster {name} failed: {why}; remove it: loft delete vcluster {place}")
                    if status.get("phase") == "Deployed" and status.get("controlPlaneReady"):
                        return str(status.get("message") or "")
                    state = str(status.get("message") or status.get("phase") or state)
                    if time.monotonic() > deadline:
                        break
            except Failure as failure:
                if failure.code != exitcode.UNREACHABLE:
                    raise
                state = failure.message
            time.sleep(RETRY_S)
        raise Failure(
            f"virtual cluster {name} is not ready after {timeout_s:.0f} s: {' '.join(state.split())}; "
            f"it goes on starting, use it later: loft use vcluster {place}",
            exitcode.TIMEOUT,
        )


def _items(answer: Any) -> list[dict[str, Any]]:
    return sorted(answer.get("items") or [], key=lambda item: item["metadata"]["name"])


def _names(objects: list[dict[str, Any]]) -> str:
    return ", ".join(item["metadata"]["name"] for item in objects) or "none"
