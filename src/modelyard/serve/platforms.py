"""What a cloud's environment says to a container: which contract it will speak, on which port, within which limits.

A platform is chosen by variables that it, or its own serving toolkit, sets. Of the variables that begin like these,
those with a meaning here are honoured; the others are named in the log, never ignored silently.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import Conflict, InvalidRequest


@dataclass(frozen=True)
class Told:
    """What the environment asks for; None where it says nothing.

    Parameters
    ----------
    contracts : tuple of str
        Platforms that chose themselves, by the names of their contracts.
    port, workers, body_mb : int or None
        Where to listen, with how many workers, and how large a body may be, in MiB.
    multi_model : bool
        Whether models come and go while the server runs, by SageMaker's multi-model API.
    reasons : tuple of str
        What was chosen, and by which variable.
    unheard : tuple of str
        Which variables mean nothing here, and why.
    """

    contracts: tuple[str, ...] = ()
    port: int | None = None
    workers: int | None = None
    body_mb: int | None = None
    multi_model: bool = False
    reasons: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()


@dataclass(frozen=True)
class Platform:
    """One platform: its contract, the variables that choose it, and what its variables mean here.

    Parameters
    ----------
    name : str
        For people.
    choosing : tuple of str
        Any of these chooses it.
    meant : mapping of str to str
        Variables with a meaning here: what they set (``port``, ``workers``, ``body_mb``), or empty when the contract
        itself reads them.
    unmeant : mapping of str to str
        Variables of the platform that mean nothing here, and why.
    prefixes : tuple of str
        Beginnings of its variables; others that begin so are named as unknown.
    port : int or None
        Its own default.
    informs : frozenset of str
        Variables that tell the container something that it need not act upon.
    artifacts : tuple of str
        Where it lays the model down: the variable that says so, the folder when it is not set, and what is below that.
    """

    name: str
    choosing: tuple[str, ...]
    meant: Mapping[str, str]
    unmeant: Mapping[str, str]
    prefixes: tuple[str, ...]
    port: int | None = None
    informs: frozenset[str] = frozenset()
    artifacts: tuple[str, str, str] = ("", "", "")


_NO_CODE = "nobody's code runs here"
PLATFORMS: dict[str, Platform] = {
    "sagemaker": Platform(
        name="SageMaker",
        choosing=(
            "SAGEMAKER_BIND_TO_PORT",
            "SAGEMAKER_MULTI_MODEL",
            "SAGEMAKER_PROGRAM",
            "SAGEMAKER_MODEL_SERVER_WORKERS",
            "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB",
            "SAGEMAKER_SAFE_PORT_RANGE",
            "SAGEMAKER_CONTAINER_LOG_LEVEL",
        ),
        meant={
            "SAGEMAKER_BIND_TO_PORT": "port",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "workers",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "body_mb",
            "SAGEMAKER_MULTI_MODEL": "",
            "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "",
            "SAGEMAKER_MODEL_SERVER_TIMEOUT": "",
            "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "",
            "SAGEMAKER_BASE_DIR": "",
        },
        unmeant={
            "SAGEMAKER_PROGRAM": _NO_CODE,
            "SAGEMAKER_SUBMIT_DIRECTORY": _NO_CODE,
            "SAGEMAKER_SAFE_PORT_RANGE": "one port is enough",
            "SAGEMAKER_STARTUP_TIMEOUT": "models are loaded in seconds",
            "SAGEMAKER_CONTAINER_LOG_LEVEL": "the log says little enough",
            "SAGEMAKER_REGION": "nothing is fetched",
        },
        prefixes=("SAGEMAKER_",),
        artifacts=("SAGEMAKER_BASE_DIR", "/opt/ml", "model"),
    ),
    "vertex": Platform(
        name="Vertex AI",
        choosing=("AIP_HTTP_PORT", "AIP_HEALTH_ROUTE", "AIP_PREDICT_ROUTE", "AIP_MODE"),
        meant={"AIP_HTTP_PORT": "port", "AIP_HEALTH_ROUTE": "", "AIP_PREDICT_ROUTE": "", "AIP_MODE": ""},
        unmeant={"AIP_STORAGE_URI": "nothing is fetched: models come from MODELYARD_HOME"},
        prefixes=("AIP_",),
        informs=frozenset(
            {
                *("AIP_PROJECT_NUMBER", "AIP_ENDPOINT_ID", "AIP_DEPLOYED_MODEL_ID", "AIP_MODEL_NAME", "AIP_MODEL_ID"),
                *("AIP_MACHINE_TYPE", "AIP_ACCELERATOR_TYPE", "AIP_FRAMEWORK", "AIP_VERSION_NAME", "AIP_MODE_VERSION"),
            }
        ),
    ),
    "azureml": Platform(
        name="Azure ML",
        choosing=("AZUREML_MODEL_DIR", "AZUREML_ENTRY_SCRIPT", "AML_APP_ROOT", "AML_CORS_ORIGINS"),
        meant={
            "SERVER_PORT": "port",
            "WORKER_COUNT": "workers",
            "SCORING_TIMEOUT_MS": "",
            "AML_CORS_ORIGINS": "",
            "AZUREML_MODEL_DIR": "",
            "SERVICE_NAME": "",
            "SERVICE_VERSION": "",
            "SERVICE_PATH_PREFIX": "",
            "HTTP_X_MS_SERVER_VERSION": "",
        },
        unmeant={
            "AZUREML_ENTRY_SCRIPT": _NO_CODE,
            "AZUREML_SOURCE_DIRECTORY": _NO_CODE,
            "AML_APP_ROOT": _NO_CODE,
            "WORKER_TIMEOUT": "see SCORING_TIMEOUT_MS",
            "HEALTH_PORT": "health is answered on the one port",
        },
        prefixes=("AML_", "AZUREML_"),
        artifacts=("AZUREML_MODEL_DIR", "", ""),
        port=5001,
    ),
}


def told(environ: Mapping[str, str], named: Sequence[str] | None = None, given: Collection[str] = ()) -> Told:
    """What this environment asks for.

    Parameters
    ----------
    environ : mapping
        Variables.
    named : sequence of str, optional
        Contracts that the operator named. Then no platform chooses itself, and only those named are looked at
        (``all``: every one).
    given : collection of str
        Of ``port``, ``workers`` and ``body_mb``, what the operator said: then nobody else is asked.

    Returns
    -------
    Told
        Nothing but defaults, when no platform is chosen.

    Raises
    ------
    InvalidRequest
        A variable is not the number that it should be.
    Conflict
        Two platforms want different ports or workers.
    """
    chosen = {name: reason for name, platform in PLATFORMS.items() if (reason := _reason(platform, environ))}
    looked = list(chosen) if named is None else [name for name in PLATFORMS if name in named or "all" in named]
    numbers = {what: _one(what, looked, environ, default=named is None) for what in _RANGES if what not in given}
    return Told(
        contracts=tuple(looked) if named is None else (),
        port=numbers.get("port"),
        workers=numbers.get("workers"),
        body_mb=numbers.get("body_mb") or None,  # 0 means no limit to SageMaker, and the usual one to us
        multi_model="sagemaker" in looked and multi_model(environ),
        reasons=tuple(
            f"{PLATFORMS[name].name} is spoken, because {chosen[name]} is set" for name in looked if named is None
        ),
        unheard=tuple(note for name in looked for note in _unheard(PLATFORMS[name], environ)),
    )


def chosen_by_environment(name: str, environ: Mapping[str, str]) -> bool:
    """Whether this environment is that platform's."""
    return bool(_reason(PLATFORMS[name], environ))


