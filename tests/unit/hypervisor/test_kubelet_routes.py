"""The kubelet API of a virtual node: what it takes, what it says to the host, what it refuses by name."""

import pytest

from loft.hypervisor.kubelet_routes import NodeCall, PodCall, Unsupported, host_target, parse


def target(method: str, path: str, *query: tuple[str, str]) -> str:
    call = parse(method, path, query)
    assert isinstance(call, PodCall)
    return host_target(call, "team", "web-x-default-x-dev")


def test_exec_is_translated() -> None:
    query = (
        ("command", "sh"),
        ("command", "-c"),
        ("command", "echo a&b"),
        ("input", "1"),
        ("output", "1"),
        ("tty", "1"),
    )
    assert target("POST", "/exec/default/web/c", *query) == (
        "/api/v1/namespaces/team/pods/web-x-default-x-dev/exec"
        "?command=sh&command=-c&command=echo+a%26b&stdin=true&stdout=true&tty=true&container=c"
    )


def test_the_uid_may_stand_before_the_container() -> None:
    call = parse("POST", "/exec/default/web/0b1c/c", ())
    assert call == PodCall("exec", "default", "web", "0b1c", "c", ())


def test_logs_keep_their_options_and_drop_unknown_ones() -> None:
    query = (("follow", "true"), ("tailLines", "5"), ("insecureSkipTLSVerifyBackend", "true"), ("container", "other"))
    assert target("GET", "/containerLogs/default/web/c", *query).endswith("/log?follow=true&tailLines=5&container=c")


def test_port_forward_names_ports_for_websockets() -> None:
    assert target("GET", "/portForward/default/web", ("port", "80"), ("port", "81")).endswith("?ports=80&ports=81")
    assert target("POST", "/portForward/default/web").endswith("/portforward")


def test_whole_node_calls() -> None:
    assert parse("GET", "/healthz", ()) == NodeCall("healthz")
    assert parse("GET", "/pods", ()) == NodeCall("pods")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/run/default/web/c", 501),
        ("GET", "/configz", 501),
        ("GET", "/logs/", 501),
        ("POST", "/checkpoint/default/web/c", 501),
        ("GET", "/debug/pprof/heap", 501),
        ("GET", "/runningpods/", 501),
        ("GET", "/stats", 501),
        ("DELETE", "/exec/default/web/c", 405),
        ("POST", "/containerLogs/default/web/c", 405),
        ("POST", "/pods", 405),
        ("POST", "/exec/default/web", 404),
        ("POST", "/exec/default//c", 404),
        ("POST", "/exec/default/web/uid/c/more", 404),
        ("GET", "/containerLogs/default/web/uid/c", 404),
    ],
)
def test_everything_else_is_refused(method: str, path: str, status: int) -> None:
    with pytest.raises(Unsupported) as refused:
        parse(method, path, ())
    assert refused.value.status == status
