"""In multiples of how many rows a graph must be run, so that a row's answer has the same bits in any company.

Two things in ONNX Runtime's kernels for the processor make last bits depend on company. A matrix product of one row
goes through another kernel than one of several, and adds up in another order. And Eigen works on packets of numbers
(two doubles, four floats), with other code, and other last bits, for what is left over at the end. Rows that run in
multiples of two, or four, are neither alone nor left over.

What this does not cure, such as ReduceSum, which adds in an order that depends on a row's place in memory, is found by
`modelyard.model.steady`.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from modelyard.core.signature import ANY, Signature

#: Products of float matrices (of integers they are exact).
_PRODUCTS = frozenset(
    {"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "Einsum", "CDist", "LinearClassifier", "LinearRegressor"}
    | {"SVMClassifier", "SVMRegressor", "MatMulNBits"}
)
#: By Eigen in float64; their float32 goes through kernels that treat every number alike.
_PACKETS_OF_2 = frozenset({"Exp", "Sigmoid", "Tanh", "Softmax", "LogSoftmax", "ReduceLogSumExp"})
#: By Eigen in float32 as well.
_PACKETS_OF_4 = frozenset({"Log", "Softplus", "Mish", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan"})
#: With these a row is itself a matrix or a series: one more row costs as much as the first, and a copy would not pay.
_LONG = frozenset(
    {"Conv", "ConvInteger", "QLinearConv", "FusedConv", "ConvTranspose", "LSTM", "GRU", "RNN", "Attention"}
    | {"MultiHeadAttention", "LayerNormalization", "SkipLayerNormalization", "EmbedLayerNormalization"}
    | {"Scan", "Loop"}
)


def lot(operators: AbstractSet[str], signature: Signature) -> int:
    """The number of rows whose multiples are run: 1, 2 or 4; 1 for graphs whose rows run as they come.

    Parameters
    ----------
    operators : set of str
        All that the graph uses, by `anatomy.operators`.
    signature : Signature
        Of the model; where more than its first axis is variable, a row is a series.
    """
    if operators & _LONG or any(axis == ANY for spec in signature.inputs for axis in spec.shape[1:]):
        return 1
    if operators & _PACKETS_OF_4:
        return 4
    return 2 if operators & (_PRODUCTS | _PACKETS_OF_2) else 1
