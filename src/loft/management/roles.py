"""Nobody gives more than they may give: `spec.clusterRoles` of users and teams takes the verb `bind` on each role.

The same rule by which Kubernetes lets somebody write a ClusterRoleBinding (RBAC, "privilege escalation prevention").
"""

from __future__ import annotations

import msgspec

from loft.apiserver.authorize import Attributes, Reviewer
from loft.apiserver.call import Call, Object
from loft.apiserver.refusal import forbidden
from loft.core.resource import CLUSTERROLES, Resource
from loft.kube.client import Client


def roles_of(obj: Object | None) -> set[str]:
    """Return the names of the ClusterRoles that a User or Team has. Pure."""
    listed = ((obj or {}).get("spec") or {}).get("clusterRoles") or []
    return {role["name"] for role in listed if role.get("name")}


class RoleCheck:
    """A forward.Check for users and teams."""

    def __init__(self, client: Client, reviewer: Reviewer, view: Resource, backing: Resource) -> None:
        self._client = client
        self._reviewer = reviewer
        self._view = view
        self._backing = backing

    async def __call__(self, call: Call, obj: Object) -> None:
        """Raises: Forbidden naming the first role that is new to the object and not the caller's to give."""
        wanted = roles_of(obj)
        if not wanted:
            return
        name = obj["metadata"].get("name") or call.name
        before = await self._client.find(self._backing, name) if name else None
        attributes = Attributes(verb="bind", group=CLUSTERROLES.group, resource=CLUSTERROLES.plural)
        for role in sorted(wanted - roles_of(before)):
            if not await self._reviewer.allowed(call.caller, msgspec.structs.replace(attributes, name=role)):
                text = f"{call.caller.user!r} may not give ClusterRole {role!r}; that takes the verb bind on it"
                raise forbidden(self._view, name, text)
