"""Load and unload: what a saved plan asks for afterwards, and what stays as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from modelyard.control.actions import load, plans
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import (
    Conflict,
    CorruptBundle,
    HostileModel,
    InvalidRequest,
    LoadFailed,
    ModelyardError,
    NoRoom,
    NotInRepository,
    StoreFull,
)
from modelyard.core.identity import Principal
from modelyard.core.manifest import MODEL
from modelyard.core.plan import Plan, Tuning
from modelyard.guard import audit
from modelyard.model.bundle import seal
from tests.acts import log
from tests.models import linear_bundle

SERVER = "server"
ROOM = 10**9


@pytest.fixture
def served(home: Home) -> Home:
    """linear@1, linear@2, other@1 in the registry; an explicit server that serves nothing."""
    publish(home, linear_bundle(slope=1.0))
    publish(home, linear_bundle(slope=2.0))
    publish(home, linear_bundle("other"))
    plans.save(home, SERVER, plans.render(home, explicit=True))
    return home


def _saved(home: Home) -> Plan:
    return Plan.from_bytes((home.settings.plans / f"{SERVER}.json").read_bytes())


def _names(plan: Plan) -> list[str]:
    return [model.name for model in plan.models]


def _folder(path: Path, slope: float = 5.0) -> Path:
    path.mkdir(parents=True)
    linear_bundle("mine", slope=slope).write(path)
    return path


def test_an_explicit_plan_serves_what_is_asked_for_and_knows_the_rest(served: Home) -> None:
    plan = _saved(served)
    assert (plan.explicit, plan.models, plan.known) == (True, (), {"linear": (1, 2), "other": (1,)})


def test_load_and_unload(served: Home) -> None:
    first = load.load(served, SERVER, "linear")
    assert (_names(first), first.serial, first) == (["linear"], 1, _saved(served))
    assert [item.version for item in first.models[0].versions] == [2]
    again = load.load(served, SERVER, "linear")
    assert (again.models, again.requested, again.serial) == (first.models, ("linear",), 2)
    assert _names(load.load(served, SERVER, "other")) == ["linear", "other"]
    assert _names(load.unload(served, SERVER, "linear")) == ["other"]
    assert _names(load.unload(served, SERVER, "nobody")) == ["other"]
    assert _names(load.unload(served, SERVER, "other")) == []


def test_what_is_asked_for_is_recorded_where_something_changes(served: Home, tmp_path: Path) -> None:
    who = Principal("key:ab12cd34ef", frozenset(), "key")
    asked = replace(served, actor=who, source="10.0.0.1")
    before = len(log(served))
    load.load(asked, SERVER, "linear")
    load.load(asked, SERVER, "linear")  # changes nothing
    load.unload(asked, SERVER, "nobody")  # nor this
    load.unload(asked, SERVER, "linear")
    folder = _folder(tmp_path / "model")
    load.mount(asked, SERVER, "mine", str(folder), lambda: ROOM)
    for refused in (
        lambda: load.load(asked, SERVER, "liner"),
        lambda: load.mount(asked, SERVER, "mine", str(folder), lambda: ROOM),
        lambda: load.mount(asked, SERVER, "a\nb", "/", lambda: ROOM),
    ):
        with pytest.raises(ModelyardError):
            refused()
    found = log(served, before)
    assert [(one.action, one.object, one.outcome) for one in found] == [
        ("model.load", "linear", "done"),
        ("model.unload", "linear", "done"),
        ("model.load", "mine", "done"),
        ("model.load", "liner", "failed"),
        ("model.load", "mine", "failed"),
        ("model.load", "a\\nb", "failed"),
    ]
    assert {(one.actor, one.method, one.source) for one in found} == {("key:ab12cd34ef", "key", "10.0.0.1")}
    assert found[0].detail == {"server": SERVER}
    assert (found[2].detail["folder"], len(found[2].detail["digest"])) == (str(folder), 64)


def test_what_cannot_be_recorded_is_not_loaded(served: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise StoreFull(where="modelyard.db")

    before = _saved(served)
    monkeypatch.setattr(audit, "record", fail)
    with pytest.raises(StoreFull):
        load.load(served, SERVER, "linear")
    assert _saved(served) == before


def test_what_the_operator_pinned_is_loaded_as_it_was(served: Home) -> None:
    plan = load.load(served, SERVER, "linear", ["other", "linear@1"])
    assert [item.version for item in plan.models[0].versions] == [1]


@pytest.mark.parametrize("name", ["liner", "Not A Name", "linear@1", "../linear", ""])
def test_what_is_not_there_changes_nothing(served: Home, name: str) -> None:
    before = _saved(served)
    with pytest.raises(NotInRepository, match="failed to poll from model repository"):
        load.load(served, SERVER, name)
    assert _saved(served) == before


def test_a_refresh_counts_on_and_only_when_something_changed(served: Home) -> None:
    load.load(served, SERVER, "linear")
    assert plans.refresh(served) == []
    publish(served, linear_bundle(slope=3.0))
    plan = _saved(served)
    assert (plan.serial, plan.known["linear"]) == (2, (1, 2, 3))
    assert [item.version for item in plan.models[0].versions] == [3]


def test_a_folder_is_mounted_and_stays_through_a_refresh(served: Home, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a" / "model")
    plan = load.mount(served, SERVER, "hash_1", str(tmp_path / "a"), lambda: ROOM)
    assert plan.folders == {"hash_1": str(tmp_path / "a")}
    assert plan.models[0].versions[0].path == str(folder)
    publish(served, linear_bundle("new"))
    assert _names(_saved(served)) == ["hash_1"]
    load.load(served, SERVER, "linear")
    assert _names(_saved(served)) == ["hash_1", "linear"]
    assert load.unload(served, SERVER, "hash_1").folders == {}
    assert _names(_saved(served)) == ["linear"]


def test_what_is_loaded_later_is_run_as_the_operator_said(home: Home, tmp_path: Path) -> None:
    publish(home, linear_bundle(slope=1.0))
    own, usual = Tuning(cache_bytes=1 << 20), Tuning(queue=7)
    plans.save(home, SERVER, plans.render(home, explicit=True, tunings={"": usual, "linear": own}))
    for _ in range(2):
        assert load.load(home, SERVER, "linear").models[0].tuning == own
        load.unload(home, SERVER, "linear")
    folder = _folder(tmp_path / "a")
    assert load.mount(home, SERVER, "hash_1", str(folder), lambda: ROOM).models[0].tuning == usual
    publish(home, linear_bundle("new"))
    assert [model.tuning for model in _saved(home).models] == [usual]


def test_what_cannot_be_mounted_changes_nothing(served: Home, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a")
    load.mount(served, SERVER, "taken", str(folder), lambda: ROOM)
    before = _saved(served)
    with pytest.raises(Conflict, match="loaded already"):
        load.mount(served, SERVER, "taken", str(folder), lambda: ROOM)
    with pytest.raises(NoRoom, match="there is no room for model 'big'"):
        load.mount(served, SERVER, "big", str(folder), lambda: 10)
    for name in ("a/b", "", "-x", "x" * 101, "ä"):
        with pytest.raises(InvalidRequest, match="cannot be a model's name"):
            load.mount(served, SERVER, name, str(folder), lambda: ROOM)
    for place in ("/a\0b", "/" + "x" * 5000):
        with pytest.raises(LoadFailed):
            load.mount(served, SERVER, "x", place, lambda: ROOM)
    for place in ("relative", str(folder / ".." / "a")):
        with pytest.raises(InvalidRequest, match="absolute"):
            load.mount(served, SERVER, "x", place, lambda: ROOM)
    with pytest.raises(LoadFailed, match="no bundle"):
        load.mount(served, SERVER, "x", str(tmp_path / "nowhere"), lambda: ROOM)
    _folder(folder / "deeper")
    with pytest.raises(LoadFailed, match="2 bundles"):
        load.mount(served, SERVER, "x", str(folder), lambda: ROOM)
    (folder / "deeper" / "model.onnx").write_bytes(b"changed")
    with pytest.raises(CorruptBundle):
        load.mount(served, SERVER, "x", str(folder / "deeper"), lambda: ROOM)
    assert _saved(served) == before


def test_a_graph_that_no_import_has_seen_is_checked_like_one(served: Home, tmp_path: Path) -> None:
    bundle = linear_bundle("mine")
    graph = onnx.ModelProto.FromString(bundle.files[MODEL])
    weight = graph.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="passwd")
    (tmp_path / "a").mkdir()
    seal(bundle.manifest, {**bundle.files, MODEL: graph.SerializeToString()}).write(tmp_path / "a")
    with pytest.raises(HostileModel, match="refused"):
        load.mount(served, SERVER, "x", str(tmp_path / "a"), lambda: ROOM)


def test_a_folder_hides_a_model_of_the_registry_with_its_name(served: Home, tmp_path: Path) -> None:
    load.mount(served, SERVER, "linear", str(_folder(tmp_path / "a")), lambda: ROOM)
    plan = load.load(served, SERVER, "linear")  # it is loaded already
    assert plan.models[0].versions[0].path == str(tmp_path / "a")


def test_room_is_what_is_left_shared_by_the_workers(tmp_path: Path) -> None:
    one = load.room_bytes(1)
    assert one > 0
    assert load.room_bytes(4) <= one
    for name, text in {"max": "3000", "current": "2000", "stat": "anon 5\ninactive_file 500\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert list(load._allowed(tmp_path))[1:] == [1500]
    (tmp_path / "memory.max").write_text("max\n")
    assert list(load._allowed(tmp_path))[1:] == []
