from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from loft.core.resource import CONFIGMAPS, NODES, PODS, SUBJECTACCESSREVIEWS
from loft.kube import request as requests
from loft.kube.request import Request

BODY = {"metadata": {"namespace": "a", "name": "b"}}


@pytest.mark.parametrize(
    ("request_", "method", "target"),
    [
        (requests.get(PODS, "b", "a"), "GET", "/api/v1/namespaces/a/pods/b"),
        (requests.get(PODS, "b", "a", "log"), "GET", "/api/v1/namespaces/a/pods/b/log"),
        (requests.list_(PODS), "GET", "/api/v1/pods?limit=500"),
        (requests.list_(PODS, limit=0), "GET", "/api/v1/pods"),
        (
            requests.list_(PODS, "a", label_selector="x in (y,z)", field_selector="c=d", continue_="e=="),
            "GET",
            "/api/v1/namespaces/a/pods?labelSelector=x+in+%28y%2Cz%29&fieldSelector=c%3Dd&limit=500&continue=e%3D%3D",
        ),
        (
            requests.watch(NODES, resource_version="7", timeout_s=30),
            "GET",
            "/api/v1/nodes?watch=true&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=30",
        ),
        (requests.create(PODS, BODY), "POST", "/api/v1/namespaces/a/pods"),
        (requests.create(PODS, BODY, dry_run=True), "POST", "/api/v1/namespaces/a/pods?dryRun=All"),
        (requests.create(PODS, BODY, subresource="binding"), "POST", "/api/v1/namespaces/a/pods/b/binding"),
        (
            requests.create(SUBJECTACCESSREVIEWS, {"spec": {}}),
            "POST",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        ),
        (requests.update(PODS, BODY, subresource="status"), "PUT", "/api/v1/namespaces/a/pods/b/status"),
        (requests.patch(PODS, "b", {}, "a"), "PATCH", "/api/v1/namespaces/a/pods/b"),
        (
            requests.apply(PODS, BODY, manager="me"),
            "PATCH",
            "/api/v1/namespaces/a/pods/b?fieldManager=me&force=true",
        ),
        (requests.apply(PODS, BODY, manager="me", force=False), "PATCH", "/api/v1/namespaces/a/pods/b?fieldManager=me"),
        (requests.delete(PODS, "b", "a"), "DELETE", "/api/v1/namespaces/a/pods/b"),
    ],
)
def test_requests(request_: Request, method: str, target: str) -> None:
    assert (request_.method, request_.target) == (method, target)


@pytest.mark.parametrize("kind", list(requests.PATCH_TYPES))
def test_each_kind_of_patch_has_its_content_type(kind: Any) -> None:
    sent = requests.patch(CONFIGMAPS, "b", {}, "a", kind, manager="me")
    assert sent.content_type == requests.PATCH_TYPES[kind]


def test_an_applied_body_names_its_kind() -> None:
    sent = json.loads(requests.apply(CONFIGMAPS, BODY, manager="me").body or b"")
    assert sent == {"apiVersion": "v1", "kind": "ConfigMap", **BODY}


def test_delete_options() -> None:
    sent = requests.delete(PODS, "b", "a", uid="u", grace_s=0, propagation="Foreground", dry_run=True)
    assert json.loads(sent.body or b"") == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": "u"},
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Foreground",
        "dryRun": ["All"],
    }


def test_an_empty_name_never_becomes_the_whole_collection() -> None:
    for build in (
        lambda: requests.get(PODS, "", "a"),
        lambda: requests.delete(PODS, "", "a"),
        lambda: requests.patch(PODS, "", {}, "a"),
        lambda: requests.update(PODS, {"metadata": {"namespace": "a"}}),
        lambda: requests.apply(PODS, {"metadata": {"namespace": "a"}}, manager="me"),
        lambda: requests.create(PODS, {"metadata": {"namespace": "a"}}, subresource="binding"),
    ):
        with pytest.raises(ValueError, match="no name"):
            build()


def test_what_the_api_server_could_not_accept() -> None:
    with pytest.raises(ValueError, match="field manager"):
        requests.patch(PODS, "b", {}, "a", "apply")
    with pytest.raises(ValueError, match="force"):
        requests.patch(PODS, "b", {}, "a", "merge", force=True)
    with pytest.raises(ValueError, match="not text"):
        requests.update(PODS, {"metadata": {"namespace": "a", "name": 7}})


def test_it_is_light_enough_for_the_command_line() -> None:
    program = (
        "import sys, loft.kube.request, loft.kube.errors, loft.core.action; "
        "print([m for m in ('asyncio', 'aiohttp', 'ssl', 'cryptography', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
