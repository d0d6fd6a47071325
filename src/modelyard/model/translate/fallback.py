"""The way out: an estimator that has no emitter here is converted alone by skl2onnx and its nodes are taken in."""

from __future__ import annotations

import warnings
from typing import Any

from onnx import NodeProto, helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
from sklearn.base import is_classifier, is_outlier_detector

from modelyard.core.errors import NotConvertible
from modelyard.model.translate.graph import DOUBLE, FLOAT, OPSET, Answer, Block, Columns, Translator

_DEFAULT_TOKENS = r"(?u)\b\w\w+\b"
_UNICODE_TOKENS = r"[\p{L}\p{N}_]{2,}"  # the same in RE2's words; skl2onnx would write an ASCII pattern
_ENDLESS = frozenset({"QuantileTransformer"})
_ML_OPSET = 3  # the newest that skl2onnx writes; its operators mean the same in ours


class Fallback:
    """Takes in what skl2onnx makes of one estimator.

    Parameters
    ----------
    double : bool
        Whether the part computes in float64; skl2onnx has that for some estimators only.
    """

    def __init__(self, *, double: bool) -> None:
        self.double = double
        self.used: list[str] = []

    def __call__(self, t: Translator, estimator: Any, columns: Columns) -> Answer:
        """Add the estimator's nodes."""
        graph = t.graph
        if type(estimator).__name__ in _ENDLESS:
            raise NotConvertible(model=type(estimator).__name__, what="its conversion does not come to an end")
        x = graph.merge(columns)
        self.used.append(type(estimator).__name__)
        part = self._convert(estimator, x)
        for node in part.graph.node:
            _set_locale(node, _locale(estimator))
        feed = x.value if x.text or self.double else graph.cast(x.value, FLOAT)
        outputs = graph.inline(part.graph, {part.graph.input[0].name: feed})
        numbers = [graph.cast(value, DOUBLE) for value in outputs[-1:]]
        if len(outputs) == 1:
            return Answer(values=Block(numbers[0], _width(estimator, part)))
        if is_outlier_detector(estimator) or (is_classifier(estimator) and not hasattr(estimator, "predict_proba")):
            return Answer(label=_flat(t, outputs[0]), scores=numbers[0])
        return Answer(label=_flat(t, outputs[0]), probabilities=numbers[0])

    def _convert(self, estimator: Any, x: Block) -> Any:
        kind = StringTensorType if x.text else DoubleTensorType if self.double else FloatTensorType
        options: dict[str, Any] = {}
        if is_classifier(estimator):
            options = {"zipmap": False}
            if not hasattr(estimator, "predict_proba"):
                options["raw_scores"] = True
        if getattr(estimator, "token_pattern", None) == _DEFAULT_TOKENS and estimator.analyzer == "word":
            options = {"tokenexp": _UNICODE_TOKENS}
        for choice in (options, {"zipmap": False} if "zipmap" in options else options):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return convert_sklearn(
                        estimator,
                        initial_types=[("x", kind([None, x.width]))],
                        options={id(estimator): choice} if choice else None,
                        target_opset={"": OPSET, "ai.onnx.ml": _ML_OPSET},
                    )
            except NameError as exc:  # how it says "this option is not known here"
                last: Exception = exc
            except Exception as exc:  # it raises a zoo: RuntimeError, NotImplementedError, KeyError, its own
                raise NotConvertible(model=type(estimator).__name__, what=_why(exc)) from exc
        raise NotConvertible(model=type(estimator).__name__, what=_first_line(last)) from last


def _flat(t: Translator, label: str) -> str:
    return t.graph.op("Reshape", label, t.graph.whole([-1]))


def _width(estimator: Any, part: Any) -> int:
    shape = part.graph.output[0].type.tensor_type.shape.dim
    if len(shape) == 2 and shape[1].dim_value > 0:
        return int(shape[1].dim_value)
    try:
        return len(estimator.get_feature_names_out())
    except (AttributeError, ValueError) as exc:
        raise NotConvertible(model=type(estimator).__name__, what="it has no fixed number of outputs") from exc


def _set_locale(node: NodeProto, name: str) -> None:
    """Without this the graph needs the en_US locale to be installed where it runs."""
    if node.op_type == "StringNormalizer":
        kept = [attribute for attribute in node.attribute if attribute.name != "locale"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("locale", name)])


def _locale(estimator: Any) -> str:
    """C is everywhere and lowers ASCII letters; words with other letters need C.UTF-8, which most systems have."""
    words = getattr(estimator, "vocabulary_", {})
    return "C" if all(str(word).isascii() for word in words) else "C.UTF-8"


def _why(exc: Exception) -> str:
    text = _first_line(exc)
    unknown = "shape calculator" in text or "Unsupported conversion" in text
    return "nobody has written a translation of this class" if unknown else text


def _first_line(exc: BaseException) -> str:
    text = str(exc).strip()
    return text.splitlines()[0][:200] if text else type(exc).__name__
