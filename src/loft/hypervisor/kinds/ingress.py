"""Ingress: rules, backends and certificates go to the host's ingress controller, its addresses come back.

An ingress controller is shared, and takes what it reads for its own configuration: a host belongs to whoever claims
it, annotations become lines of its configuration, and so do paths. So hosts are only those that are offered to this
virtual cluster, annotations only those of a list, each with the form of its value, and paths only plain ones.
Sources: kubernetes.io/docs/concepts/services-networking/ingress; CVE-2021-25742, CVE-2023-5043, CVE-2025-1974.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from loft.core.resource import INGRESSES
from loft.hypervisor.core import objects
from loft.hypervisor.core.baseline import unset
from loft.hypervisor.core.mapping import ABSENT, AnnotationRules, At, Compute, Copy, Guard, Mapping, Ref, Refused
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.translate import referred

_PATH = re.compile(r"/[A-Za-z0-9._~%+:@,=/-]*")
_PATH_RULE = "a path has letters, digits and -._~%+:@,=/ only: controllers read other characters as configuration"
_DEFAULT = "a default backend would answer for hosts of others; give rules with hosts"
_RESOURCE = "only Services can be backends"
_ANNOTATION = "this annotation has power over the host's ingress controller"
_BACKEND = "spec.rules[*].http.paths[*].backend"


def is_offered(host: str, offered: Sequence[str]) -> bool:
    """Whether a host may be claimed; a wildcard only below an offered domain."""
    domain = host.removeprefix("*.")
    for pattern in offered:
        if pattern == "*":
            if "*" not in host:
                return True
        elif pattern.startswith("*."):
            if host == pattern or domain.endswith(pattern[1:]):
                return True
        elif host == pattern:
            return True
    return False


def host(value: Any, at: At) -> str:
    """Return a rule's host when it is offered here; without one a rule would be for every host."""
    if value is ABSENT or not value:
        raise Refused("", "a rule without a host would answer for hosts of others")
    _check(str(value), "", at)
    return str(value)


def tls_hosts(value: Any, at: At) -> list[str]:
    """Return the hosts of a certificate."""
    if value is ABSENT or not value:
        raise Refused("", "a certificate without hosts would be for hosts of others")
    for index, item in enumerate(value):
        _check(str(item), f"[{index}]", at)
    return list(value)


def _check(name: str, field: str, at: At) -> None:
    offered = at.scope.context.settings.ingress_hosts
    if not is_offered(name, offered):
        shown = ", ".join(offered) or "none; ask who operates the host cluster"
        raise Refused(field, f"the host {name} is not offered to this virtual cluster; offered: {shown}")


def class_name(value: Any, at: At) -> Any:
    """Let a class cross that is offered; without one the host's default is used, if any class is allowed."""
    allowed = at.scope.context.settings.ingress_classes
    if "*" in allowed or value in allowed:
        return value
    if value is ABSENT:
        raise Refused("", f"name a class; offered: {', '.join(allowed) or 'none'}")
    raise Refused("", f"this class is not offered here; offered: {', '.join(allowed) or 'none'}")


def is_plain_path(value: Any) -> bool:
    """Whether a path says nothing but a path to any controller."""
    return isinstance(value, str) and bool(_PATH.fullmatch(value))


class Form:
    """Lets an annotation cross whose whole value has a form."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)

    def __call__(self, value: Any, at: At) -> str:
        """Return the value. Raises: Refused."""
        if not isinstance(value, str) or not self._pattern.fullmatch(value):
            raise Refused("", f"the value must have the form {self._pattern.pattern}")
        return value


def issued(virtual: Object) -> list[str]:
    """Return the names of the Secrets that cert-manager on the host makes for an Ingress: those of its tls."""
    if not _ISSUERS & objects.annotations(virtual).keys():
        return []
    tls = objects.spec(virtual).get("tls") or ()
    return [item["secretName"] for item in tls if isinstance(item, dict) and item.get("secretName")]


def cluster_issuer(value: Any, at: At) -> Any:
    """Return the host's ClusterIssuer; ABSENT while the tenant has the certificate, which is served as it is."""
    return ABSENT if at.scope.context.own_secrets else _NAME(value, at)


def issuer(value: Any, at: At) -> Any:
    """Return the host name of the tenant's Issuer; like `cluster_issuer` where a ClusterIssuer is meant."""
    if at.scope.context.own_secrets:
        return ABSENT
    if at.parent.get(f"{_CERT}issuer-kind", "Issuer") != "Issuer":
        return _NAME(value, at)
    return referred("Issuer.cert-manager.io", _NAME(value, at), at.scope)


def common_name(value: Any, at: At) -> str:
    """Return a certificate's common name, one of the offered hosts."""
    _check(str(value), "", at)
    return str(value)


