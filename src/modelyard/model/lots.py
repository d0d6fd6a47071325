"""How rows must be given to a graph, so that a row's answer has the same bits in any company and by every way.

Two things in ONNX Runtime's kernels for the processor make last bits depend on company. A matrix product of one row
goes through another kernel than one of several, and adds up in another order. And Eigen works on packets of numbers
(two doubles, four floats), with other code, and other last bits, for what is left over at the end. Rows that run in
multiples of two, or four, are neither alone nor left over.

Where a packet begins depends on where the numbers lie in memory, too: a tensor that is read where it stands in a
request's body would be added up in another order than a copy of it. So inputs begin where numpy lets its arrays begin.

What this does not cure, such as ReduceSum, which adds in an order that depends on a row's place in the batch, is found
by `modelyard.model.steady`.
"""

from __future__ import annotations

from modelyard.core.signature import ANY, Signature
from modelyard.model.anatomy import operators, readers

#: Products of float matrices (of integers they are exact).
_PRODUCTS = frozenset(
    {"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "Einsum", "CDist", "LinearClassifier", "LinearRegressor"}
    | {"SVMClassifier", "SVMRegressor", "MatMulNBits"}
)
#: By Eigen in float64; their float32 goes through kernels that treat every number alike.
_PACKETS_OF_2 = frozenset({"Exp", "Sigmoid", "Tanh", "Softmax", "LogSoftmax", "ReduceLogSumExp"})
#: By Eigen in float32 as well.
_PACKETS_OF_4 = frozenset({"Log", "Softplus", "Mish", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan"})
#: Operators that take each number by itself, and may hand it on where it lies, or be left out by an optimiser.
_THROUGH = frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout", "Slice", "Split"}
    | {"Concat", "Pad", "Expand", "Add", "Sub", "Mul", "Div", "Max", "Min", "Neg", "Abs", "Relu", "Clip", "Where"}
)
#: Operators that read rightly rounded numbers one by one, or through kernels to which every place is the same.
_ANYWHERE = _THROUGH | {
    *("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulNBits", "Conv", "FusedConv", "ConvInteger", "QLinearConv"),
    *("MaxPool", "QuantizeLinear", "Gather", "ArrayFeatureExtractor", "FeatureVectorizer", "Shape", "IsNaN", "IsInf"),
    *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not", "Floor", "Ceil", "Sqrt"),
    *("TreeEnsemble", "TreeEnsembleRegressor", "TreeEnsembleClassifier", "LinearRegressor", "LinearClassifier"),
    *("Scaler", "Imputer", "Normalizer", "Binarizer", "LabelEncoder", "OneHotEncoder", "CategoryMapper"),
}
#: With these a row is itself a matrix or a series: one more row costs as much as the first, and a copy would not pay.
_LONG = frozenset(
    {"Conv", "ConvInteger", "QLinearConv", "FusedConv", "ConvTranspose", "LSTM", "GRU", "RNN", "Attention"}
    | {"MultiHeadAttention", "LayerNormalization", "SkipLayerNormalization", "EmbedLayerNormalization"}
    | {"Scan", "Loop"}
)


def lot(raw: bytes | memoryview, signature: Signature) -> int:
    """The number of rows whose multiples are run: 1, 2 or 4; 1 for graphs whose rows run as they come.

    Parameters
    ----------
    raw : bytes
        The graph, an ONNX file.
    signature : Signature
        Of the model; where more than its first axis is variable, a row is a series.
    """
    used = operators(raw)
    if used & _LONG or any(axis == ANY for spec in signature.inputs for axis in spec.shape[1:]):
        return 1
    if used & _PACKETS_OF_4:
        return 4
    return 2 if used & (_PRODUCTS | _PACKETS_OF_2) else 1


def anywhere(raw: bytes | memoryview) -> bool:
    """Whether the graph in these bytes gives the same bits wherever in memory its inputs lie."""
    return readers(raw, _THROUGH) <= _ANYWHERE
