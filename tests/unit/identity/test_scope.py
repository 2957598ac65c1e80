"""What limited keys may do."""

import msgspec
import pytest

from loft.api.accesskey import AccessKeyScope
from loft.identity.requestinfo import request_info
from loft.identity.scope import ScopedRequest, is_allowed


def request(line, **fields):
    """`METHOD target path?query`, target m, c:CLUSTER or v:CLUSTER/NAMESPACE/NAME; `!` after the method: upgrade."""
    method, where, path = line.split()
    path, _, query = path.partition("?")
    parameters = [(part.partition("=")[0], part.partition("=")[2]) for part in query.split("&") if part]
    info = request_info(method.rstrip("!"), [part for part in path.split("/") if part], parameters)
    kind, _, place = where.partition(":")
    names = (*place.split("/"), "", "")
    return ScopedRequest(
        target={"m": "Management", "c": "Cluster", "v": "VCluster"}[kind],
        info=info,
        cluster=names[0],
        namespace=names[1],
        virtual_cluster=names[2],
        is_upgrade=method.endswith("!"),
    )


def scope(*rules):
    return msgspec.convert({"rules": list(rules)}, AccessKeyScope)


SPACE = {"namespaces": ["a"]}
READ = {"verbs": ["get", "list", "watch"]}

