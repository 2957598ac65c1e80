"""Secret: only those that a synced Pod uses are on the host, and nothing comes back.

Types with power on a host (`kubernetes.io/service-account-token` makes it issue a token of its own, bootstrap
tokens let nodes join) become Opaque: kubelets look at keys, and at the types of pull secrets only.
"""

from __future__ import annotations

from typing import Any

from loft.core.resource import SECRETS
from loft.hypervisor.core.mapping import At, Compute, Copy, Mapping
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


SECRET = Mapping(
    resource=SECRETS,
    to_host=(Copy("{data,immutable}"), Compute("type", secret_type)),
    wanted=is_used,
)
