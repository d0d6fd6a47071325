"""Whether a model's answers may be kept and given again: the same question always has the same answer."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.core.errors import ModelyardError
from modelyard.core.manifest import MODEL
from modelyard.core.tensor import Array
from modelyard.model.anatomy import operators
from modelyard.model.bundle import Bundle
from modelyard.model.runtime import Runner
from modelyard.model.steady import same_bits

#: Operators that throw dice at every call.
_DICE = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Sampling"}
)
_TIMES = 3
_ROWS = 8


def unrepeatable(bundle: Bundle, runner: Runner, arrays: Sequence[Array]) -> str:
    """Why answers of this model may not be given again.

    Parameters
    ----------
    bundle : Bundle
        Whose graph is looked at.
    runner : Runner
        The same, loaded; it is asked a few times.
    arrays : sequence of array
        Rows to ask it, arranged.

    Returns
    -------
    str
        The operators that make them random, or what was seen; empty when nothing speaks against it.
    """
    if found := operators(bundle.files[MODEL]) & _DICE:
        return f"its answers are random ({', '.join(sorted(found))})"
    few = [array[:_ROWS] for array in arrays]
    try:
        first, *others = [runner.run(few) for _ in range(_TIMES)]
    except ModelyardError:  # it refuses these rows, every time
        return ""
    same = all(same_bits(one, other) for answers in others for one, other in zip(first, answers, strict=True))
    return "" if same else "it does not answer the same question with the same bits"
