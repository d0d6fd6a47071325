"""Door: the serving contracts that existing clients and platforms speak. `routes` asks for them by name.

A contract is one file here with the four names of `Contract`, one line in `CONTRACTS`, and one section in
docs/contracts.md. It knows the signature, the roster and the bodies of `serve/http/forms`, and no other contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from modelyard.core.errors import ModelyardError, NotFound
from modelyard.core.schema import Described
from modelyard.serve.http.message import Request
from modelyard.serve.http.site import Site, Table
from modelyard.serve.plane import Roster

CONTRACTS: dict[str, str] = {
    "simple": "modelyard.serve.http.contracts.simple",
    "v2": "modelyard.serve.http.contracts.v2",
    "repository": "modelyard.serve.http.contracts.repository",
    "v1": "modelyard.serve.http.contracts.v1",
    "mlflow": "modelyard.serve.http.contracts.mlflow",
    "sagemaker": "modelyard.serve.http.contracts.sagemaker",
    "vertex": "modelyard.serve.http.contracts.vertex",
    "azureml": "modelyard.serve.http.contracts.azureml",
}
#: What a server speaks when nobody says otherwise.
USUAL = ("simple", "v2", "repository", "v1", "mlflow")


class Contract(Protocol):
    """One contract: its addresses, its words for errors, and its part of the documents."""

    #: Beginnings of addresses that are this contract's, so that an unknown one is refused in its words.
    PREFIXES: tuple[bytes, ...]

    @staticmethod
    def routes(site: Site, roster: Roster) -> Table:
        """All addresses of this contract for a roster, by the exact bytes of the path."""
        ...

    @staticmethod
    def refuse(error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
        """The head (see `message.head`) and the body that tell this error."""
        ...

    @staticmethod
    def operations(site: Site, models: Sequence[Described]) -> Mapping[str, Any]:
        """OpenAPI path items by address: all that `routes` gives, in the words of `core.schema` (see `addresses`)."""
        ...


def contract(name: str) -> Contract:
    """The contract of this name, imported."""
    if name not in CONTRACTS:
        raise NotFound(what="contract", name=name[:80], known=list(CONTRACTS))
    return cast(Contract, import_module(CONTRACTS[name]))


def chosen(names: str) -> tuple[str, ...]:
    """The contracts that a comma-separated list names, in the table's order.

    ``all`` is every one, ``usual`` (or nothing) the usual ones; v2 brings its repository extension along. Names that
    are not in the table come last, for `contract` to refuse.
    """
    asked = [name.strip() for name in names.split(",") if name.strip()] or ["usual"]
    wanted: set[str] = set()
    for name in asked:
        wanted |= set({"all": CONTRACTS, "usual": USUAL, "v2": ("v2", "repository")}.get(name, (name,)))
    return (*(name for name in CONTRACTS if name in wanted), *(name for name in asked if name in wanted - {*CONTRACTS}))