_CERT = "cert-manager.io/"
_ISSUERS = {f"{_CERT}issuer", f"{_CERT}cluster-issuer"}
_NGINX = "nginx.ingress.kubernetes.io/"
_NAME = Form(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_SWITCH, _NUMBER, _SIZE = Form(r"true|false"), Form(r"[0-9]{1,9}"), Form(r"[0-9]{1,9}[kKmMgG]?")
_DURATION = Form(r"([0-9]{1,6}(\.[0-9]+)?(s|m|h))+")
_WORDS = Form(r"[A-Za-z0-9_*-]+(, ?[A-Za-z0-9_*-]+)*")
_CIDRS = Form(r"[0-9a-fA-F.:]+(/[0-9]{1,3})?(, ?[0-9a-fA-F.:]+(/[0-9]{1,3})?)*")
_ORIGINS = Form(r"(\*|https?://[A-Za-z0-9.*-]+(:[0-9]+)?)(, ?https?://[A-Za-z0-9.*-]+(:[0-9]+)?)*")
_PLAIN = Form(_PATH.pattern)

ANNOTATIONS = AnnotationRules(
    crossing={
        f"{_CERT}issuer": issuer,
        f"{_CERT}common-name": common_name,
        f"{_CERT}cluster-issuer": cluster_issuer,
        f"{_CERT}issuer-kind": Form("Issuer|ClusterIssuer"),
        f"{_CERT}issuer-group": Form("cert-manager\\.io"),
        **dict.fromkeys((f"{_CERT}duration", f"{_CERT}renew-before"), _DURATION),
        f"{_CERT}private-key-algorithm": Form("RSA|ECDSA|Ed25519"),
        f"{_CERT}private-key-encoding": Form("PKCS1|PKCS8"),
        f"{_CERT}private-key-rotation-policy": Form("Never|Always"),
        **dict.fromkeys((f"{_CERT}private-key-size", f"{_CERT}revision-history-limit"), _NUMBER),
        f"{_CERT}usages": Form(r"[a-z ]+(, ?[a-z ]+)*"),
        "acme.cert-manager.io/http01-edit-in-place": _SWITCH,
        **{_NGINX + key: _SWITCH for key in ("ssl-redirect", "force-ssl-redirect", "enable-cors")},
        _NGINX + "cors-allow-credentials": _SWITCH,
        **{_NGINX + f"proxy-{key}-timeout": _NUMBER for key in ("connect", "read", "send")},
        **{_NGINX + key: _NUMBER for key in ("cors-max-age", "limit-rps", "limit-rpm", "limit-connections")},
        **{_NGINX + key: _NUMBER for key in ("session-cookie-max-age", "session-cookie-expires")},
        **{_NGINX + key: _SIZE for key in ("proxy-body-size", "proxy-buffer-size", "client-body-buffer-size")},
        **{_NGINX + key: Form("on|off") for key in ("proxy-buffering", "proxy-request-buffering")},
        _NGINX + "backend-protocol": Form("HTTP|HTTPS|GRPC|GRPCS"),
        _NGINX + "affinity": Form("cookie"),
        _NGINX + "affinity-mode": Form("balanced|persistent"),
        _NGINX + "session-cookie-name": Form(r"[A-Za-z0-9_-]{1,64}"),
        _NGINX + "session-cookie-path": _PLAIN,
        **{_NGINX + key: _PLAIN for key in ("app-root", "rewrite-target")},
        **{_NGINX + key: _WORDS for key in ("cors-allow-methods", "cors-allow-headers", "cors-expose-headers")},
        _NGINX + "cors-allow-origin": _ORIGINS,
        **{_NGINX + key: _CIDRS for key in ("whitelist-source-range", "denylist-source-range")},
    },
    refused=re.compile(
        r"(^|\.)(ingress\.kubernetes\.io|cert-manager\.io|konghq\.com|traefik\.io|projectcontour\.io|haproxy\.(com|org)"
        r"|external-dns\.(alpha\.|beta\.)?kubernetes\.io|networking\.gke\.io|appgw\.ingress\.kubernetes\.io"
        r"|oauth-proxy|nginx\.(org|com))/|^kubernetes\.io/(ingress|tls)|^traefik\."
    ),
    rule=_ANNOTATION,
)

INGRESS = Mapping(
    resource=INGRESSES,
    to_host=(
        Compute("spec.ingressClassName", class_name),
        Guard("spec.defaultBackend", unset, _DEFAULT),
        Compute("spec.rules[*].host", host),
        Copy("spec.rules[*].http.paths[*].pathType"),
        Guard("spec.rules[*].http.paths[*].path", is_plain_path, _PATH_RULE),
        Ref(_BACKEND + ".service.name", "Service"),
        Copy(_BACKEND + ".service.port.{name,number}"),
        Guard(_BACKEND + ".resource", unset, _RESOURCE),
        Compute("spec.tls[*].hosts", tls_hosts),
        Ref("spec.tls[*].secretName", "Secret"),
    ),
    to_virtual=(
        Copy("status.loadBalancer.ingress[*].{ip,hostname}"),
        Copy("status.loadBalancer.ingress[*].ports[*].{port,protocol,error}"),
    ),
    crossing=ANNOTATIONS,
    issues=issued,
    whole=True,
)
