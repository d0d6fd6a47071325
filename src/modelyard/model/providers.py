"""Which execution provider runs a model: the processor, unless something else is present, right and faster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from time import perf_counter

import numpy as np

from modelyard.core.errors import ModelyardError, Unavailable, Unsupported
from modelyard.core.manifest import Samples
from modelyard.core.tensor import Array
from modelyard.model import golden
from modelyard.model.runner import Runner
from modelyard.model.trial import varied

log = logging.getLogger("modelyard")

CPU = "cpu"
#: What is tried by itself, best first, and the package that brings it.
AUTOMATIC = {
    "cuda": "onnxruntime-gpu",
    "migraphx": "onnxruntime-migraphx",
    "rocm": "onnxruntime-rocm",
    "openvino": "onnxruntime-openvino",
    "directml": "onnxruntime-directml",
    "coreml": "onnxruntime",
}
#: TensorRT compiles an engine for every shape that it meets, for minutes: only who asks for it gets it.
PROVIDERS = {**AUTOMATIC, "tensorrt": "onnxruntime-gpu", CPU: "onnxruntime"}
_GAIN = (
    1.2  # how much faster than the processor it must be: less is noise, and the processor's bits are the model's own
)
_MANY = 32
_ROUNDS = 5
_SLOW_S = 0.25  # enough time to spend on one number of rows


def choose(
    make: Callable[[str], Runner], present: Collection[str], samples: Samples, label: str, wanted: str | None = None
) -> Runner:
    """A model on the provider that suits it.

    Parameters
    ----------
    make : callable
        Loads the model on a provider, by its name in `PROVIDERS`.
    present : collection of str
        Providers that this machine's runtime has.
    samples : Samples
        Golden rows; without any, nothing vouches for another provider's answers, and the processor runs the model.
    label : str
        What the model is called in messages.
    wanted : str, optional
        This one and no other.

    Returns
    -------
    Runner
        With the facts `provider`, and `provider_why` where there was something to decide.

    Raises
    ------
    Unsupported, Unavailable
        `wanted` is not known; it is not present.
    """
    if wanted is not None:
        return _exactly(make, present, wanted)
    runner = make(CPU)
    others = [name for name in AUTOMATIC if name in present]
    if others and not samples.rows:
        runner.facts["provider_why"] = f"no golden rows to check {others[0]} with"
        return runner
    reasons = []
    for name in others:
        better, why = _try(make, name, runner, samples, label)
        if better is not None:
            better.facts["provider_why"] = why
            log.info("%s runs on %s: %s", label, name, why)
            return better
        log.warning("%s stays on the processor, not on %s: %s", label, name, why)
        reasons.append(f"{name}: {why}")
    if reasons:
        runner.facts["provider_why"] = "; ".join(reasons)
    return runner


def _exactly(make: Callable[[str], Runner], present: Collection[str], wanted: str) -> Runner:
    if wanted not in PROVIDERS:
        raise Unsupported(
            what=f"there is no execution provider {wanted!r}", hint=f"name one of: {', '.join(sorted(PROVIDERS))}"
        )
    if wanted not in present:
        package = PROVIDERS[wanted]
        raise Unavailable(
            what=f"the execution provider {wanted!r} is not present here",
            cause=f"the installed ONNX Runtime has: {', '.join(sorted(present))}",
            hint=f"pip uninstall -y onnxruntime && pip install {package}",
        )
    runner = make(wanted)
    runner.facts["provider_why"] = "it was asked for"
    return runner


def _try(
    make: Callable[[str], Runner], name: str, usual: Runner, samples: Samples, label: str
) -> tuple[Runner | None, str]:
    """The model on this provider and by how much it is faster; or nothing, and why not."""
    try:
        runner = make(name)
        golden.check(runner, samples, label)
        arrays = varied(usual.signature, samples.rows, _MANY)
        if not _agree(usual.run(arrays), runner.run(arrays)):
            return None, "it answers differently"
        gain = _seconds(usual, arrays) / _seconds(runner, arrays)
    except ModelyardError as exc:
        return None, exc.detail
    if gain < _GAIN:
        return None, f"it takes {1 / gain:.2g} times as long"
    return runner, f"{gain:.2g} times as fast as the processor"


def _agree(usual: Sequence[Array], other: Sequence[Array]) -> bool:
    """Within what golden rows are given; labels may not differ at all."""
    return all(
        bool((one == two).all())
        if one.dtype.kind != "f"
        else np.allclose(one, two, golden.TOLERANCE, golden.TOLERANCE, equal_nan=True)
        for one, two in zip(usual, other, strict=True)
    )


def _seconds(runner: Runner, arrays: Sequence[Array]) -> float:
    """Time of one row and of many together: the best of a few calls each, the first of which warms up."""
    return sum(_best_s(runner, [array[:rows] for array in arrays]) for rows in (1, _MANY))


def _best_s(runner: Runner, arrays: Sequence[Array]) -> float:
    times: list[float] = []
    while len(times) < _ROUNDS and sum(times) < _SLOW_S:
        started = perf_counter()
        runner.run(arrays)
        times.append(perf_counter() - started)
    return min(times[1:] or times)