TABLE = [
    # A key limited to a space stays in it.
    (SPACE, "GET c:east /api/v1/namespaces/a/pods", True),
    (SPACE, "POST c:east /api/v1/namespaces/a/pods/p/exec", True),
    (SPACE, "GET c:east /api/v1/namespaces/b/pods", False),
    (SPACE, "GET c:east /api/v1/pods", False),
    (SPACE, "GET c:east /api/v1/pods?namespace=a", False),
    (SPACE, "GET c:east /api/v1/pods?fieldSelector=metadata.namespace%3Da&watch=1", False),
    (SPACE, "GET c:east /api/v1/namespaces/a", False),
    (SPACE, "DELETE c:east /api/v1/namespaces/a", False),
    (SPACE, "PUT c:east /api/v1/namespaces/a/finalize", False),
    (SPACE, "GET c:east /api/v1/nodes/n/proxy/pods", False),
    (SPACE, "GET c:east /metrics", False),
    (SPACE, "GET c:east /version", False),
    (SPACE, "GET c:east /api/v1", False),
    (SPACE, "GET c:east /apis/apiextensions.k8s.io/v1/customresourcedefinitions", False),
    (SPACE, "POST m /apis/management.loft.sh/v1/ownedaccesskeys", False),
    (SPACE, "GET v:east/a/vc /api/v1/namespaces/a/pods", False),
    ({**SPACE, "requestTargets": ["VCluster"]}, "GET v:east/b/vc /api/v1/namespaces/a/pods", True),
    ({"namespaces": ["a", ""]}, "GET c:east /api/v1/nodes", True),
    ({"namespaces": ["*"]}, "GET c:east /api/v1/nodes", False),
    ({"namespaces": ["*"]}, "GET c:east /api/v1/namespaces/z/pods", True),
    (
        {**SPACE, "resources": [{"group": "", "resources": ["namespaces"]}]},
        "GET c:east /api/v1/namespaces/a",
        True,
    ),
    # A key that may only read cannot run anything, whatever the method of the upgrade.
    (READ, "GET c:east /api/v1/namespaces/a/pods", True),
    (READ, "GET c:east /api/v1/pods?watch=true", True),
    (READ, "GET! c:east /api/v1/namespaces/a/pods/p/exec", False),
    (READ, "POST! c:east /api/v1/namespaces/a/pods/p/exec", False),
    (READ, "GET! c:east /api/v1/nodes/n/proxy/exec/a/p/c", False),
    ({"verbs": ["create"]}, "GET! c:east /api/v1/namespaces/a/pods/p/exec", True),
    (READ, "DELETE c:east /api/v1/namespaces/a/pods", False),
    ({"verbs": ["delete"]}, "DELETE c:east /api/v1/namespaces/a/pods", False),
    # Methods that are not known have no verb.
    ({"verbs": ["*"]}, "QUERY c:east /api/v1/pods", False),
    ({}, "get c:east /api/v1/pods", False),
    ({}, "TRACE! c:east /api/v1/pods", False),
    # Resources, subresources, names.
    ({"resources": [{"group": ""}]}, "GET c:east /api/v1/namespaces/a/pods", True),
    ({"resources": [{"group": ""}]}, "GET c:east /apis/apps/v1/deployments", False),
    ({"resources": [{"group": "*", "resources": ["pods"]}]}, "POST c:east /api/v1/namespaces/a/pods/p/exec", False),
    ({"resources": [{"group": "", "resources": ["pods/exec"]}]}, "POST c:e /api/v1/namespaces/a/pods/p/exec", True),
    ({"resources": [{"group": "", "resources": ["*/exec"]}]}, "POST c:e /api/v1/namespaces/a/pods/p/exec", True),
    ({"resources": [{"group": "", "resources": ["*/exec"]}]}, "GET c:e /api/v1/namespaces/a/pods/p", False),
    ({"resources": [{"group": "", "resourceNames": ["p"]}]}, "GET c:e /api/v1/namespaces/a/pods/p", True),
    ({"resources": [{"group": "", "resourceNames": ["p"]}]}, "GET c:e /api/v1/namespaces/a/pods", False),
    ({"resources": [{"group": ""}]}, "GET c:east /version", False),
    # Paths outside the resource API.
    ({"nonResourceURLs": ["/api/*", "/version"]}, "GET c:east /api/v1", True),
    ({"nonResourceURLs": ["/api/*", "/version"]}, "GET c:east /version", True),
    ({"nonResourceURLs": ["/api/*", "/version"]}, "GET c:east /versions", False),
    ({"nonResourceURLs": ["/api/*", "/version"]}, "GET c:east /api/v1/pods", False),
    # Where.
    ({"cluster": "east"}, "GET c:east /api/v1/pods", True),
    ({"cluster": "east"}, "GET c:west /api/v1/pods", False),
    ({"cluster": "east"}, "GET v:east/a/vc /api/v1/pods", True),
    ({"cluster": "east"}, "GET m /apis/management.loft.sh/v1/users", False),
    ({"virtualClusters": [{"name": "vc", "namespace": "a"}]}, "GET v:east/a/vc /api/v1/pods", True),
    ({"virtualClusters": [{"name": "vc", "namespace": "a"}]}, "GET v:east/b/vc /api/v1/pods", False),
    ({"virtualClusters": [{"name": "vc", "namespace": "a"}]}, "GET c:east /api/v1/pods", False),
    ({"requestTargets": ["Management"]}, "POST m /apis/management.loft.sh/v1/selves", True),
    ({"requestTargets": ["Management"]}, "GET c:east /api/v1/pods", False),
    # A limited key makes no other key.
    ({}, "POST m /apis/management.loft.sh/v1/ownedaccesskeys", False),
    ({}, "PUT m /apis/management.loft.sh/v1/ownedaccesskeys/k", False),
    ({}, "GET m /apis/management.loft.sh/v1/users/ann/accesskeys", True),
    ({}, "POST m /apis/management.loft.sh/v1/users/ann/accesskeys", False),
    ({}, "DELETE m /apis/management.loft.sh/v1/ownedaccesskeys/k", True),
]


@pytest.mark.parametrize("rule,line,allowed", TABLE, ids=[f"{rule} {line}" for rule, line, _ in TABLE])
def test_one_rule(rule, line, allowed):
    assert is_allowed(scope(rule), request(line)) is allowed


def test_no_rules_allow_nothing_and_no_scope_allows_all_known_methods():
    assert not is_allowed(scope(), request("GET c:east /version"))
    assert is_allowed(None, request("POST c:east /api/v1/namespaces/a/pods"))
    assert not is_allowed(None, request("BREW c:east /version"))
