"""Which form an Accept header asks for."""

import pytest

from loft.apiserver.negotiate import accepts_json, form_of, wants_aggregated_discovery
from loft.kube.errors import ApiError

KUBECTL = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
PARTIAL = "as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA = f"application/vnd.kubernetes.protobuf;{PARTIAL},application/json;{PARTIAL},application/json"
NOT_SERVED = ["text/html", "application/json;q=0", "application/json;as=Other", "application/cbor"]


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "object"),
        ("*/*", "object"),
        ("application/json", "object"),
        ("application/vnd.kubernetes.protobuf, application/json", "object"),
        (KUBECTL, "table"),
        (METADATA, "metadata"),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "metadata"),
        ("application/json;as=Table;v=v1;g=meta.k8s.io;q=0.1,application/json", "object"),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,*/*;q=0.1", "object"),
    ],
)
def test_forms(accept: str, form: str) -> None:
    assert form_of(accept) == form


@pytest.mark.parametrize("accept", NOT_SERVED)
def test_what_is_not_served(accept: str) -> None:
    with pytest.raises(ApiError) as refused:
        form_of(accept)
    assert refused.value.status == 406


def test_aggregated_discovery() -> None:
    wanted = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    older = wanted.replace("v2", "v2beta1")
    assert wants_aggregated_discovery(f"{wanted},application/json")
    assert wants_aggregated_discovery(f"{older},{wanted}")
    assert not wants_aggregated_discovery("application/json")
    assert not wants_aggregated_discovery("")
    assert not wants_aggregated_discovery(older)
    assert not accepts_json("application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
