"""Bodies: decoding, unknown fields, types."""

import pytest

from loft.api.crd import CLUSTERS, VIRTUAL_CLUSTERS, crd_schema
from loft.api.space import Space
from loft.apiserver.body import check_fields, check_object, decode_change, decode_object
from loft.apiserver.call import Call, call_options, is_watch, list_options, watch_options
from loft.apiserver.caller import Caller
from loft.apiserver.fields import unknown_fields
from loft.core.resource import Resource
from loft.kube.errors import ApiError, Invalid

SPACES = Resource("cluster.loft.sh", "v1", "spaces", "Space", namespaced=False)
CALL = Call(caller=Caller(user="a"), verb="create")


def test_yaml_and_json_are_read_as_objects() -> None:
    assert decode_object(b"a: 1\nb: [x]\n", "application/yaml") == {"a": 1, "b": ["x"]}
    assert decode_object(b'{"a": 1}', "application/json") == {"a": 1}
    assert decode_change(b"a: 1", "application/apply-patch+yaml").content == {"a": 1}
    assert decode_change(b'[{"op": "remove"}]', "application/json-patch+json").kind == "json"
    assert decode_change(b"{}", "application/merge-patch+json").kind == "merge"


@pytest.mark.parametrize(
    ("data", "media", "status"),
    [
        (b"a: 1", "application/json", 400),
        (b"a: &x 1\nb: *x", "application/yaml", 400),
        (b"a: [", "application/yaml", 400),
        (b"- a", "application/yaml", 400),
        (b"!!python/object/apply:os.system [id]", "application/yaml", 400),
        (b"x" * 300_000, "application/yaml", 413),
        (b"{}", "application/vnd.kubernetes.protobuf", 415),
        (b"\xff", "application/json", 400),
    ],
)
def test_bodies_that_are_refused(data: bytes, media: str, status: int) -> None:
    with pytest.raises(ApiError) as refused:
        decode_object(data, media)
    assert refused.value.status == status


def test_strategic_patches_are_refused_by_name() -> None:
    with pytest.raises(ApiError) as refused:
        decode_change(b"{}", "application/strategic-merge-patch+json")
    assert refused.value.status == 415 and "merge-patch+json" in refused.value.message


def test_unknown_fields_with_their_paths() -> None:
    schema = crd_schema(CLUSTERS)
    obj = {"metadata": {"name": "a", "color": "x"}, "spec": {"access": [{}, {"verb": []}]}, "specs": {}}
    assert unknown_fields(schema, obj) == ["metadata.color", "spec.access[1].verb", "specs"]
    assert unknown_fields(crd_schema(VIRTUAL_CLUSTERS), {"spec": {"pod": {"podSelector": {"any": {"x": 1}}}}}) == []
    assert len(unknown_fields(schema, {str(number): 1 for number in range(1000)})) == 50


def test_field_validation() -> None:
    schema, obj = crd_schema(CLUSTERS), {"spec": {"x": 1}}
    assert check_fields(CALL, schema, obj, "Cluster") == ['unknown field "spec.x"']
    ignoring = Call(caller=CALL.caller, verb="create", field_validation="Ignore")
    assert check_fields(ignoring, schema, obj, "Cluster") == []
    strict = Call(caller=CALL.caller, verb="create", field_validation="Strict")
    with pytest.raises(ApiError, match="strict decoding error"):
        check_fields(strict, schema, obj, "Cluster")


def test_types_are_checked_and_nulls_are_not_set() -> None:
    check_object(CALL, SPACES, Space, {"metadata": {"name": "a", "labels": None}, "spec": None})
    with pytest.raises(Invalid) as refused:
        check_object(CALL, SPACES, Space, {"metadata": {"name": "a"}, "spec": {"user": 1}})
    (cause,) = refused.value.details["causes"]
    assert (cause["field"], cause["reason"]) == ("spec.user", "FieldValueTypeInvalid")
    with pytest.raises(ApiError, match="names no namespace"):
        check_object(CALL, SPACES, Space, {"metadata": {"name": "a", "namespace": "b"}})


def test_the_url_completes_the_object() -> None:
    obj = {"metadata": {}}
    check_object(Call(caller=CALL.caller, verb="update", name="a"), SPACES, Space, obj)
    assert obj["metadata"] == {"name": "a"}


def test_query_parameters() -> None:
    options = call_options({"dryRun": "All", "fieldManager": "me", "fieldValidation": "Strict", "force": "true"})
    assert options == {"dry_run": True, "field_manager": "me", "field_validation": "Strict", "force": True}
    assert list_options({"limit": "5", "continue": "c", "labelSelector": "a=b"}).continue_ == "c"
    assert list_options({"limit": "99999999"}).limit == 10_000
    watch = watch_options({"sendInitialEvents": "true", "allowWatchBookmarks": "1", "timeoutSeconds": "7"})
    assert (watch.send_initial_events, watch.bookmarks, watch.timeout_s) == (True, True, 7)
    assert watch_options({}).send_initial_events is None
    assert is_watch({"watch": "true"}) and not is_watch({"watch": "0"})


@pytest.mark.parametrize(
    "query",
    [
        {"dryRun": "Some"},
        {"fieldValidation": "Odd"},
        {"fieldManager": "m" * 129},
        {"fieldManager": "a\n"},
        {"force": "x"},
    ],
)
def test_odd_parameters_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(ApiError):
        call_options(query)


def test_the_manager_is_the_client_when_none_is_given() -> None:
    assert Call(caller=CALL.caller, verb="create", user_agent="kubectl/v1.36 (linux)").manager == "kubectl"
    assert Call(caller=CALL.caller, verb="create", field_manager="me", user_agent="x/1").manager == "me"
    assert CALL.manager == "unknown"
