"""``modelyard`` as a target of `mlflow.deployments`: MLflow's models into the registry, and questions to them.

MLflow finds this module by its entry point and calls `run_local`, `target_help`, and the one client class here.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from mlflow.deployments import BaseDeploymentClient, PredictionsResponse

from modelyard.client import _deploy
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.remove import remove
from modelyard.control.actions.serve import serve
from modelyard.control.actions.show import show
from modelyard.core.errors import Conflict, NotFound
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings
from modelyard.model import runtime
from modelyard.serve.http.forms.dataframe import DataframeForm
from modelyard.serve.supervisor import Options


def target_help() -> str:
    """What ``mlflow deployments help -t modelyard`` shows."""
    return """\
Deploys MLflow models of the flavors sklearn and onnx into the Modelyard registry of this machine (MODELYARD_HOME).
They are translated to ONNX and compared with the original on the way; a running `modelyard serve` picks them up.

Target URI
    modelyard                         the registry; predictions are made in this process
    modelyard:/http://host:port       the same registry; predictions are made by the server at this address, and
                                      create and update wait until it answers for the new version

Config of create and update (-C name=value)
    sample   CSV file with rows that the model takes: what is compared, and names and ranges of its columns
    trust    true: open a pickle without the sandbox, with all your rights
    alias    aliases to point at the new version, separated by commas: production, canary

Config of delete
    force    true: also when aliases point at its versions

Config of run-local
    port     where to listen on 127.0.0.1; 8080 when not given
    sample, trust
