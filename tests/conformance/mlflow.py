"""MLflow: its client of scoring servers, and ``modelyard`` as a target of ``mlflow.deployments``."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest

import modelyard
from tests.acceptance.serving import Served
from tests.conformance import check
from tests.flow import deploy_client, flow, save_onnx

CLIENT = "mlflow ScoringServerClient"
PLUGIN = "mlflow.deployments"
ALONE = "mixed alone"
FRAME = pd.DataFrame({"species": ["gentoo", "adelie"], "length": [5.5, 3.0], "mass": [np.nan, 3.5]}, index=[7, 9])


def client(server: Served) -> Any:
    """A client of this server."""
    return flow("mlflow.pyfunc.scoring_server.client").ScoringServerClient("127.0.0.1", server.port)


@check(client=CLIENT, feature="wait, ping, version", server=ALONE)
def there(server: Served) -> None:
    asked = client(server)
    asked.wait_server_ready(timeout=5)
    asked.ping()
    assert asked.get_version() == modelyard.__version__


@check(client=CLIENT, feature="DataFrame with an index and a missing value", server=ALONE)
def frame(server: Served) -> None:
    answer = client(server).invoke(FRAME)
    assert answer == {"predictions": ["big", "small"]}
    assert answer.get_predictions()[0].tolist() == ["big", "small"]
    assert answer.get_predictions("ndarray").tolist() == ["big", "small"]


@check(client=CLIENT, feature="params beside the data", server=ALONE)
def params(server: Served) -> None:
    assert client(server).invoke(FRAME, params={"temperature": 0.5}) == {"predictions": ["big", "small"]}


@check(client=CLIENT, feature="list of records", server=ALONE)
def records(server: Served) -> None:
    assert client(server).invoke(json.loads(FRAME.to_json(orient="records"))) == {"predictions": ["big", "small"]}


@check(client=CLIENT, feature="a body of one's own", server=ALONE)
def bodies(server: Served) -> None:
    for name, content in {
        "dataframe_records": FRAME.to_json(orient="records"),
        "dataframe_split": FRAME.to_json(orient="split"),
        "instances": FRAME.to_json(orient="records"),
        "inputs": json.dumps(FRAME.to_dict(orient="list")),
    }.items():
        assert client(server).invoke(f'{{"{name}": {content}}}') == {"predictions": ["big", "small"]}, name


@check(client=CLIENT, feature="errors", server=ALONE)
def errors(server: Served) -> None:
    with pytest.raises(Exception, match=r"error code 400.*BAD_REQUEST.*no input 'weight'"):
        client(server).invoke(FRAME.rename(columns={"mass": "weight"}))
    with pytest.raises(Exception, match=r"error code 400.*'length' must be a number"):
        client(server).invoke(FRAME.assign(length=["5", "3"]))


@check(client=CLIENT, feature="arrays, for one of several models")
def arrays(server: Served) -> None:
    asked = client(server)
    asked.url_prefix += "/models/linear"
    assert asked.invoke(np.array([[1.0], [2.5]])).get_predictions("ndarray").tolist() == [2.0, 5.0]
    asked = client(server)
    asked.url_prefix += "/models/image/versions/1"
    pictures = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    assert asked.invoke(pictures) == {"predictions": [{"mean": 5.5, "peak": [[11.0]]}]}


@check(client=CLIENT, feature="CSV and Parquet", server=ALONE)
def tables(server: Served) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        FRAME.reset_index(drop=True).to_parquet(path)
        for kind, body in {
            "text/csv": FRAME.to_csv(index=False).encode(),
            "application/vnd.apache.parquet": path.read_bytes(),
        }.items():
            status, _, answer = server.ask("POST", "/invocations", body, {"content-type": kind})
            assert (status, json.loads(answer)) == (200, {"predictions": ["big", "small"]}), kind


@check(client=CLIENT, feature="content types in plain text", server=ALONE)
def content_types(server: Served) -> None:
    for kind in ("application/json; format=pandas-split", "text/html", "application/json; charset=latin-1"):
        status, headers, _ = server.ask("POST", "/invocations", b"{}", {"content-type": kind})
        assert (status, headers["content-type"]) == (415, "text/plain"), kind


@check(client=PLUGIN, feature="create, predict, update, list, delete", server="mlflow target")
def deployments(server: Served) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_HOME", str(server.home))
        two, three = (save_onnx(Path(folder) / str(slope), slope) for slope in (2.0, 3.0))
        refused = flow("mlflow.exceptions").MlflowException
        target = deploy_client(f"modelyard:/{server.url}")
        made = target.create_deployment("line", two)
        assert (made["name"], made["flavor"], made["version"]) == ("line", "onnx", 1)
        assert target.predict("line", np.array([[2.0]])) == {"predictions": [4.0]}
        with pytest.raises(refused, match="already"):
            target.create_deployment("line", two)
        assert target.update_deployment("line", three, flavor="onnx")["version"] == 2
        assert target.predict("line", np.array([[2.0]])) == {"predictions": [6.0]}
        assert deploy_client("modelyard").predict("line@1", np.array([[2.0]])) == {"predictions": [4.0]}
        assert "line" in [item["name"] for item in target.list_deployments(endpoint=server.url)]
        assert target.get_deployment("line")["versions"] == [1, 2]
        with pytest.raises(refused, match="nested lists of FP64"):
            target.predict("line", np.array([["2.0"]]))
        target.delete_deployment("line")
        assert "line" not in [item["name"] for item in target.list_deployments()]
