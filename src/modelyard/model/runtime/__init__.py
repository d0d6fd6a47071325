"""Door: things that run a bundle's model. `serve`, `client` and `control` ask for one by the manifest's `runtime`.

A backend is one file here with a `load(bundle, threads=...)` that returns a `Runner`, and one line in `RUNTIMES`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Protocol

from modelyard.core.errors import MissingExtra, Unsupported
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.model.bundle import Bundle

RUNTIMES: dict[str, str] = {"onnx": "modelyard.model.runtime.onnx"}
#: The one that nearly every bundle names.
USUAL = "onnx"


class Runner(Protocol):
    """A model that is loaded and can be asked. Safe to call from several threads.

    Rows of several callers may share a call when `batchable`, and then have the same bits as alone when
    `modelyard.model.steady` finds so. `facts` says what was decided at load, for people.
    """

    signature: Signature
    batchable: bool

    @property
    def facts(self) -> Mapping[str, str | int | float | bool]:
        """What was decided at load, and why; for logs and statistics."""
        ...

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Answers for inputs that `Signature.arrange` has arranged.

        Parameters
        ----------
        arrays : sequence of array
            One per input of the signature, in its order, same number of rows.

        Returns
        -------
        list of array
            One per output of the signature, in its order; the first axis is the rows.

        Raises
        ------
        InvalidInput
            The graph refuses the values.
        """
        ...


def load(bundle: Bundle, *, threads: int = 1) -> Runner:
    """The bundle's model, ready to run with this many threads inside one call."""
    runner: Runner = backend(bundle.manifest.runtime).load(bundle, threads=threads)
    return runner


def backend(name: str) -> ModuleType:
    """The backend of this name, imported; who will need it soon can ask early."""
    if name not in RUNTIMES:
        raise Unsupported(what=f"runtime {name!r}; this Modelyard has: {', '.join(RUNTIMES)}")
    try:
        return import_module(RUNTIMES[name])
    except ImportError as exc:
        raise MissingExtra(what=f"the runtime {name!r}", library=exc.name, extra=name) from exc