"""


def run_local(name: str, model_uri: str, flavor: str | None = None, config: Mapping[str, Any] | None = None) -> None:
    """Serve a model on this machine until interrupted, from a registry of its own that is gone afterwards.

    Parameters
    ----------
    name : str
        Under which it is served.
    model_uri : str
        Of the MLflow model.
    flavor : str, optional
        ``sklearn`` or ``onnx``.
    config : mapping, optional
        ``port`` (8080), and ``sample`` and ``trust`` as for a deployment.
    """
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder, _deploy.translated():
        wanted = _deploy.options(config, "run-local")
        settings = Settings(home=Path(folder))
        _deploy.import_model(open_home(settings), name, model_uri, flavor, wanted)
        serve(settings, [name], Options(port=int(wanted.get("port", 8080))), None, _deploy.tell)


class ModelyardDeploymentClient(BaseDeploymentClient):  # type: ignore[misc]  # MLflow is not followed by mypy
    """A deployment is a model of the registry under ``MODELYARD_HOME``; servers on this machine pick it up.

    Parameters
    ----------
    target_uri : str
        ``modelyard``, or ``modelyard:/http://host:port`` to ask that server and to wait until it serves.
    """

    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)
        self._server = target_uri.partition(":/")[2].strip("/")
        with _deploy.translated():
            self._settings = Settings.from_environ(os.environ)  # noqa: TID251 - the client is a composition root

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Import an MLflow model as version 1 of a new name; with a server, wait until that answers for it."""
        with _deploy.translated():
            home = open_home(self._settings)
            if any(model.name == name for model in home.catalogue.models()):
                hint = f"mlflow deployments update -t {self.target_uri} --name {name} -m {model_uri}"
                raise Conflict(what=f"there is a deployment {name!r} already", hint=hint)
            return self._publish(home, name, model_uri, flavor, config, endpoint)

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Import an MLflow model as the next version of a name; an unchanged model stays the version that it is."""
        with _deploy.translated():
            home = open_home(self._settings)
            home.catalogue.model(name)
            if model_uri is None:
                _deploy.refuse("an update needs a model URI; to change which version answers: modelyard model alias")
            return self._publish(home, name, model_uri, flavor, config, endpoint)

    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Forget the model and all its versions; nothing happens when there is none."""
        del endpoint  # every server of this registry drops it
        with _deploy.translated():
            wanted = _deploy.options(config, "delete")
            home = open_home(self._settings)
            try:
                home.catalogue.model(name)
            except NotFound:
                return
            try:
                remove(home, parse_reference(name), force=_deploy.flag(wanted, "force"))
            except Conflict as exc:
                exc.facts["hint"] = "remove the aliases too: -C force=true"
                raise

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Every model of the registry; with an endpoint those that it serves."""
        with _deploy.translated():
            models = open_home(self._settings).catalogue.models()
            served = self._served(endpoint) if endpoint else None
            return [_deploy.told(model) for model in models if served is None or model.name in served]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """One model of the registry, with what it takes."""
        with _deploy.translated():
            home = open_home(self._settings)
            model = home.catalogue.model(name)
            if endpoint and name not in self._served(endpoint):
                raise NotFound(what=f"model at {endpoint}", name=name, hint=f"modelyard serve {name}")
            signature = show(home, model.default.reference).bundle.manifest.signature
            return {**_deploy.told(model), "inputs": list(signature.field_names)}

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """Predictions for a DataFrame, an array, arrays by name, or a body of ``/invocations`` as a dict or text.

        A server answers when there is one in the target or the endpoint; else the model is opened in this process.
        """
        with _deploy.translated():
            body = _deploy.body_of(inputs)
        server = endpoint or self._server
        if server:
            path = f"/models/{quote(deployment_name, safe='@')}/invocations" if deployment_name else "/invocations"
            return PredictionsResponse.from_json(_deploy.ask(server, path, body))
        if deployment_name is None:
            _deploy.refuse("say which deployment, or give an endpoint that serves one model")
        with _deploy.translated():
            return PredictionsResponse.from_json(self._answer(deployment_name, body))

    def predict_stream(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> NoReturn:
        """Nothing is streamed to MLflow."""
        del inputs, endpoint
        _deploy.refuse(
            f"streams of rows are POST /models/{deployment_name or 'NAME'}/predict with application/x-ndjson"
        )

    def explain(self, deployment_name: str | None = None, df: Any = None, endpoint: str | None = None) -> NoReturn:
        """Explanations are not given yet."""
        del df, endpoint
        _deploy.refuse(
            f"explanations are not there yet; what the model was measured on: modelyard model show {deployment_name}"
        )

    def create_endpoint(self, name: str, config: Mapping[str, Any] | None = None) -> NoReturn:
        """Endpoints are servers, which are started as processes."""
        del config
        _deploy.refuse(
            f"an endpoint is a server: start one with modelyard serve, and name it by its address, not {name!r}"
        )

    def update_endpoint(self, endpoint: str, config: Mapping[str, Any] | None = None) -> NoReturn:
        """Servers follow the registry."""
        del config
        _deploy.refuse(f"{endpoint} follows the registry by itself; for other options start it again: modelyard serve")

    def delete_endpoint(self, endpoint: str) -> NoReturn:
        """Servers are stopped as processes."""
        _deploy.refuse(f"{endpoint} is a server: stop its process (SIGTERM lets requests under way finish)")

    def list_endpoints(self) -> list[dict[str, Any]]:
        """The server of the target, when it names one."""
        return [self.get_endpoint(self._server)] if self._server else []

    def get_endpoint(self, endpoint: str) -> dict[str, Any]:
        """A server by its address, with the models that it serves."""
        return {"name": endpoint, "models": self._served(endpoint)}

    def _publish(
        self,
        home: Home,
        name: str,
        model_uri: str,
        flavor: str | None,
        config: Mapping[str, Any] | None,
        endpoint: str | None,
    ) -> dict[str, Any]:
        wanted = _deploy.options(config, "create")
        version = _deploy.import_model(home, name, model_uri, flavor, wanted)
        server = endpoint or self._server
        if server:
            _deploy.wait_live(server, version)
        return _deploy.told(home.catalogue.model(name), version)

    def _served(self, endpoint: str) -> list[str]:
        return [model["name"] for model in json.loads(_deploy.ask(endpoint.rstrip("/"), "/models"))["models"]]

    def _answer(self, reference: str, body: bytes) -> str:
        """What a server would say, from this process."""
        shown = show(open_home(self._settings), parse_reference(reference))
        form = DataframeForm(shown.bundle.manifest.signature, shown.version.name, shown.version.version)
        outputs = runtime.load(shown.bundle, threads=os.cpu_count() or 1).run(tuple(form.decode(body)))
        return form.encode(outputs).decode()
