"""Turns configuration in JSON into Envoy's messages; a field that Envoy does not know is an error here, not there."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.overload.v3 import overload_pb2  # noqa: F401  (the imports below make types known to Any)
from envoy.extensions.access_loggers.file.v3 import file_pb2  # noqa: F401
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2  # noqa: F401
from envoy.extensions.access_loggers.stream.v3 import stream_pb2  # noqa: F401
from envoy.extensions.filters.http.credential_injector.v3 import credential_injector_pb2  # noqa: F401
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2  # noqa: F401
from envoy.extensions.filters.http.lua.v3 import lua_pb2  # noqa: F401
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2  # noqa: F401
from envoy.extensions.http.injected_credentials.generic.v3 import generic_pb2  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from google.protobuf import json_format

from loft.gateway.envoy.proto import CLUSTER, LISTENER, SECRET, Json

_MESSAGES: dict[str, Any] = {
    CLUSTER: cluster_pb2.Cluster,
    LISTENER: listener_pb2.Listener,
    SECRET: secret_pb2.Secret,
}


class Encoded(msgspec.Struct, frozen=True):
    """One resource in its wire form."""

    version: str
    body: bytes


def encode(kind: str, resource: Json) -> Encoded:
    """Return the wire form of a resource; equal resources have equal versions.

    Raises: json_format.ParseError for a field that the message does not have.
    """
    message = json_format.ParseDict(resource, _MESSAGES[kind]())
    body = message.SerializeToString(deterministic=True)
    return Encoded(hashlib.sha256(body).hexdigest()[:16], body)
