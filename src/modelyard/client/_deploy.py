"""What deploying for MLflow is made of: its options, models and errors in our words, and a server that is asked."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode
from mlflow.utils.proto_json_utils import dump_input_data

from modelyard.control.actions.aliases import set_alias
from modelyard.control.actions.home import Home
from modelyard.control.actions.import_folder import import_folder, read_folder
from modelyard.control.actions.import_model import Extras
from modelyard.core.errors import InvalidModel, InvalidRequest, Kind, ModelyardError, Unavailable
from modelyard.core.reference import check_name
from modelyard.registry.versions import PRODUCTION, Model, Version
from modelyard.serve.http.forms.dataframe import FORMATS
from modelyard.serve.supervisor import Event

_log = logging.getLogger("mlflow.modelyard")  # below MLflow's own, which shows what it is told

_TIMEOUT_S = 30.0
_LIVE_S = 15.0
_POLL_S = 0.2
_OPTIONS = {
    "create": ("sample", "trust", "alias"),
    "delete": ("force",),
    "run-local": ("port", "sample", "trust"),
}
#: The words of MLflow's error codes.
CODES: dict[Kind, str] = {
    Kind.INVALID: "INVALID_PARAMETER_VALUE",
    Kind.TOO_LARGE: "INVALID_PARAMETER_VALUE",
    Kind.UNSUPPORTED: "INVALID_PARAMETER_VALUE",
    Kind.NOT_ALLOWED: "INVALID_PARAMETER_VALUE",
    Kind.UNAUTHENTICATED: "UNAUTHENTICATED",
    Kind.DENIED: "PERMISSION_DENIED",
    Kind.NOT_FOUND: "RESOURCE_DOES_NOT_EXIST",
    Kind.CONFLICT: "RESOURCE_CONFLICT",
    Kind.BUSY: "RESOURCE_EXHAUSTED",
    Kind.LIMITED: "REQUEST_LIMIT_EXCEEDED",
    Kind.INTERNAL: "INTERNAL_ERROR",
    Kind.NOT_READY: "TEMPORARILY_UNAVAILABLE",
    Kind.UNAVAILABLE: "TEMPORARILY_UNAVAILABLE",
    Kind.TIMEOUT: "DEADLINE_EXCEEDED",
    Kind.FULL: "INTERNAL_ERROR",
}


@contextmanager
def translated() -> Iterator[None]:
    """Our errors as MLflow's: the sentence, why, and what to do next."""
    try:
        yield
    except ModelyardError as exc:
        cause = f" ({exc.cause})" if exc.cause else ""
        hint = f"; {exc.hint}" if exc.hint else ""
        raise MlflowException(f"{exc.detail}{cause}{hint}", error_code=ErrorCode.Value(CODES[exc.kind])) from exc


def refuse(what: str) -> NoReturn:
    """Something that this target does not do, and what does it instead."""
    raise MlflowException(what, error_code=ErrorCode.Value("NOT_IMPLEMENTED"))


def options(config: Mapping[str, Any] | None, verb: str) -> dict[str, Any]:
    """The configuration of a verb; unknown names are refused."""
    found = dict(config or {})
    for name in found:
        if name not in _OPTIONS[verb]:
            raise InvalidRequest(what=f"no option {name!r} of {verb}", cause=f"there is: {', '.join(_OPTIONS[verb])}")
    return found


def flag(config: Mapping[str, Any], name: str) -> bool:
    """A yes or no, which the command line gives as text."""
    value = str(config.get(name, "false")).lower()
    if value not in {"true", "false"}:
        raise InvalidRequest(what=f"option {name!r} must be true or false, got {value[:40]!r}")
    return value == "true"


