"""directclusterendpointtokens: tokens with which the caller reaches one cluster without the central instance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from loft.api.cluster import DIRECT_ENDPOINT
from loft.apiserver.call import Call, Object
from loft.apiserver.refusal import Cause, forbidden, invalid
from loft.apiserver.store import Refusing
from loft.core.resource import CLUSTERS, Resource
from loft.identity.endpointtoken import LIFETIME_S_MAX, EndpointToken
from loft.kube.client import Client

TOKENS = Resource(
    "management.loft.sh", "v1", "directclusterendpointtokens", "DirectClusterEndpointToken", namespaced=False
)
Sign = Callable[[EndpointToken, datetime], str]
"""(token, now) -> the signed token."""


class EndpointTokens(Refusing):
    """See declaration.Store."""

    def __init__(self, client: Client, sign: Sign, now: Callable[[], datetime]) -> None:
        super().__init__(TOKENS)
        self._client = client
        self._sign = sign
        self._now = now

    async def create(self, call: Call, obj: Object) -> Object:
        """Sign a token for one cluster that has a direct endpoint; it ends with the key it was made with."""
        spec = obj.get("spec") or {}
        cluster, ttl = spec.get("cluster", ""), spec.get("ttl", 0)
        if not call.caller.key_name:
            raise forbidden(TOKENS, "", "a token is bound to an access key; log in with `loft login`")
        if wrong := await self._cause(cluster, ttl):
            raise invalid(TOKENS, "", wrong)
        now = self._now()
        expires = (now + timedelta(seconds=ttl or LIFETIME_S_MAX)).replace(microsecond=0)
        user = call.caller.user_name or call.caller.team_name
        token = EndpointToken(cluster=cluster, user=user, key=call.caller.key_name, expires=expires)
        status: Object = {"expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
        if not call.dry_run:
            status["token"] = self._sign(token, now)
        return {
            "apiVersion": TOKENS.api_version,
            "kind": TOKENS.kind,
            "metadata": {},
            "spec": {"cluster": cluster} | ({"ttl": ttl} if ttl else {}),
            "status": status,
        }

    async def _cause(self, cluster: str, ttl: int) -> Cause | None:
        if not 0 <= ttl <= LIFETIME_S_MAX:
            return Cause("spec.ttl", f"seconds from 1 to {LIFETIME_S_MAX}, 0 for the longest")
        if not cluster:
            return Cause("spec.cluster", "name the cluster the token is for", "FieldValueRequired")
        found = await self._client.find(CLUSTERS, cluster)
        if found is None:
            return Cause("spec.cluster", f"there is no cluster {cluster!r}", "FieldValueNotFound")
        if not (found["metadata"].get("annotations") or {}).get(DIRECT_ENDPOINT):
            text = f"cluster {cluster!r} has no direct endpoint; an administrator sets the annotation {DIRECT_ENDPOINT}"
            return Cause("spec.cluster", text)
        return None
