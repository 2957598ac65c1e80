"""clusterconnects: connect a cluster by its kubeconfig. The work is done by a hook of the central instance."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import msgspec

from loft.api.management import ClusterConnect, ClusterConnectStatus
from loft.apiserver.call import Call, Object
from loft.apiserver.caller import Caller
from loft.apiserver.refusal import Cause, already_exists, invalid
from loft.apiserver.store import Refusing
from loft.core.resource import CLUSTERS, Resource
from loft.kube.client import Client
from loft.kube.config import ConfigError, parse_kubeconfig

CONNECTS = Resource("management.loft.sh", "v1", "clusterconnects", "ClusterConnect", namespaced=False)
Connect = Callable[[ClusterConnect, Caller], Awaitable[ClusterConnectStatus]]
CONFIG_LENGTH_MAX = 256 * 1024
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def cause(name: str, config: str) -> Cause | None:
    """Return what is wrong with a wish, before anybody acts on it. Pure but for the parsing of YAML."""
    if not name:
        return Cause("metadata.name", "name the cluster", "FieldValueRequired")
    if not _NAME.fullmatch(name):
        return Cause("metadata.name", "use at most 63 characters a-z, 0-9 and -")
    if not config or len(config) > CONFIG_LENGTH_MAX:
        return Cause("spec.config", f"a kubeconfig of at most {CONFIG_LENGTH_MAX} characters", "FieldValueRequired")
    try:
        parse_kubeconfig(config.encode(), inline_only=True)
    except ConfigError as error:
        return Cause("spec.config", str(error))
    return None


class ClusterConnects(Refusing):
    """See declaration.Store."""

    def __init__(self, client: Client, connect: Connect) -> None:
        super().__init__(CONNECTS)
        self._client = client
        self._connect = connect

    async def create(self, call: Call, obj: Object) -> Object:
        """Connect the cluster; what went wrong there is in the status, not an error of the request."""
        wish = msgspec.convert(obj, ClusterConnect)
        name = wish.metadata.name
        if wrong := cause(name, wish.spec.config):
            raise invalid(CONNECTS, name, wrong)
        if await self._client.find(CLUSTERS, name) is not None:
            raise already_exists(CLUSTERS, name, "a cluster of this name is connected; choose another name")
        status = ClusterConnectStatus() if call.dry_run else await self._connect(wish, call.caller)
        # The kubeconfig is an administrator's credential: it is never sent back.
        return {
            "apiVersion": CONNECTS.api_version,
            "kind": CONNECTS.kind,
            "metadata": {"name": name},
            "spec": {"displayName": wish.spec.display_name} if wish.spec.display_name else {},
            "status": msgspec.to_builtins(status),
        }
