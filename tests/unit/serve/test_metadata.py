"""What a server says of its models: configuration in Triton's words, statistics that add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.serve import metadata
from modelyard.serve.plane import ServedModel
from modelyard.serve.replica import Replica
from modelyard.watch.counters import Page, read_totals
from tests.models import image_bundle, linear_bundle, mixed_bundle
from tests.unit.serve.desk import served


def test_extensions_are_tritons_words() -> None:
    known = {"classification", "model_configuration", "model_repository", "binary_tensor_data", "statistics"}
    assert set(metadata.server()["extensions"]) <= known
    assert metadata.server()["name"] == "modelyard"


def test_a_configuration(tmp_path: Path) -> None:
    model = served(Page(tmp_path, 0), mixed_bundle(), mixed_bundle())
    told = metadata.config(model, model.versions[2], body_bytes=1000)
    assert told["name"] == "mixed"
    assert told["version_policy"] == {"specific": {"versions": [1, 2]}}
    assert told["max_batch_size"] == 1000 // (4 + 8 + 8)  # a text has 4 bytes at least
    assert told["input"] == [
        {"name": "species", "data_type": "TYPE_STRING", "dims": [1]},
        {"name": "length", "data_type": "TYPE_FP64", "dims": [1]},
        {"name": "mass", "data_type": "TYPE_FP64", "dims": [1]},
    ]
    assert told["output"] == [
        {"name": "label", "data_type": "TYPE_STRING", "dims": []},
        {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [2]},
    ]


@pytest.mark.parametrize(
    "bundle", [mixed_bundle(), image_bundle(), linear_bundle()], ids=lambda item: item.manifest.name
)
def test_a_shape_is_the_batch_and_the_dims(tmp_path: Path, bundle: Any) -> None:
    model = served(Page(tmp_path, 0), bundle)
    told, meta = metadata.config(model, model.versions[1], 1 << 24), metadata.model(model, model.versions[1])
    for ours, theirs in (("input", "inputs"), ("output", "outputs")):
        assert [[-1, *item["dims"]] for item in told[ours]] == [item["shape"] for item in meta[theirs]]


@pytest.mark.parametrize(
    ("shape", "datatype", "body_bytes", "rows"),
    [
        ((-1,), Datatype.UINT8, 1 << 40, 2**31 - 1),  # 32 bits are all there is
        ((-1, 4, -1), Datatype.BF16, 80, 10),
        ((-1, 1000), Datatype.FP64, 100, 1),
        ((-1, 0), Datatype.FP32, 8, 2),
    ],
)
def test_the_largest_batch(shape: tuple[int, ...], datatype: Datatype, body_bytes: int, rows: int) -> None:
    spec = TensorSpec(name="x", datatype=datatype, shape=shape)

    class Some:
        signature = Signature(inputs=(spec,), outputs=(spec,))

    model = ServedModel(name="m", default=1, versions={}, aliases={})
    assert metadata.config(model, Some(), body_bytes)["max_batch_size"] == rows  # type: ignore[arg-type]


def test_statistics_are_the_sums_of_all_workers(tmp_path: Path) -> None:
    """Two workers' pages, counted as the endpoints count."""
    workers = [Replica(linear_bundle(), "linear", 1, Page(tmp_path, at).counter("linear@1")) for at in (0, 1)]
    for replica, times in zip(workers, (2, 1), strict=True):
        for _ in range(times):
            replica.counter.executed()
            replica.counter.ok(3, [1.5], (0.25, 0.25, 0.5), 1_700_000_000.5)
    workers[0].counter.invalid(0.25)
    workers[1].counter.failed(0.5)
    (entry,) = metadata.statistics(workers[:1], read_totals(tmp_path))["model_stats"]
    assert (entry["name"], entry["version"]) == ("linear", "1")
    assert (entry["inference_count"], entry["execution_count"]) == (9, 3)
    assert entry["last_inference"] == 1_700_000_000_500
    spent = entry["inference_stats"]
    assert spent["success"] == {"count": 3, "ns": 4_500_000_000}
    assert spent["fail"] == {"count": 2, "ns": 750_000_000}
    assert spent["compute_input"] == spent["queue"] == {"count": 3, "ns": 750_000_000}
    assert spent["compute_infer"] == spent["compute_output"] == {"count": 3, "ns": 1_500_000_000}
    assert spent["cache_hit"] == spent["cache_miss"] == {"count": 0, "ns": 0}
    assert entry["load"] == workers[0].facts()


def test_statistics_of_what_was_never_asked(tmp_path: Path) -> None:
    model = served(Page(tmp_path, 0), linear_bundle(), linear_bundle())
    told = metadata.statistics([model.versions[1], model.versions[2]], {})["model_stats"]
    assert [(item["version"], item["inference_count"], item["last_inference"]) for item in told] == [
        ("1", 0, 0),
        ("2", 0, 0),
    ]