def artifacts(environ: Mapping[str, str]) -> list[tuple[str, Path]]:
    """Folders in which the platforms that chose themselves lay down a model, each with whose it is.

    SageMaker's several models come one by one instead.
    """
    found = []
    for platform in PLATFORMS.values():
        variable, usual, below = platform.artifacts
        folder = environ.get(variable) or usual
        if folder and _reason(platform, environ) and not multi_model(environ):
            found.append((platform.name, Path(folder) / below))
    return found


def multi_model(environ: Mapping[str, str]) -> bool:
    """Whether SageMaker asks for its multi-model API."""
    return environ.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true"


def origins(environ: Mapping[str, str]) -> frozenset[str]:
    """The sites whose pages Azure ML lets ask, spelt like an ``Origin``; ``*`` for all of them."""
    return frozenset(item.strip() for item in environ.get("AML_CORS_ORIGINS", "").split(",")) - {""}


def seconds(environ: Mapping[str, str], name: str, unit_s: float = 1.0) -> float:
    """The time that a variable holds, in seconds; infinite when it is not set."""
    if not environ.get(name):
        return float("inf")
    return _number(environ, name, 1, 10**9) * unit_s


def _reason(platform: Platform, environ: Mapping[str, str]) -> str:
    return next((name for name in platform.choosing if environ.get(name)), "")


def _unheard(platform: Platform, environ: Mapping[str, str]) -> list[str]:
    notes = []
    for name in sorted(environ):
        if name in platform.unmeant:
            notes.append(f"{name} means nothing here: {platform.unmeant[name]}")
        elif name.startswith(platform.prefixes) and name not in platform.meant and name not in platform.informs:
            notes.append(f"{name} is not known, and means nothing here")
    return notes


def _one(what: str, looked: list[str], environ: Mapping[str, str], *, default: bool = False) -> int | None:
    """The number that the platforms agree on."""
    lowest, highest = _RANGES[what]
    wanted: dict[str, int] = {}
    for platform in (PLATFORMS[name] for name in looked):
        names = [name for name, meaning in platform.meant.items() if meaning == what and environ.get(name)]
        wanted |= {name: _number(environ, name, lowest, highest) for name in names}
        if not names and what == "port" and default and platform.port is not None:
            wanted[f"the default of {platform.name}"] = platform.port
    if len(set(wanted.values())) > 1:
        told = ", ".join(f"{name} says {number}" for name, number in wanted.items())
        raise Conflict(
            what=f"two platforms want different things: {told}", hint=f"say which one: {_FLAGS[what]} NUMBER"
        )
    return next(iter(wanted.values()), None)


_FLAGS = {"port": "--port", "workers": "--workers", "body_mb": "--max-body-mb"}
_RANGES = {"port": (1, 65535), "workers": (1, 256), "body_mb": (0, 2048)}


def _number(environ: Mapping[str, str], name: str, lowest: int, highest: int) -> int:
    text = environ[name].strip()
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(highest)) else -1
    if not lowest <= number <= highest:
        raise InvalidRequest(what=f"{name} is {text[:40]!r}, and must be a number from {lowest} to {highest}")
    return number
