"""Names around a Pod: its own host name and the name server it asks, both as the virtual cluster has them.

Source: kubernetes.io/docs/concepts/services-networking/dns-pod-service.
"""

from __future__ import annotations

from typing import Any

from loft.hypervisor.core import objects
from loft.hypervisor.core.mapping import ABSENT, At, Refused
from loft.hypervisor.core.objects import Object

HOSTNAME_MAX = 63
_FROM_HOST = "Default"


def asks_virtual_dns(pod: Object) -> bool:
    """Whether a Pod resolves names by the virtual cluster's DNS; on the host's network it must say so by name."""
    spec = objects.spec(pod)
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    return policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not spec.get("hostNetwork"))


def dns_policy(value: Any, at: At) -> str:
    """Return None for all that do not mean Default: the host's own DNS knows nothing of the virtual cluster."""
    pod = at.scope.source
    is_default = objects.spec(pod).get("hostNetwork") and value != "None" and not asks_virtual_dns(pod)
    return _FROM_HOST if value == _FROM_HOST or is_default else "None"


def dns_config(value: Any, at: At) -> Any:
    """Return the resolver configuration: the virtual cluster's plus the tenant's additions, merged as by a kubelet."""
    own = {} if value is ABSENT else value
    servers, searches = list(own.get("nameservers") or ()), list(own.get("searches") or ())
    options = {item["name"]: item.get("value") for item in own.get("options") or ()}
    if asks_virtual_dns(at.scope.source):
        context = at.scope.context
        domain = context.settings.cluster_domain
        servers = [context.dns_ip, *servers]
        searches = [f"{at.scope.namespace}.svc.{domain}", f"svc.{domain}", domain, *searches]
        options = {"ndots": "5"} | options
    result: Object = {}
    if servers:
        result["nameservers"] = list(dict.fromkeys(servers))
    if searches:
        result["searches"] = list(dict.fromkeys(searches))
    if options:
        result["options"] = [
            {"name": name} if text is None else {"name": name, "value": text} for name, text in options.items()
        ]
    return result or ABSENT


def hostname(value: Any, at: At) -> str:
    """Return the host name a container sees: the virtual Pod's, not the host Pod's."""
    if value is not ABSENT:
        return str(value)
    return label_of(at.scope.source)


def label_of(pod: Object) -> str:
    """Return the host name of a Pod that names none."""
    return objects.name(pod).replace(".", "-")[:HOSTNAME_MAX].rstrip("-")


def hostname_override(value: Any, at: At) -> Any:
    """Return a host name that `hostname`, one label, cannot say: the qualified one, or a Pod's name with dots.

    A kubelet qualifies names by the namespace and domain it knows, which are the host's; so it is told the whole name.
    Source: KEP-4762.
    """
    if value is not ABSENT:
        return value
    pod = at.scope.source
    spec, name = objects.spec(pod), objects.name(pod)
    if spec.get("hostNetwork"):
        return ABSENT
    if spec.get("setHostnameAsFQDN") and spec.get("subdomain"):
        return qualified(pod, at.scope.context.settings.cluster_domain)
    if not spec.get("hostname") and "." in name:
        return name[:HOSTNAME_MAX].rstrip("-.")
    return ABSENT


def qualified(pod: Object, domain: str) -> str:
    """Return the name of a Pod in its governing Service, as cluster DNS has it."""
    spec = objects.spec(pod)
    label = spec.get("hostname") or objects.name(pod)
    return f"{label}.{spec['subdomain']}.{objects.namespace(pod)}.svc.{domain}"


def is_fqdn_possible(value: Any, at: At) -> Any:
    """Return nothing, since `hostnameOverride` says it. Raises: Refused for a name that no kernel takes."""
    spec = objects.spec(at.scope.source)
    if value is not ABSENT and value and spec.get("subdomain") and not spec.get("hostNetwork"):
        name = qualified(at.scope.source, at.scope.context.settings.cluster_domain)
        if len(name) > HOSTNAME_MAX:
            raise Refused("", f"{name} is longer than {HOSTNAME_MAX} characters, the most a host name may have")
    return ABSENT
