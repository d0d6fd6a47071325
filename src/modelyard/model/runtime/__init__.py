"""Door: things that run a bundle's model. `serve`, `client` and `control` ask for one by the manifest's `runtime`.

A backend is one file here and one line in `RUNTIMES`. It has `load(bundle, threads=..., provider=...)`, which returns a
`Runner` on exactly that execution provider, and `present()`, the providers that there are.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from modelyard.core.errors import MissingExtra, Unsupported
from modelyard.model.bundle import Bundle
from modelyard.model.providers import choose
from modelyard.model.runner import Runner

__all__ = ["RUNTIMES", "USUAL", "Runner", "backend", "load"]

RUNTIMES: dict[str, str] = {"onnx": "modelyard.model.runtime.onnx"}
#: The one that nearly every bundle names.
USUAL = "onnx"


def load(bundle: Bundle, *, threads: int = 1, provider: str | None = None) -> Runner:
    """The bundle's model, ready to run.

    Parameters
    ----------
    bundle : Bundle
        Verified.
    threads : int
        Inside one call, on the processor. More than one may change last bits; see `modelyard.model.threads`.
    provider : str, optional
        The execution provider (`providers.PROVIDERS`) that must run it. By default the processor does, unless another
        is present that answers the bundle's golden rows rightly, and is faster.

    Raises
    ------
    CorruptBundle
        The runtime does not accept the model, or the model's signature.
    Unsupported, Unavailable, MissingExtra
        The runtime, or `provider`, is not known; it is not present.
    """
    runtime = backend(bundle.manifest.runtime)

    def make(name: str) -> Runner:
        runner: Runner = runtime.load(bundle, threads=threads, provider=name)
        return runner

    return choose(make, runtime.present(), bundle.samples, bundle.manifest.name, provider)


def backend(name: str) -> ModuleType:
    """The backend of this name, imported; who will need it soon can ask early."""
    if name not in RUNTIMES:
        raise Unsupported(what=f"runtime {name!r}; this Modelyard has: {', '.join(RUNTIMES)}")
    try:
        return import_module(RUNTIMES[name])
    except ImportError as exc:
        raise MissingExtra(what=f"the runtime {name!r}", library=exc.name, extra=name) from exc
