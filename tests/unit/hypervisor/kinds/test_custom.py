"""Custom resources by configuration: what is written becomes a kind, what is wrong is named."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from loft.hypervisor.config import ConfigError, parse_config
from loft.hypervisor.core.body import host_body
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Scope
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.reflection import plan_reflection
from loft.hypervisor.custom import CustomResource
from loft.hypervisor.kinds import REGISTRY, issued, references
from loft.hypervisor.kinds.custom import CustomResourceError, custom_kinds
from loft.hypervisor.settings import Settings

Object = dict[str, Any]
WIDGET: Object = {"group": "example.com", "version": "v1", "kind": "Widget", "plural": "widgets"}
DOCUMENT = Path(__file__).parents[4] / "docs" / "sync.md"


def kinds(*written: Object) -> Any:
    return custom_kinds(msgspec.convert(list(written), list[CustomResource]), [*REGISTRY])


def widget(*rules: Object, **more: Any) -> Any:
    return kinds(WIDGET | {"rules": list(rules)} | more).mappings["Widget.example.com"]


def translated(mapping: Any, spec: Object, **facts: Any) -> tuple[Object, list[str]]:
    settings = Settings(name="dev", host_namespace="vc")
    context = Context(settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC), **facts)
    virtual = {"metadata": {"name": "a", "namespace": "web", "uid": "u"}, "spec": spec}
    body, refusals = host_body(mapping, virtual, Scope(Names("dev", "vc"), context, virtual, "web"))
    return body.get("spec", {}), [str(refusal) for refusal in refusals]


def test_every_word_does_what_it_says() -> None:
    mapping = widget(
        {"copy": "spec.{size,tags}"},
        {"ref": "spec.password", "kind": "Secret"},
        {"ref": "spec.friends[*].name"},
        {"labels": "spec.selector"},
        {"labelSelector": "spec.pods"},
        {"fixed": "spec.class", "value": "tenant"},
        {"guard": "spec.mode", "oneOf": ["a", 1]},
        {"guard": "spec.host", "pattern": r"[a-z]+\.example\.com", "why": "hosts of ours only"},
        {"ignore": "spec.note"},
    )
    spec = {
        "size": 3,
        "tags": ["x"],
        "password": "pw",
        "friends": [{"name": "b"}],
        "selector": {"app": "w"},
        "pods": {},
        "class": "platform",
        "mode": 1,
        "host": "a.example.com",
        "note": "inside",
    }
    host, refusals = translated(mapping, spec)
    fence = {"vcluster.loft.sh/managed-by": "dev", "vcluster.loft.sh/namespace": "web"}
    assert not refusals
    assert host == {
        "size": 3,
        "tags": ["x"],
        "password": "pw-x-web-x-dev",
        "friends": [{"name": "b-x-web-x-dev"}],
        "selector": {"label.vcluster.loft.sh/app": "w"} | fence,
        "pods": {"matchLabels": fence},
        "class": "tenant",
        "mode": 1,
        "host": "a.example.com",
    }
    assert references(mapping, {"spec": spec}) == [("Secret", "pw")]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"mode": True}, "spec.mode: must be one of a, 1"),
        ({"host": "a.example.com.evil"}, "spec.host: hosts of ours only"),
        ({"host": 7}, "spec.host: hosts of ours only"),
        ({"unknown": 1}, "spec.unknown: this field is not synced"),
        ({"tags": [{"deep": 1}]}, "spec.tags.0: this field is not synced"),
    ],
)
def test_what_no_rule_allows_is_refused_by_name(spec: Object, message: str) -> None:
    mapping = widget(
        {"copy": "spec.tags"},
        {"guard": "spec.mode", "oneOf": ["a", 1]},
        {"guard": "spec.host", "pattern": r"[a-z]+\.example\.com", "why": "hosts of ours only"},
    )
    assert message in translated(mapping, spec)[1][0]


RULE = {"copy": "spec"}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ([WIDGET], "without rules nothing of it would cross"),
        ([WIDGET | {"rules": [RULE]}] * 2, "is there twice"),
        ([WIDGET | {"group": "apps", "rules": [RULE]}], "group 'apps' must have the form"),
        ([WIDGET | {"group": "networking.k8s.io", "rules": [RULE]}], "kinds of Kubernetes itself"),
        ([WIDGET | {"group": "rbac.authorization.k8s.io", "rules": [RULE]}], "kinds of Kubernetes itself"),
        ([WIDGET | {"group": "storage.loft.sh", "rules": [RULE]}], "kinds of the platform"),
        ([WIDGET | {"version": "1/../..", "rules": [RULE]}], "version"),
        ([WIDGET | {"plural": "a/b", "rules": [RULE]}], "plural"),
        ([WIDGET | {"rules": [{}]}], "rules 1: give exactly one of copy"),
        ([WIDGET | {"rules": [{"copy": "spec.a", "ref": "spec.b"}]}], "give exactly one of"),
        ([WIDGET | {"rules": [{"copy": "metadata.finalizers"}]}], "metadata.finalizers cannot be synced here"),
        ([WIDGET | {"rules": [{"copy": "{metadata,spec}"}]}], "metadata cannot be synced here"),
        ([WIDGET | {"rules": [{"copy": "status"}]}], "status cannot be synced here"),
        ([WIDGET | {"rules": [{"copy": "spec..a"}]}], "is no path"),
        ([WIDGET | {"rules": [{"copy": "spec.a[0]"}]}], "is no path"),
        ([WIDGET | {"rules": [{"copy": "spec.a"}, {"fixed": "spec.a", "value": 1}]}], "two rules own this field"),
        ([WIDGET | {"rules": [{"copy": "spec"}, {"copy": "spec.a"}]}], "a rule above owns this field"),
        ([WIDGET | {"rules": [{"fixed": "spec.a"}]}], "fixed needs a value"),
        ([WIDGET | {"rules": [{"guard": "spec.a"}]}], "guard needs either oneOf or pattern"),
        ([WIDGET | {"rules": [{"guard": "spec.a", "pattern": "("}]}], "pattern '(' cannot be read"),
        ([WIDGET | {"rules": [{"copy": "spec.a", "kind": "Secret"}]}], "kind means nothing for copy"),
        ([WIDGET | {"rules": [{"ref": "spec.a", "kind": "Potato"}]}], "kind Potato is not synced"),
        ([WIDGET | {"rules": [{"text": "spec.a"}]}], "text is for what comes back"),
        ([WIDGET | {"rules": [RULE], "status": [{"copy": "spec.b"}]}], "spec.b cannot be synced here"),
        ([WIDGET | {"rules": [RULE], "status": [{"ref": "status.b"}]}], "only copy and text"),
        ([WIDGET | {"rules": [RULE], "names": ["a"]}], "names are for direction fromHost"),
        ([WIDGET | {"rules": [{"ref": "spec.a"}], "direction": "fromHost"}], "only copy and fixed are possible"),
        ([WIDGET | {"rules": [RULE], "status": [RULE], "direction": "fromHost"}], "its status too"),
    ],
)
def test_what_is_written_wrongly_is_named(written: list[Object], message: str) -> None:
    with pytest.raises(CustomResourceError, match=re.escape(message)):
        kinds(*written)


def test_the_configuration_says_which_custom_resource_is_wrong() -> None:
    least: Object = {"name": "dev", "namespace": "team", "serviceCidr": "10.96.0.0/16"}
    bad = least | {"customResources": [WIDGET]}
    with pytest.raises(ConfigError, match=r"customResources: Widget\.example\.com: without rules"):
        parse_config(msgspec.json.encode(bad))
    with pytest.raises(ConfigError, match="copi"):
        parse_config(msgspec.json.encode(least | {"customResources": [WIDGET | {"rules": [{"copi": "spec"}]}]}))


def test_the_example_of_the_document_is_right() -> None:
    block = re.findall(r"```yaml\n(hostClasses.*?)```", DOCUMENT.read_text(), re.DOTALL)[0]
    made = kinds(*yaml.safe_load(block)["sync"]["customResources"])
    assert set(made.mappings) == {"Certificate.cert-manager.io", "Issuer.cert-manager.io"}
    assert set(made.reflections) == {"ClusterIssuer.cert-manager.io"}
    certificate = made.mappings["Certificate.cert-manager.io"]
    spec = {"secretName": "tls", "dnsNames": ["a.example"], "issuerRef": {"name": "own", "kind": "Issuer"}}
    host, refusals = translated(certificate, spec)
    assert not refusals and host["issuerRef"] == {"name": "own-x-web-x-dev", "kind": "Issuer"}
    # The Secret is the host's to make: its name crosses, one that the tenant has is not put there.
    assert host["secretName"] == "tls-x-web-x-dev" and issued(certificate, {"spec": spec}) == ["tls"]
    assert references(certificate, {"spec": spec}) == []
    assert translated(certificate, spec, own_secrets=frozenset({"tls"}))[1] == [
        "spec.secretName: this Secret is there already and your own: name another one, or remove it"
    ]
    assert translated(certificate, {"issuerRef": {"kind": "ClusterIssuer", "name": "x"}})[1]
    issuer = made.mappings["Issuer.cert-manager.io"]
    assert translated(issuer, {"selfSigned": {}}) == ({"selfSigned": {}}, [])


def test_the_status_of_a_kind_of_the_host_is_shown_by_its_subresource() -> None:
    block = re.findall(r"```yaml\n(hostClasses.*?)```", DOCUMENT.read_text(), re.DOTALL)[0]
    reflection = kinds(*yaml.safe_load(block)["sync"]["customResources"]).reflections["ClusterIssuer.cert-manager.io"]
    context = Context(settings=Settings(name="dev", host_namespace="vc"), now=datetime(2026, 1, 1, tzinfo=UTC))
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    spec = {"acme": {"email": "ops@example.com"}}
    host = {"metadata": {"name": "letsencrypt", "uid": "h"}, "spec": spec, "status": ready | {"acme": {"uri": "x"}}}

    def planned(inside: Object | None) -> Any:
        return plan_reflection(reflection, host, inside, Names("dev", "vc"), context)

    (made,) = planned(None)
    assert made.action.body["spec"] == {}, "its definition wants a spec, and what is in it is the host's"
    inside = made.action.body | {"metadata": made.action.body["metadata"] | {"uid": "v"}}
    # An API server keeps no status of a create.
    inside.pop("status", None)
    (step,) = planned(inside)
    assert step.action.subresource == "status" and step.action.uid == "v"
    assert step.action.patch == {"metadata": {"uid": "v"}, "status": ready}
    assert planned(inside | {"status": ready}) == []
