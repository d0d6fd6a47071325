"""OpenAPI: the document that a server of these models would give, without one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.control.actions import plans
from modelyard.control.actions.home import Home
from modelyard.core.errors import NotFound, Unavailable
from modelyard.core.plan import PlannedModel
from modelyard.core.schema import Described
from modelyard.model.bundle import open_bundle
from modelyard.serve.http import contracts
from modelyard.serve.http.documents import describe, specification
from modelyard.serve.http.site import Site
from modelyard.serve.plane import Plane
from modelyard.store import files


def openapi(
    home: Home, requested: Sequence[str] = (), spoken: str = "", environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these references, as a server of them has it at ``/openapi.json``.

    Parameters
    ----------
    home : Home
        Where from.
    requested : sequence of str
        As for `plans.render`; empty for every model.
    spoken : str
        Names of contracts with commas between them, ``all``, or empty for the usual ones.
    environ : mapping, optional
        Variables by which a platform names its addresses; see `Site`.

    Raises
    ------
    InvalidName, NotFound, CorruptBundle
        A model or a contract is not there, or a bundle was changed.
    """
    with home.artifacts.held():
        plan = plans.render(home, requested)
        described = [one for planned in plan.models for one in _describe(planned)]
    plans.tidy(home)
    if not plan.models:
        raise NotFound(
            what="model", name="", cause="the registry is empty", hint="modelyard train data.csv --target COLUMN"
        )
    site = Site(Plane(), Path(), plan.limits, contracts.chosen(spoken), environ or {})
    return specification(site, described)


def write(document: Mapping[str, Any], path: Path) -> Path:
    """Put the document at `path`, whole or not at all; `StoreFull` or `Unavailable` when it cannot be written."""
    raw = json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
    try:
        files.replace(path, raw, mode=0o644)
    except OSError as exc:
        raise Unavailable(what=f"cannot write {path.name!r}", cause=exc.strerror or "") from exc
    return path


def _describe(planned: PlannedModel) -> list[Described]:
    bundles = {item.version: open_bundle(Path(item.path), digest=item.digest) for item in planned.versions}
    return describe(planned.name, planned.default, bundles, planned.aliases)
