"""Ingress: hosts that are offered, paths and annotations that say nothing else to a controller."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from loft.hypervisor.core.body import host_body
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Scope
from loft.hypervisor.core.names import Names
from loft.hypervisor.kinds import issued, references
from loft.hypervisor.kinds.ingress import INGRESS, is_offered, is_plain_path
from loft.hypervisor.settings import Settings

Object = dict[str, Any]


def refusals(spec: Object, annotations: dict[str, str] | None = None, **settings: Any) -> list[str]:
    facts = {"ingress_hosts": ("*.dev.example",)} | settings
    context = Context(settings=Settings(name="dev", host_namespace="vc", **facts), now=datetime(2026, 1, 1, tzinfo=UTC))
    metadata = {"name": "a", "namespace": "web", "uid": "u", "annotations": annotations or {}}
    virtual = {"metadata": metadata, "spec": spec}
    _, found = host_body(INGRESS, virtual, Scope(Names("dev", "vc"), context, virtual, "web"))
    return [refusal.field for refusal in found]


@pytest.mark.parametrize(
    ("host", "offered", "is_ok"),
    [
        ("shop.dev.example", ("*.dev.example",), True),
        ("a.b.dev.example", ("*.dev.example",), True),
        ("*.b.dev.example", ("*.dev.example",), True),
        ("*.dev.example", ("*.dev.example",), True),
        ("dev.example", ("*.dev.example",), False),
        ("evildev.example", ("*.dev.example",), False),
        ("*.example", ("*.dev.example",), False),
        ("shop.example", ("shop.example",), True),
        ("a.shop.example", ("shop.example",), False),
        ("*.shop.example", ("shop.example",), False),
        ("any.example", ("*",), True),
        ("*.example", ("*",), False),
        ("*", ("*",), False),
        ("any.example", (), False),
    ],
)
def test_hosts(host: str, offered: tuple[str, ...], is_ok: bool) -> None:
    assert is_offered(host, offered) == is_ok


@pytest.mark.parametrize("path", ["/", "/a/b-c_d.e", "/~u/%20", "/@x:y,z=1+2"])
def test_plain_paths(path: str) -> None:
    assert is_plain_path(path)


@pytest.mark.parametrize(
    "path", ["", "a", "/a;b", "/{}", "/a b", "/a\n", "/(.*)", "/$1", '/"', "/a#", "/a?b", "/\\", 7]
)
def test_paths_that_a_controller_could_read_as_more(path: Any) -> None:
    assert not is_plain_path(path)


@pytest.mark.parametrize(
    "key",
    [
        "nginx.ingress.kubernetes.io/configuration-snippet",
        "nginx.ingress.kubernetes.io/server-snippet",
        "nginx.ingress.kubernetes.io/auth-snippet",
        "nginx.ingress.kubernetes.io/auth-url",
        "nginx.ingress.kubernetes.io/auth-tls-match-cn",
        "nginx.ingress.kubernetes.io/mirror-target",
        "nginx.ingress.kubernetes.io/server-alias",
        "nginx.ingress.kubernetes.io/use-regex",
        "nginx.org/server-snippets",
        "kubernetes.io/ingress.class",
        "external-dns.alpha.kubernetes.io/hostname",
        "alb.ingress.kubernetes.io/group.name",
        "cert-manager.io/secret-template",
        "cert-manager.io/alt-names",
        "traefik.ingress.kubernetes.io/router.middlewares",
        "konghq.com/plugins",
        "projectcontour.io/ingress.class",
    ],
)
def test_annotations_with_power_are_refused_by_name(key: str) -> None:
    assert refusals({}, {key: "anything"}) == [f"metadata.annotations[{key}]"]


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("nginx.ingress.kubernetes.io/rewrite-target", "/app", "/;} location /"),
        ("nginx.ingress.kubernetes.io/proxy-body-size", "8m", "8m; deny all"),
        ("nginx.ingress.kubernetes.io/whitelist-source-range", "10.0.0.0/8, 192.0.2.1", "all;"),
        ("nginx.ingress.kubernetes.io/cors-allow-origin", "https://*.example.com, http://a:80", 'x"'),
        ("nginx.ingress.kubernetes.io/session-cookie-name", "route", "a b"),
        ("cert-manager.io/cluster-issuer", "letsencrypt", "a/b"),
        ("cert-manager.io/common-name", "shop.dev.example", "platform.example"),
        ("cert-manager.io/duration", "2160h", "ever"),
    ],
)
def test_values_have_a_form(key: str, good: str, bad: str) -> None:
    assert refusals({}, {key: good}) == []
    assert refusals({}, {key: bad}) == [f"metadata.annotations[{key}]"]
    assert refusals({}, {key: good + "\n"}) == [f"metadata.annotations[{key}]"]


def test_annotations_of_the_tenants_own_tools_stay_inside_without_a_word() -> None:
    assert refusals({}, {"kubectl.kubernetes.io/last-applied-configuration": "{}", "example.com/a": "b"}) == []


def test_a_class_that_is_not_offered_is_refused_also_when_it_is_left_out() -> None:
    assert refusals({"ingressClassName": "other"}, ingress_classes=("nginx",)) == ["spec.ingressClassName"]
    assert refusals({}, ingress_classes=("nginx",)) == ["spec.ingressClassName"]
    assert refusals({"ingressClassName": "nginx"}, ingress_classes=("nginx",)) == []


def test_what_an_ingress_uses() -> None:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": "a.dev.example", "http": {"paths": [{"path": "/", "backend": backend}] * 2}}
    spec = {"rules": [rule], "tls": [{"hosts": ["a.dev.example"], "secretName": "cert"}]}
    assert references(INGRESS, {"spec": spec}) == [("Service", "web"), ("Secret", "cert")]


def test_what_cert_manager_on_the_host_makes_for_it() -> None:
    spec = {"tls": [{"hosts": ["a.dev.example"], "secretName": "cert"}, {"hosts": ["b.dev.example"]}]}
    assert issued(INGRESS, {"spec": spec}) == []
    for key in ("cert-manager.io/issuer", "cert-manager.io/cluster-issuer"):
        assert issued(INGRESS, {"metadata": {"annotations": {key: "house"}}, "spec": spec}) == ["cert"]


@pytest.mark.parametrize("key", ["cert-manager.io/issuer", "cert-manager.io/cluster-issuer"])
def test_no_issuer_is_asked_while_the_tenant_has_the_certificate(key: str) -> None:
    settings = Settings(name="dev", host_namespace="vc", ingress_hosts=("*.dev.example",))
    virtual = {"metadata": {"name": "a", "namespace": "web", "uid": "u", "annotations": {key: "house"}}, "spec": {}}
    crossed = []
    for own in (frozenset[str](), frozenset({"cert"})):
        context = Context(settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC), own_secrets=own)
        scope = Scope(Names("dev", "vc"), context, virtual, "web")
        body, refused = host_body(INGRESS, virtual, scope)
        assert not refused
        crossed.append(key in body["metadata"]["annotations"])
    assert crossed == [True, False]
