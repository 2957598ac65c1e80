"""What a Pod uses, and where its tokens are."""

from __future__ import annotations

from loft.hypervisor.core.names import Names
from loft.hypervisor.kinds.pod_volumes import references, token_secret_name, token_sources

POD = {
    "metadata": {"name": "web", "namespace": "default", "uid": "u1"},
    "spec": {
        "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [
            {"name": "i", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s1", "key": "k"}}}]}
        ],
        "containers": [
            {
                "name": "c",
                "env": [
                    {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m1", "key": "k"}}},
                    {"name": "B", "value": "x"},
                ],
                "envFrom": [{"configMapRef": {"name": "m2"}}, {"secretRef": {"name": "s2"}}],
            }
        ],
        "volumes": [
            {"name": "a", "configMap": {"name": "m3"}},
            {"name": "b", "secret": {"secretName": "s3"}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "p1"}},
            {"name": "d", "ephemeral": {"volumeClaimTemplate": {}}},
            {
                "name": "e",
                "projected": {
                    "sources": [
                        {"configMap": {"name": "m4"}},
                        {"secret": {"name": "s4"}},
                        {"serviceAccountToken": {"path": "token"}},
                        {"serviceAccountToken": {"path": "vault", "audience": "vault", "expirationSeconds": 600}},
                    ]
                },
            },
            {"name": "f", "configMap": {"name": "m1"}},
        ],
    },
}


def test_everything_a_pod_names_is_found_once() -> None:
    found = references(POD)
    assert len(found) == len(set(found))
    assert {name for kind, name in found if kind == "ConfigMap"} == {"m1", "m2", "m3", "m4"}
    assert {name for kind, name in found if kind == "Secret"} == {"s1", "s2", "s3", "s4", "pull"}
    assert {name for kind, name in found if kind == "PersistentVolumeClaim"} == {"p1", "web-d"}


def test_each_token_has_a_key_audience_and_lifetime() -> None:
    first, second = token_sources(POD)
    assert (first.key, first.path, first.audience, first.lifetime_s) == ("token-0", "token", "", 3600)
    assert (second.key, second.path, second.audience, second.lifetime_s) == ("token-1", "vault", "vault", 600)


def test_another_pod_of_that_name_has_another_secret() -> None:
    again = POD | {"metadata": POD["metadata"] | {"uid": "u2"}}  # type: ignore[operator]
    names = Names("dev", "vc")
    assert token_secret_name(POD, names) != token_secret_name(again, names)
