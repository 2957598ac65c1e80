"""Requests are read as the API server reads them."""

import pytest

from loft.identity.requestinfo import request_info

CASES = [
    # method, path, query -> verb, group, version, namespace, resource, subresource, name
    ("GET", "/api/v1/pods", "", "list//v1//pods//"),
    ("HEAD", "/api/v1/pods", "", "list//v1//pods//"),
    ("GET", "/api/v1/namespaces/a/pods", "", "list//v1/a/pods//"),
    ("GET", "/api/v1/namespaces/a/pods", "watch=true", "watch//v1/a/pods//"),
    ("GET", "/api/v1/namespaces/a/pods", "watch", "watch//v1/a/pods//"),
    ("GET", "/api/v1/namespaces/a/pods", "watch=0", "list//v1/a/pods//"),
    ("GET", "/api/v1/namespaces/a/pods", "watch=False&watch=1", "watch//v1/a/pods//"),
    ("GET", "/api/v1/namespaces/a/pods/p", "watch=1", "get//v1/a/pods//p"),
    ("GET", "/api/v1/watch/namespaces/a/pods", "", "watch//v1/a/pods//"),
    ("GET", "/api/v1/namespaces/a", "", "get//v1/a/namespaces//a"),
    ("PUT", "/api/v1/namespaces/a/finalize", "", "update//v1/a/namespaces/finalize/a"),
    ("PATCH", "/api/v1/namespaces/a/status", "", "patch//v1/a/namespaces/status/a"),
    ("GET", "/api/v1/namespaces", "", "list//v1//namespaces//"),
    ("POST", "/api/v1/namespaces/a/pods/p/exec", "command=ls", "create//v1/a/pods/exec/p"),
    ("GET", "/api/v1/namespaces/a/pods/p/log", "follow=true", "get//v1/a/pods/log/p"),
    ("GET", "/api/v1/namespaces/a/services/s/proxy/x/y", "", "get//v1/a/services/proxy/s"),
    ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "", "deletecollection/apps/v1/a/deployments//"),
    ("DELETE", "/apis/apps/v1/namespaces/a/deployments/d", "", "delete/apps/v1/a/deployments//d"),
    ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", "", "patch/apps/v1/a/deployments/scale/d"),
    ("POST", "/apis/management.loft.sh/v1/selves", "", "create/management.loft.sh/v1//selves//"),
    ("get", "/api/v1/pods", "", "/".join(["", "", "v1", "", "pods", "", ""])),
    ("QUERY", "/api/v1/pods", "", "//v1//pods//"),
    ("TRACE", "/api/v1/watch/pods", "", "//v1//pods//"),
]


@pytest.mark.parametrize("method,path,query,want", CASES, ids=[f"{c[0]} {c[1]} {c[2]}" for c in CASES])
def test_resource_requests(method, path, query, want):
    parameters = [(part.partition("=")[0], part.partition("=")[2]) for part in query.split("&") if part]
    info = request_info(method, path.strip("/").split("/"), parameters)
    found = (info.verb, info.group, info.version, info.namespace, info.resource, info.subresource, info.name)
    assert info.is_resource
    assert "/".join(found) == want


@pytest.mark.parametrize(
    "method,path,verb",
    [
        ("GET", "/", "get"),
        ("HEAD", "/healthz", "head"),
        ("POST", "/version", "post"),
        ("GET", "/api", "get"),
        ("GET", "/api/v1", "get"),
        ("GET", "/apis/apps/v1", "get"),
        ("OPTIONS", "/version", ""),
        ("BREW", "/version", ""),
    ],
)
def test_other_paths(method, path, verb):
    info = request_info(method, [part for part in path.split("/") if part], ())
    assert (info.verb, info.path, info.is_resource) == (verb, path, False)


@pytest.mark.parametrize(
    "path,query,long",
    [
        ("/api/v1/pods", "watch", True),
        ("/api/v1/pods", "", False),
        ("/api/v1/namespaces/a/pods/p/exec", "", True),
        ("/api/v1/namespaces/a/pods/p/log", "", True),
        ("/api/v1/nodes/n/proxy/metrics", "", True),
        ("/api/v1/namespaces/a/pods/p/status", "", False),
    ],
)
def test_what_may_stay_open(path, query, long):
    info = request_info("GET", path.strip("/").split("/"), [(query, "")] if query else [])
    assert info.is_long_running is long
