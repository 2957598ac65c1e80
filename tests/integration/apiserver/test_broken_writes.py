"""Half-done work: a space whose owner could not be given rights, a process that ended between two writes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from integration.apiserver.bed import Bed, binding, role
from loft.apiserver.authorize import Reviewer
from loft.apiserver.call import Call
from loft.apiserver.caller import Caller
from loft.cluster.spaces import Spaces
from loft.kube.client import Client
from loft.kube.errors import ApiError, Forbidden

pytestmark = pytest.mark.integration

ANNA = Caller(user="loft:user:anna", groups=("loft:user:anna", "loft:team:makers"))


def wish(name: str) -> dict[str, Any]:
    return {"apiVersion": "cluster.loft.sh/v1", "kind": "Space", "metadata": {"name": name}}


def weak_server(bed: Bed, name: str, verbs: list[str]) -> None:
    """An agent's account that may not write RoleBindings."""
    rules = [
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": verbs},
    ]
    bed.apply(role(name, rules), binding(name, name, "User", name))


async def create(bed: Bed, server: str, space: str) -> ApiError | None:
    async with Client(bed.server.endpoint_for(server)) as client:
        try:
            await Spaces(client, Reviewer(client)).create(Call(caller=ANNA, verb="create"), wish(space))
        except ApiError as error:
            return error
    return None


def test_without_the_owners_rights_there_is_no_space(bed: Bed) -> None:
    weak_server(bed, "weak-one", ["get", "create", "delete"])
    # The keeper of owners must not step in while this is tested: it would make the rights good.
    error = asyncio.run(create(bed, "weak-one", "taken-back"))
    assert isinstance(error, Forbidden), error
    assert "was not created, because its owner could not be given rights" in error.message
    bed.kubectl("wait", "--for=delete", "namespace/taken-back", "--timeout=30s")


def test_what_cannot_be_taken_back_is_completed(bed: Bed) -> None:
    weak_server(bed, "weak-two", ["get", "create"])
    assert asyncio.run(create(bed, "weak-two", "completed")) is None
    bed.kubectl("wait", "--for=create", "rolebinding/loft-space-owner", "-n", "completed", "--timeout=10s")
    assert bed.get("rolebinding", "loft-space-owner", "-n", "completed")["subjects"][0]["name"] == "loft:user:anna"


def test_a_space_without_its_role_binding_is_completed(bed: Bed) -> None:
    """As after a crash between the two writes."""
    metadata = {
        "name": "crashed",
        "labels": {"loft.sh/space": "true"},
        "annotations": {"loft.sh/owner-user": "anna"},
    }
    bed.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
    bed.kubectl("wait", "--for=create", "rolebinding/loft-space-owner", "-n", "crashed", "--timeout=10s")


def test_a_delete_hits_only_the_space_that_was_seen(bed: Bed) -> None:
    bed.kubectl("create", "-f", "-", stdin=json.dumps(wish("seen")), user="anna", teams=("makers",))
    path = "/apis/cluster.loft.sh/v1/spaces/seen"
    options = json.dumps({"preconditions": {"uid": "another"}})
    text = bed.kubectl("delete", "--raw", path, "-f", "-", stdin=options, ok=False, user="anna", teams=("makers",))
    assert "Conflict" in text or "precondition" in text.lower(), text
    assert bed.get("space", "seen")["status"]["phase"] == "Active"


def test_a_refused_review_is_no_permission(bed: Bed) -> None:
    """Without an answer about rights nothing is done."""

    async def ask() -> None:
        async with Client(bed.server.endpoint_for("nobody")) as client:
            reviewer = Reviewer(client)
            call = Call(caller=Caller(user="loft:user:mallory"), verb="create")
            with pytest.raises(Forbidden):
                await Spaces(client, reviewer).create(call, wish("by-mallory") | {"spec": {"user": "anna"}})

    asyncio.run(ask())
    assert "NotFound" in bed.kubectl("get", "namespace", "by-mallory", ok=False)
