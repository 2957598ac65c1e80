"""The filters that every request passes, at the centre and at agents alike, and the routes behind them. Pure.

early strip -> (gate: a later fast path takes its place here) -> ext_authz -> groups -> guard -> router

Every step fails closed:
- the strip takes away, before anything is decided, what only we may set;
- ext_authz refuses when its server is not there;
- a script writes the groups as header lines of their own, which ext_authz cannot (it joins them with commas,
  and the API server would read that as one group); its last act is a mark;
- the guard lets nothing through without the mark of ext_authz and the mark of the script: a script that
  fails is only logged by Envoy, and the request would go on without an identity;
- routes out exist only for requests with the header in which the decision names the upstream.
"""

from __future__ import annotations

import msgspec

from loft.gateway import headers as names
from loft.gateway.envoy.proto import Json, typed
from loft.gateway.envoy.replies import audit_log, local_replies
from loft.gateway.settings import Role
from loft.gateway.status import status_text

AUTHZ_CLUSTER = "loft-authz"
AUTHZ_CENTRE_CLUSTER = "loft-authz-centre"
AUTHZ_NAMESPACE = "envoy.filters.http.ext_authz"

SCRIPT_NAMESPACE = "loft.groups"
GROUP_HEADER = "groupHeader"
GROUPS = "groups"
"""Keys in the decision's metadata: under which header name the groups go on, and the groups."""

_AUTHZ = "envoy.filters.http.ext_authz"
_SCRIPT = "envoy.filters.http.lua"
_GUARD = "envoy.filters.http.rbac"
_AUTHZ_TIMEOUT = "2s"
_STREAM_IDLE_TIMEOUT = "300s"

# Answer of the seeds' direct endpoint; the body is for people who look with curl.
_HEALTH_HEADERS = {
    "access-control-allow-headers": "*",
    "access-control-allow-methods": "POST, GET, OPTIONS, PUT, DELETE, PATCH",
    "access-control-allow-origin": "*",
    "cache-control": "no-cache, private",
    "strict-transport-security": "max-age=15724800; includeSubDomains",
}
_KUBERNETES_PATHS: dict[Role, tuple[str, ...]] = {
    "centre": ("/kubernetes/cluster", "/kubernetes/virtualcluster", "/kubernetes/management"),
    "agent": ("/kubernetes/cluster", "/kubernetes/virtualcluster"),
}
_PLATFORM_PATHS: dict[Role, tuple[str, ...]] = {"centre": ("/auth", "/agent/v1", "/version"), "agent": ()}


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of listener: who comes in there."""

    name: str
    role: Role
    from_centre: bool = False
    """Only the centre can connect: its assertions are believed."""
    trusted_hops: int = 0
    audit_log: str = ""
    """File; "" means standard output."""


def connection_manager(front: Front) -> Json:
    """Return the HTTP connection manager of a listener."""
    return typed(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=front.name,
        codec_type="AUTO",
        server_name="loft",
        early_header_mutation_extensions=[_strip(front)],
        http_filters=[_ext_authz(front), _groups(), _guard(), _router()],
        route_config=_routes(front),
        local_reply_config=local_replies(),
        access_log=[audit_log(front.audit_log)],
        upgrade_configs=[{"upgrade_type": "websocket"}, {"upgrade_type": "SPDY/3.1"}],
        # No normalisation: what is authorised is forwarded byte for byte, what could be read in two ways is refused.
        normalize_path=False,
        merge_slashes=False,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        use_remote_address=True,
        xff_num_trusted_hops=front.trusted_hops,
        forward_client_cert_details="SANITIZE",
        generate_request_id=True,
        # The centre's id is kept, so that its line in the audit log and the agent's belong together.
        preserve_external_request_id=front.from_centre,
        always_set_request_id_in_response=True,
        request_headers_timeout="10s",
        stream_idle_timeout=_STREAM_IDLE_TIMEOUT,
        max_request_headers_kb=60,
        **_protocols(),
    )


def _router() -> Json:
    return typed("envoy.filters.http.router", "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True)


def _protocols() -> Json:
    return {
        "common_http_protocol_options": {
            "idle_timeout": "3600s",
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": 100,
        },
        "http_protocol_options": {"allow_absolute_url": False},
        "http2_protocol_options": {
            "max_concurrent_streams": 1000,
            "initial_stream_window_size": 1 << 18,
            "initial_connection_window_size": 1 << 24,
            "allow_connect": False,
        },
    }


def _strip(front: Front) -> Json:
    """Remove what only we may set; that impersonation was asked for is kept in a header of ours."""
    prefixes: tuple[str, ...] = names.STRIPPED_PREFIXES
    if front.trusted_hops or front.from_centre:
        prefixes = tuple(prefix for prefix in prefixes if prefix != "x-forwarded-")
    internal = (names.UPSTREAM, names.LONG_RUNNING)
    ours = [_remove_prefix(names.INTERNAL_PREFIX)]
    if front.from_centre:
        ours = [*({"remove": name} for name in internal), _remove_prefix(names.IMPERSONATES_PREFIX)]
    return typed(
        "envoy.http.early_header_mutation.header_mutation",
        "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[
            *ours,
            *(_note_impersonation(header) for header in names.IMPERSONATION),
            *(_remove_prefix(prefix) for prefix in prefixes),
            *({"remove": name} for name in names.STRIPPED_NAMES),
        ],
    )


def _remove_prefix(prefix: str) -> Json:
    return {"remove_on_match": {"key_matcher": {"prefix": prefix, "ignore_case": True}}}


def _note_impersonation(header: str) -> Json:
    note = {"key": names.IMPERSONATES_PREFIX + header, "value": f"%REQ(impersonate-{header})%"}
    return {"append": {"header": note, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}


def _ext_authz(front: Front) -> Json:
    cluster = AUTHZ_CENTRE_CLUSTER if front.from_centre else AUTHZ_CLUSTER
    return typed(
        _AUTHZ,
        "extensions.filters.http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        grpc_service={"envoy_grpc": {"cluster_name": cluster}, "timeout": _AUTHZ_TIMEOUT},
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        validate_mutations=True,
        encode_raw_headers=True,
        # The decision sets the header that the routes match on.
        clear_route_cache=True,
    )


_GROUPS_SCRIPT = f"""
function envoy_on_request(handle)
  local decision = handle:streamInfo():dynamicMetadata():get("{AUTHZ_NAMESPACE}")
  local name = decision["{GROUP_HEADER}"]
  if name ~= "" then
    local headers = handle:headers()
    headers:remove(name)
    for _, group in ipairs(decision["{GROUPS}"]) do
      headers:add(name, group)
    end
  end
  handle:streamInfo():dynamicMetadata():set("{SCRIPT_NAMESPACE}", "done", true)
