"""Envoy's own answers as Status objects, and the audit line of each authenticated request. Pure."""

from __future__ import annotations

from loft.gateway.envoy.proto import Json, typed
from loft.gateway.status import status

_DECISION = "envoy.filters.http.ext_authz"
_UNREACHABLE = "cannot reach %DYNAMIC_METADATA(envoy.filters.http.ext_authz:destination)%: %RESPONSE_CODE_DETAILS%"

AUDIT_FIELDS = ("user", "key", "verb", "target", "cluster", "space", "virtualCluster", "apiGroup", "resource")


def local_replies() -> Json:
    """Return the texts of answers that Envoy makes itself; the first that fits is used."""
    decided = {
        "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
        "content_type": "application/json",
    }
    return {
        "mappers": [
            _mapper(_details("ext_authz_denied"), decided),
            _mapper(
                _details("ext_authz_error"),
                _json(503, "the gateway cannot decide about requests at the moment; try again"),
            ),
            _mapper(_details("rbac_access_denied", prefix=True), _json(403, "the request was not authenticated")),
            _mapper(_details("direct_response"), decided),
            _mapper(_flags("NC"), _json(503, "the connection to the cluster is being set up; try again")),
            _mapper(_flags("UH", "UF", "UO", "UC", "UR", "URX", "LR"), _json(503, _UNREACHABLE), warn=True),
            _mapper(_flags("UT", "SI"), _json(504, _UNREACHABLE), warn=True),
            _mapper(_code(400), _json(400, "the request is refused: %RESPONSE_CODE_DETAILS%")),
            _mapper(_code(403), _json(403, "the request is refused: %RESPONSE_CODE_DETAILS%")),
            _mapper(_code(404), _json(404, "this path is not served here")),
            _mapper(_code(413), _json(413, "the request is too large: %RESPONSE_CODE_DETAILS%")),
        ],
        "body_format": {
            "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
        },
    }


def audit_log(path: str) -> Json:
    """Return the log of authenticated requests: who did what where, with which outcome. No query, no header values.

    A line is written when the request has ended.
    """
    fields = {
        "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        "requestId": "%REQ(x-request-id)%",
        **{name: f"%DYNAMIC_METADATA({_DECISION}:{name})%" for name in (*AUDIT_FIELDS, "namespace", "name", "path")},
        "method": "%REQ(:method)%",
        "code": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "durationMs": "%DURATION%",
        "bytesReceived": "%BYTES_RECEIVED%",
        "bytesSent": "%BYTES_SENT%",
        "source": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "userAgent": "%REQ(user-agent):200%",
    }
    log_format = {"json_format": fields, "omit_empty_values": True}
    authenticated = {
        "metadata_filter": {
            "matcher": {"filter": _DECISION, "path": [{"key": "user"}], "value": {"present_match": True}},
            "match_if_key_not_found": False,
        }
    }
    if path:
        file = "extensions.access_loggers.file.v3.FileAccessLog"
        logger = typed("envoy.access_loggers.file", file, path=path, log_format=log_format)
    else:
        stdout = "extensions.access_loggers.stream.v3.StdoutAccessLog"
        logger = typed("envoy.access_loggers.stdout", stdout, log_format=log_format)
    return {**logger, "filter": authenticated}


def _mapper(condition: Json, body: Json, *, warn: bool = False) -> Json:
    mapper: Json = {"filter": condition, "body_format_override": body}
    if warn:  # kubectl prints it also where it does not print the message (see decide._noticeable)
        header = {"key": "warning", "value": f'299 loft "{_UNREACHABLE}"'}
        mapper["headers_to_add"] = [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    return mapper


def _json(code: int, message: str) -> Json:
    return {"json_format": status(code, message)}


def _code(code: int) -> Json:
    value = {"default_value": code, "runtime_key": "loft.none"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _flags(*flags: str) -> Json:
    return {"response_flag_filter": {"flags": list(flags)}}


def _details(text: str, *, prefix: bool = False) -> Json:
    expression = f"response.code_details == '{text}'"
    if prefix:
        expression = f"response.code_details.startsWith('{text}')"
    cel = typed(
        "envoy.access_loggers.extension_filters.cel",
        "extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        expression=expression,
    )
    return {"extension_filter": cel}
