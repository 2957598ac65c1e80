"""Secret: only those that a synced object uses are on the host, and nothing comes back.

One that shows what a controller of the host made is there already, under the name that users of it have on the host.

Types with power on a host (`kubernetes.io/service-account-token` makes it issue a token of its own, bootstrap
tokens let nodes join) become Opaque: kubelets look at keys, and at the types of pull secrets only.
"""

from __future__ import annotations

from typing import Any

from loft.core.resource import SECRETS
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import At, Compute, Copy, Mapping
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.reflection import is_reflected
from loft.hypervisor.kinds.configmap import is_used

HARMLESS_TYPES = frozenset(
    {
        "Opaque",
        "kubernetes.io/basic-auth",
        "kubernetes.io/dockercfg",
        "kubernetes.io/dockerconfigjson",
        "kubernetes.io/ssh-auth",
        "kubernetes.io/tls",
    }
)


def secret_type(value: Any, at: At) -> str:
    """Return the type on the host."""
    return value if value in HARMLESS_TYPES else "Opaque"


def is_wanted(virtual: Object, context: Context) -> bool:
    """Sync the tenant's own Secrets that are used."""
    return is_used(virtual, context) and not is_reflected(virtual)


SECRET = Mapping(
    resource=SECRETS,
    to_host=(Copy("{data,immutable}"), Compute("type", secret_type)),
    wanted=is_wanted,
)
