"""Which cluster has which place on this machine."""

import pytest

from loft.embedded import network, registry
from loft.embedded.layout import BadName
from loft.kube.config import Endpoint, to_kubeconfig


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("LOFT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(network, "NETWORK_CLASS", tmp_path / "net")
    (tmp_path / "net").mkdir()
    return tmp_path


def test_the_main_cluster_is_first_and_others_take_the_lowest_free_place():
    assert registry.layout_of("west", create=True).index == 1
    assert registry.layout_of("loft-cluster", create=True).index == 0
    assert registry.layout_of("east", create=True).index == 2
    registry.forget("west")
    assert registry.layout_of("north", create=True).index == 1
    assert registry.known() == {"loft-cluster": 0, "east": 2, "north": 1}


def test_a_place_that_another_state_directory_has_taken_is_passed_over(state):
    device = state / "net" / "loft1up"
    device.mkdir()
    (device / "ifalias").write_text("/somewhere/else\n")
    assert registry.layout_of("east", create=True).index == 2


def test_planning_writes_nothing(state):
    assert registry.planned("east").index == 1
    assert not (state / "state").exists()
    assert registry.layout_of("east") is None


def test_with_the_last_cluster_the_state_directory_goes(state):
    registry.layout_of("east", create=True)
    registry.forget("east")
    assert not (state / "state").exists()


def test_what_others_put_there_stays(state):
    registry.layout_of("east", create=True)
    (state / "state" / "note").touch()
    registry.forget("east")
    assert [path.name for path in (state / "state").iterdir()] == ["note"]


def test_a_full_machine_refuses_the_next():
    for number in range(15):
        registry.layout_of(f"c{number}", create=True)
    with pytest.raises(registry.RegistryError, match="uninstall one first"):
        registry.layout_of("one-more", create=True)
    assert registry.layout_of("loft-cluster", create=True).index == 0


@pytest.mark.parametrize("name", ["../up", "A", ""])
def test_a_bad_name_is_refused_before_anything_is_written(state, name):
    with pytest.raises(BadName):
        registry.layout_of(name, create=True)
    assert not (state / "state").exists()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1]", '{"a": "x"}', '{"a": 99}', '{"a": -1}', '{"../a": 1}', '{"a": 1, "b": 1}', '{"a": true}', "\x00"],
)
def test_a_damaged_file_is_told_and_not_overwritten(state, content):
    (state / "state").mkdir()
    (state / "state" / "clusters.json").write_text(content)
    with pytest.raises(registry.RegistryError, match="damaged"):
        registry.layout_of("east", create=True)
    assert (state / "state" / "clusters.json").read_text() == content


def test_a_damaged_file_is_told_with_what_belongs_into_it(state):
    for name in ("loft-cluster", "east"):
        layout = registry.layout_of(name, create=True)
        layout.directory.mkdir(parents=True)
        layout.kubeconfig.write_bytes(to_kubeconfig(Endpoint(server=layout.api_url), name))
    path = state / "state" / "clusters.json"
    path.write_text("")
    with pytest.raises(registry.RegistryError) as caught:
        registry.known()
    content = str(caught.value).split("write ")[1].split(" into it")[0]
    path.write_text(content)
    assert registry.known() == {"loft-cluster": 0, "east": 1}
