"""What `loft start` installs: values, what is kept, when a Deployment counts as there."""

import base64
import socket

import pytest

from loft.embedded import images, platform, registry
from loft.embedded.platform import Options, Record, Wish


@pytest.fixture
def layout(tmp_path, monkeypatch):
    monkeypatch.setenv("LOFT_STATE_DIR", str(tmp_path))
    found = registry.layout_of("loft-cluster", create=True)
    found.directory.mkdir(parents=True)
    return found


RECORD = Record(digest="d1", options=Options(port=9999, values={"agents": {"leaseSeconds": 60}}))

WITH_AGENT = Record(digest="d1", options=Options(port=9999, values={"agent": {"replicas": 2}}))


def deployment(generation=2, observed=2, replicas=1, updated=1, available=1, total=1):
    return {
        "metadata": {"generation": generation},
        "spec": {"replicas": replicas},
        "status": {
            "observedGeneration": observed,
            "updatedReplicas": updated,
            "availableReplicas": available,
            "replicas": total,
        },
    }


def test_values_lead_agents_to_the_node_and_people_to_loopback(layout):
    values = platform.values_of(layout, RECORD, "$argon2id$x")
    assert "agent" not in platform.values_of(layout, WITH_AGENT, "$argon2id$x")
    assert values["gateway"]["hostPort"] == {"enabled": True, "ip": "127.0.0.1", "port": 9999}
    assert values["agents"] == {"url": f"https://{layout.node_ip}:30898", "leaseSeconds": 60}
    assert values["hosts"] == [layout.node_ip]
    assert values["admin"]["passwordHash"] == "$argon2id$x"


def test_values_below_agent_are_the_agents():
    values = {"agent": {"virtualClusters": {"warm": 2}, "podAnnotations": {"a": "b"}}, "hosts": ["x"]}
    record = Record(digest="d1", options=Options(port=9999, values=values))
    assert platform.agent_values_of(record) == {
        "virtualClusters": {"warm": 2},
        "podAnnotations": {"loft.sh/digest": "d1", "a": "b"},
    }


def test_given_values_lie_over_ours_at_any_depth():
    low = {"a": {"b": 1, "c": [1]}, "d": 1}
    assert platform.merged(low, {"a": {"c": [2]}, "e": {}}) == {"a": {"b": 1, "c": [2]}, "d": 1, "e": {}}
    assert low == {"a": {"b": 1, "c": [1]}, "d": 1}


@pytest.mark.parametrize(
    ("found", "is_there"),
    [
        (deployment(), True),
        (deployment(observed=1), False),
        (deployment(available=0), False),
        (deployment(updated=0), False),
        (deployment(total=2), False),
        ({"metadata": {"generation": 1}, "spec": {"replicas": 1}}, False),
        (deployment(replicas=0, updated=0, available=0, total=0), True),
    ],
)
def test_a_deployment_is_there_when_only_its_newest_pods_are_and_serve(found, is_there):
    assert platform.rolled_out(found) is is_there


def test_a_container_that_does_not_run_says_why():
    waiting = {"status": {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}]}}
    crashed = {
        "status": {
            "containerStatuses": [
                {"state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
            ]
        }
    }
    starting = {"status": {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}}
    assert platform.reason_of([starting, waiting]) == ": ErrImagePull no"
    assert platform.reason_of([crashed]) == ": OOMKilled"
    assert platform.reason_of([starting, {}]) == ""


def test_options_are_kept_until_others_are_given(layout):
    wish = Wish(password="x", hashed=str)
    assert platform._options(None, wish) == Options()
    assert platform._options(RECORD, wish) == RECORD.options
    changed = platform._options(RECORD, Wish(password="x", hashed=str, port=1234, values={}))
    assert changed == Options(port=1234, values={})


def test_what_is_kept_is_read_back_and_trusted_by_everybody(layout, monkeypatch):
    from loft.cli.state import State

    platform._keep(layout, RECORD, b"PEM")
    assert platform.recorded(layout) == RECORD
    assert (layout.state_dir / "known-hosts.json").stat().st_mode & 0o777 == 0o644
    state = State(str(layout.state_dir / "config.json"), {"host": "https://localhost:9999"})
    assert state.ca_data == base64.b64encode(b"PEM").decode()
    state.pin("https://localhost:9999", "mine")
    assert state.ca_data == "mine", "what somebody pinned comes first"
    state.values["host"] = "https://elsewhere"
    assert state.ca_data == ""


def test_a_record_that_cannot_be_read_is_none(layout):
    assert platform.recorded(layout) is None
    (layout.directory / "platform.json").write_text("{")
    assert platform.recorded(layout) is None


def test_nobody_answers_where_nothing_listens(layout):
    assert platform.is_answering("https://localhost:1", b"no PEM") is False
    platform._keep(layout, RECORD, b"no PEM")
    assert platform._answering(layout, RECORD.options) is None


def test_another_image_is_another_platform(tmp_path, monkeypatch):
    digests = iter(["sha256:a", "sha256:a", "sha256:b"])
    monkeypatch.setattr(images, "manifest_digest", lambda archive: next(digests))
    built = [images.Built("loft.sh/pause:1", tmp_path / "p"), images.Built("loft.sh/loft:0.1.0", tmp_path / "l")]
    first, second, third = (platform._digest(built) for _ in range(3))
    assert first == second != third


def test_a_port_of_another_program_is_refused_by_its_name(layout):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(platform.PlatformError, match=rf"port {port} on 127.0.0.1 is in use by .*--local-port"):
            platform.check_port(layout, port)
        platform._keep(layout, Record(digest="d", options=Options(port=port)), b"PEM")
        with pytest.raises(platform.PlatformError):
            platform.check_port(layout, None)
    platform.check_port(layout, None)