def import_model(home: Home, name: str, model_uri: str, flavor: str | None, config: Mapping[str, Any]) -> Version:
    """The MLflow model as the next version of this name, with the aliases of the configuration."""
    check_name(name)
    folder = read_folder(Path(download_artifacts(artifact_uri=model_uri)), {})
    flavors = {member.formats[0].partition("-")[0] for member in folder.members}
    if folder.members and flavor is not None and flavor not in flavors:
        raise InvalidModel(what=f"{model_uri} is imported by its flavor {', '.join(flavors)}, not {flavor!r}")
    sample = Path(config["sample"]) if "sample" in config else None
    done = import_folder(home, folder, Extras(name=name, sample=sample, trust=flag(config, "trust")))
    if not done.taken:
        why = done.refusals[0]
        raise InvalidModel(
            what=f"{model_uri} cannot be imported: {why.why}", **({"hint": why.hint} if why.hint else {})
        )
    for setting in done.settings:
        _log.info("%s: %s is not honoured: %s", setting.where, setting.name, setting.why)
    version = done.taken[-1].version
    for alias in filter(None, str(config.get("alias", "")).split(",")):
        set_alias(home, version.reference, alias)
    return version


def told(model: Model, made: Version | None = None) -> dict[str, Any]:
    """A model as MLflow shows deployments: by the version that answers for its name, which may not be `made`."""
    if made is not None and model.default.version != made.version:
        _log.warning("%s answers for %s, not %s: move it with -C alias=%s", model.default, model.name, made, PRODUCTION)
    return {
        "name": model.name,
        "flavor": model.default.source_format.partition("-")[0],
        "version": model.default.version,
        "versions": [version.version for version in model.versions],
        "aliases": dict(model.aliases),
        "task": model.default.task,
        "digest": model.default.digest,
        "created_at": model.default.created_at.isoformat(),
    }


def body_of(inputs: Any) -> bytes:
    """The body of ``/invocations``: as MLflow's client writes it, and for a dict, which that cannot write."""
    if isinstance(inputs, Mapping):
        named = inputs.keys() & set(FORMATS)
        inputs = json.dumps(inputs if named else {"inputs": inputs}, default=_plain)
    return str(dump_input_data(inputs)).encode()


def _plain(value: Any) -> Any:
    """Arrays, series and numpy's numbers as lists and numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise InvalidRequest(what=f"inputs hold {type(value).__name__}, which JSON cannot carry")


def ask(server: str, path: str, body: bytes | None = None) -> str:
    """What a server answers; its refusal as MLflow's exception."""
    if urlsplit(server).scheme not in {"http", "https"}:
        raise MlflowException(f"{server!r} is not an http:// address", ErrorCode.Value("INVALID_PARAMETER_VALUE"))
    request = Request(server.rstrip("/") + path, body, {"content-type": "application/json"})  # noqa: S310 - as above
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - as above
            text: str = response.read().decode()
            return text
    except HTTPError as exc:
        raise _refusal(exc) from exc
    except (OSError, HTTPException) as exc:
        code = ErrorCode.Value("TEMPORARILY_UNAVAILABLE")
        raise MlflowException(f"{server} cannot be reached: {exc}", error_code=code) from exc


def wait_live(server: str, version: Version) -> None:
    """Return when the server answers for this version; `Unavailable` when it does not within a while."""
    deadline = time.monotonic() + _LIVE_S
    while True:
        try:
            ask(server, f"/models/{version.name}/versions/{version.version}")
        except MlflowException as exc:
            if time.monotonic() > deadline:
                raise Unavailable(
                    what=f"{version} is imported, but {server} does not serve it",
                    cause=exc.message,
                    hint=f"modelyard serve {version.name}",
                ) from exc
            time.sleep(_POLL_S)
        else:
            return


def tell(event: Event) -> None:
    """What a person who runs a model locally wants to know of its server."""
    if "listening" in event:
        host, port = event["listening"]
        _log.info("listening: POST http://%s:%d/invocations; press Ctrl+C to stop", host, port)
    if "loaded" in event:
        _log.info("%s is loaded", event["loaded"])


def _refusal(exc: HTTPError) -> MlflowException:
    raw = exc.read()
    try:
        document = json.loads(raw)
        message, code = str(document["message"]), ErrorCode.Value(document["error_code"])
    except (ValueError, KeyError, TypeError):
        message, code = raw.decode(errors="replace")[:500] or str(exc), ErrorCode.Value("BAD_REQUEST")
    return MlflowException(message, error_code=code)
