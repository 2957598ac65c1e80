"""ServiceAccount tokens: valid at the virtual API server only, carried to the host in a Secret of their own.

No ServiceAccount is synced: host Pods run under one without rights. A projected token of a virtual Pod is asked for
by TokenRequest, bound to that Pod, and put into a host Secret named by the Pod's uid; it is renewed as a kubelet
renews it, and dies with the Pod since the virtual API server checks the binding.
Source: KEP-1205; kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

from loft.core.action import Create, Patch
from loft.core.resource import SECRETS
from loft.hypervisor.core import objects
from loft.hypervisor.core.body import marks
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.side import Step, on_host
from loft.hypervisor.kinds.pod_volumes import TokenSource, token_secret_name, token_sources
from loft.hypervisor.settings import Settings

TOKEN_OF_POD = "Pod"
"""Value of the object-kind mark on a Secret of tokens: it was made for a Pod, not for a virtual Secret."""
RENEW_SHARE = 0.8
"""A token is renewed after this share of its life, as in a kubelet, and at the latest after a day."""
RENEW_SHORT_SHARE = 0.5
"""For lives under SHORT_S: a changed Secret takes up to 90 s to reach the files of a Pod."""
SHORT_S = 1200
DAY_S = 24 * 3600

Token = tuple[str, datetime]
"""The token and when it expires (UTC)."""


def needs_tokens(pod: Object) -> bool:
    """Whether a Pod projects ServiceAccount tokens."""
    return bool(token_sources(pod))


def token_request(pod: Object, source: TokenSource) -> Object:
    """Return the TokenRequest for one projected token, bound to this very Pod."""
    spec: Object = {
        "audiences": [source.audience] if source.audience else [],
        "expirationSeconds": source.lifetime_s,
        "boundObjectRef": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": objects.name(pod),
            "uid": objects.uid(pod),
        },
    }
    account = objects.spec(pod).get("serviceAccountName") or "default"
    metadata = {"name": account, "namespace": objects.namespace(pod)}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": metadata, "spec": spec}


def renew_at(expires: datetime, now: datetime) -> datetime:
    """Return when a token issued now should be replaced."""
    life_s = (expires - now).total_seconds()
    share = RENEW_SHORT_SHARE if life_s < SHORT_S else RENEW_SHARE
    return now + timedelta(seconds=min(life_s * share, DAY_S))


def due_in_s(secret: Object, now: datetime, key: str = "") -> float:
    """Return the seconds until a Secret of tokens must be renewed; 0 when it is due or has no date.

    `key` names the key that signs tokens now: what another has signed will not be accepted much longer.
    """
    if objects.annotations(secret).get(objects.SIGNED_BY, "") != key:
        return 0.0
    stamp = objects.annotations(secret).get(objects.RENEW_AT)
    try:
        due = datetime.fromisoformat(stamp) if stamp else now
    except ValueError:
        due = now
    return max(0.0, (due - now).total_seconds())


def plan_tokens(
    pod: Object, secret: Object | None, tokens: dict[str, Token], names: Names, about: tuple[Settings, datetime]
) -> list[Step]:
    """Return the step that stores freshly issued tokens.

    Args:
        pod: the virtual Pod.
        secret: the host Secret as last seen, None when there is none.
        tokens: key (as in token_sources) to token.
        names: host names.
        about: settings, and the time at which the tokens were issued.
    """
    settings, now = about
    data = {key: base64.b64encode(token.encode()).decode() for key, (token, _) in tokens.items()}
    due = min(renew_at(expires, now) for _, expires in tokens.values()).astimezone(UTC)
    stamp = {objects.RENEW_AT: due.isoformat(timespec="seconds")}
    if settings.token_key:
        stamp[objects.SIGNED_BY] = settings.token_key
    name = token_secret_name(pod, names)
    if secret is not None:
        uid = objects.uid(secret)
        change = {"metadata": {"uid": uid, "annotations": stamp}, "data": data}
        return [on_host(Patch(SECRETS, names.host_namespace, name, change, uid=uid))]
    labels, annotations = marks(pod, TOKEN_OF_POD, names)
    metadata: Object = {
        "name": name,
        "namespace": names.host_namespace,
        "labels": labels,
        "annotations": annotations | stamp,
    }
    if settings.owner:
        metadata["ownerReferences"] = [settings.owner]
    body = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}
    return [on_host(Create(SECRETS, body))]
