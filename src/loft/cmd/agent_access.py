"""How an agent acts at its API server: tokens of the impersonator, questions about rights, facts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from loft.core.resource import SERVICEACCOUNTS, SERVICECIDRS, SUBJECTACCESSREVIEWS, VIRTUALCLUSTERS
from loft.identity.subject import Identity
from loft.kube.client import Client
from loft.kube.errors import ApiError

log = logging.getLogger(__name__)

IMPERSONATOR = "loft-agent-impersonator"
TOKEN_S = 3600
RETRY_S = 2.0
SERVICE_CIDR = "kubernetes"


async def keep_impersonator_token(client: Client, namespace: str, use: Callable[[str], None]) -> None:
    """Hand a token of the impersonator to `use`, and a new one long before it ends; for ever."""
    while True:
        wish = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": IMPERSONATOR, "namespace": namespace},
            "spec": {"expirationSeconds": TOKEN_S},
        }
        try:
            status = (await client.create(SERVICEACCOUNTS, wish, subresource="token"))["status"]
        except ApiError as error:
            log.warning("no token for ServiceAccount %s: %s", IMPERSONATOR, error)
            await asyncio.sleep(RETRY_S)
            continue
        use(status["token"])
        await asyncio.sleep(renewal_s(status.get("expirationTimestamp", ""), datetime.now(UTC)))


def renewal_s(expires: str, now: datetime) -> float:
    """Return when to ask for the next token: after half of its lifetime. Pure."""
    try:
        left_s = (datetime.fromisoformat(expires) - now).total_seconds()
    except (ValueError, TypeError):
        left_s = float(TOKEN_S)
    return max(10.0, left_s / 2)


async def may_get(client: Client, identity: Identity, namespace: str, name: str) -> bool:
    """Tell whether RBAC of the cluster lets somebody get a VirtualCluster object. Raises: ApiError."""
    spec = {
        "user": identity.user,
        "groups": list(identity.groups),
        "resourceAttributes": {
            "verb": "get",
            "group": VIRTUALCLUSTERS.group,
            "version": VIRTUALCLUSTERS.version,
            "resource": VIRTUALCLUSTERS.plural,
            "namespace": namespace,
            "name": name,
        },
    }
    body = {"apiVersion": SUBJECTACCESSREVIEWS.api_version, "kind": SUBJECTACCESSREVIEWS.kind, "spec": spec}
    status = (await client.create(SUBJECTACCESSREVIEWS, body)).get("status") or {}
    return status.get("allowed") is True and status.get("denied") is not True


async def service_cidr(client: Client) -> str:
    """Return the cluster's Service CIDR (the IPv4 one where there are two). Raises: ApiError."""
    found = await client.get(SERVICECIDRS, SERVICE_CIDR)
    cidrs: list[str] = (found.get("spec") or {}).get("cidrs") or []
    return next((cidr for cidr in cidrs if ":" not in cidr), cidrs[0] if cidrs else "")