end
"""


def _groups() -> Json:
    return typed(
        _SCRIPT,
        "extensions.filters.http.lua.v3.Lua",
        default_source_code={"inline_string": _GROUPS_SCRIPT},
        clear_route_cache=False,
    )


def _guard() -> Json:
    marks = [
        {"filter": AUTHZ_NAMESPACE, "path": [{"key": "allowed"}], "value": {"bool_match": True}},
        {"filter": SCRIPT_NAMESPACE, "path": [{"key": "done"}], "value": {"bool_match": True}},
    ]
    both = [{"sourced_metadata": {"metadata_matcher": mark, "metadata_source": "DYNAMIC"}} for mark in marks]
    policy = {"permissions": [{"any": True}], "principals": [{"and_ids": {"ids": both}}]}
    return typed(
        _GUARD,
        "extensions.filters.http.rbac.v3.RBAC",
        rules={"action": "ALLOW", "policies": {"decided": policy}},
    )


def _routes(front: Front) -> Json:
    gateway_paths = _KUBERNETES_PATHS[front.role] + _PLATFORM_PATHS[front.role]
    # The filters apply to these: a request that was allowed never comes here, since it names an upstream by then.
    undecided = [{"match": {"path_separated_prefix": path}, **_answer(503, _UNDECIDED)} for path in gateway_paths]
    nowhere = "this path is not served here; paths begin with /kubernetes/cluster, see `loft list clusters`"
    routes = [
        _out(front, is_long_running=True),
        _out(front, is_long_running=False),
        {
            "match": {"path": "/healthz"},
            "direct_response": {"status": 200},
            "response_headers_to_add": _headers(_HEALTH_HEADERS),
            **_without_authentication(),
        },
        *undecided,
        {"match": {"prefix": "/"}, **_answer(404, nowhere), **_without_authentication()},
    ]
    return {
        "name": front.name,
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
        "max_direct_response_body_size_bytes": 4096,
    }


_UNDECIDED = "the gateway cannot decide about requests at the moment; try again"


def _out(front: Front, *, is_long_running: bool) -> Json:
    """Return the route that leaves: to the upstream which the decision named."""
    match_headers = [{"name": names.UPSTREAM, "present_match": True}]
    if is_long_running:
        match_headers.append({"name": names.LONG_RUNNING, "present_match": True})
    removed = [names.UPSTREAM, names.LONG_RUNNING, "x-envoy-external-address", "x-envoy-internal"]
    if front.role == "agent":
        removed += names.ASSERTED
    action: Json = {
        "cluster_header": names.UPSTREAM,
        "timeout": "0s",
        # Only what never left us is sent again: no request is made twice.
        "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 1},
    }
    if is_long_running:
        action["idle_timeout"] = "0s"
    # A tenant's API server must not set cookies for, or open to other origins, the host that serves the UI.
    response = ["set-cookie", "access-control-allow-origin", "access-control-allow-credentials"]
    return {
        "match": {"prefix": "/", "headers": match_headers},
        "route": action,
        "request_headers_to_remove": removed,
        "response_headers_to_remove": response,
    }


def _answer(code: int, message: str) -> Json:
    return {
        "direct_response": {"status": code, "body": {"inline_string": status_text(code, message)}},
        "response_headers_to_add": _headers({"content-type": "application/json"}),
    }


def _headers(values: dict[str, str]) -> list[Json]:
    return [
        {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for name, value in values.items()
    ]


def _without_authentication() -> Json:
    """Return the exemption of routes that answer by themselves and lead nowhere."""
    per_route = "extensions.filters.http"
    return {
        "typed_per_filter_config": {
            _AUTHZ: typed("", f"{per_route}.ext_authz.v3.ExtAuthzPerRoute", disabled=True)["typed_config"],
            _SCRIPT: typed("", f"{per_route}.lua.v3.LuaPerRoute", disabled=True)["typed_config"],
            _GUARD: typed("", f"{per_route}.rbac.v3.RBACPerRoute")["typed_config"],
        }
    }
