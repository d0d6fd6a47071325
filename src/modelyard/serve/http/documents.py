"""The OpenAPI document of what is served, in every contract that is spoken: the same with a server or without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

import modelyard
from modelyard.core import examples
from modelyard.core.schema import ANY_OBJECT, Described, Schema, openapi, operation
from modelyard.core.signature import Signature
from modelyard.model.bundle import Bundle
from modelyard.serve.http import contracts
from modelyard.serve.http.site import Site


def describe(name: str, default: int, bundles: Mapping[int, Bundle], aliases: Mapping[str, int]) -> list[Described]:
    """One model as documents speak of it, with its golden rows as examples.

    Parameters
    ----------
    name : str
        Of the model.
    default : int
        The version that the bare name means.
    bundles : dict of int to Bundle
        Its served versions.
    aliases : dict of str to int
        Other names of them.

    Returns
    -------
    list of Described
        The default version with all that take and give the same, then one for each other kind.
    """
    left = [default, *sorted(number for number in bundles if number != default)]
    found = []
    while left:
        first = left[0]
        alike = [number for number in left if _kin(bundles[number]) == _kin(bundles[first])]
        left = [number for number in left if number not in alike]
        found.append(_describe(name, first, bundles[first], sorted(alike), aliases, default=first == default))
    return found


def specification(site: Site, models: Sequence[Described], only: str = "") -> Schema:
    """The OpenAPI document of these models in every contract of the site; `only` one model's part of it."""
    names = dict.fromkeys(model.name for model in models)
    told = [model for model in models if model.name == only] if only else models
    paths: dict[str, Any] = {}
    for name in site.contracts:
        for address, item in contracts.contract(name).operations(site, told).items():
            paths[address] = {**paths.get(address, {}), **item}
    for name in names:
        paths[f"/models/{name}/openapi.json"] = {"get": _own_document(name)}
    paths |= _HOUSE
    if only:  # an address that names no model is its own where it is the only one
        mine = {address: item for address, item in paths.items() if _speaks_of(item, only)}
        paths = {address: item for address, item in mine.items() if len(names) == 1 or f"/models/{only}" in address}
    return openapi(told, paths, modelyard.__version__)


def _describe(
    name: str, version: int, bundle: Bundle, versions: Sequence[int], aliases: Mapping[str, int], *, default: bool
) -> Described:
    return Described(
        name=name,
        version=version,
        signature=_signature(bundle),
        summary=f"{str(bundle.manifest.task).capitalize()}, version {version}.",
        rows=bundle.samples.rows,
        answers=examples.friendly(_signature(bundle), bundle.samples.outputs),
        outputs=bundle.samples.outputs,
        versions=tuple(versions),
        aliases=tuple(alias for alias, number in aliases.items() if number in versions),
        default=default,
        task=str(bundle.manifest.task),
    )


def _signature(bundle: Bundle) -> Signature:
    return bundle.manifest.signature


def _kin(bundle: Bundle) -> Signature:
    """The signature without what training saw and what is for people only: equal for versions that are asked alike."""
    signature = _signature(bundle)
    inputs = [
        replace(spec, features=tuple(replace(feature, **_UNSEEN) for feature in spec.features))
        for spec in signature.inputs
    ]
    return replace(signature, inputs=tuple(inputs))


def _speaks_of(item: Mapping[str, Any], model: str) -> bool:
    return any(model in found.get("tags", ()) for found in item.values() if isinstance(found, Mapping))


def _own_document(name: str) -> Schema:
    return operation(f"openapi_{name}", f"This document's part about {name}.", tag=name, answer=_JSON_OBJECT)


_UNSEEN: dict[str, Any] = {"minimum": None, "maximum": None, "unit": "", "description": ""}
_JSON_OBJECT: Schema = {"application/json": {"schema": ANY_OBJECT}}
_TEXT: Schema = {"text/plain": {"schema": {"type": "string"}}}
_HOUSE: dict[str, Schema] = {
    "/": {"get": operation("home", "Is somebody there? Browsers are sent to /docs.", answer=_JSON_OBJECT)},
    "/livez": {"get": operation("livez", "Is the process alive?", answer=_JSON_OBJECT)},
    "/readyz": {
        "get": operation("readyz", "Can it answer predictions?", answer=_JSON_OBJECT, refusal="application/json")
    },
    "/metrics": {"get": operation("metrics", "Prometheus metrics.", answer=_TEXT)},
    "/openapi.json": {"get": operation("openapi", "This document.", answer=_JSON_OBJECT)},
}
