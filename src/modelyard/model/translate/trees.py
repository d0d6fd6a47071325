"""Trees and their ensembles as one TreeEnsemble node in float64: the same comparisons, sums and missing-value turns.

scikit-learn's classic trees compare ``float32(x) <= threshold`` with a float64 threshold, so the input is rounded to
float32 and compared in float64. Histogram boosting compares float64 with float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.ensemble._iforest import _average_path_length
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from modelyard.core.errors import NotConvertible
from modelyard.model.translate.graph import DOUBLE, FLOAT, INT64, ML, Answer, Block, Columns, Graph, Translator

_LEQ, _MEMBER = 0, 6  # modes of the TreeEnsemble operator
_SUM, _NO_TRANSFORM = 1, 0


@dataclass(frozen=True)
class Tree:
    """One tree as arrays over its nodes; a leaf has no children (left is negative).

    Parameters
    ----------
    feature, left, right : int array
        Column and children by node.
    threshold : float array
        Go left when x <= threshold.
    missing_left : bool array
        Where a missing value goes.
    target : int array
        By node: to which output a leaf adds.
    weight : float array
        By node: what a leaf adds.
    members : dict of int to set of float
        By node: go left when x is one of these, instead of the threshold.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    target: NDArray[np.int64]
    weight: NDArray[np.float64]
    members: dict[int, list[float]]

    @property
    def leaf(self) -> NDArray[np.bool_]:
        """Which nodes are leaves."""
        return self.left < 0


def classic(tree: Any, weight: NDArray[np.float64], target: Any = 0, features: NDArray[np.int64] | None = None) -> Tree:
    """A tree of `sklearn.tree`; `features` maps its columns to the model's."""
    feature = np.maximum(tree.feature, 0).astype(np.int64)
    return Tree(
        feature=feature if features is None else np.asarray(features, dtype=np.int64)[feature],
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        missing_left=tree.missing_go_to_left.astype(bool),
        target=np.broadcast_to(np.asarray(target, dtype=np.int64), (tree.node_count,)),
        weight=weight,
        members={},
    )


def ensemble(graph: Graph, x: str, trees: Iterable[Tree], targets: int) -> str:
    """One node for all trees: the sum of the leaves a row falls into, by target; float64 [-1, targets]."""
    nodes: dict[str, list[Any]] = {name: [] for name in ("feature", "split", "mode", "true", "false", "missing")}
    ends: dict[str, list[int]] = {"true": [], "false": []}
    leaves: dict[str, list[Any]] = {"target": [], "weight": []}
    members: list[float] = []
    roots = []
    for tree in trees:
        roots.append(len(nodes["feature"]))
        _append(tree, nodes, ends, leaves, members)
    extra = {"membership_values": numpy_helper.from_array(np.array(members))} if members else {}
    return graph.op(
        "TreeEnsemble",
        x,
        domain=ML,
        n_targets=targets,
        aggregate_function=_SUM,
        post_transform=_NO_TRANSFORM,
        tree_roots=roots,
        nodes_featureids=nodes["feature"],
        nodes_splits=numpy_helper.from_array(np.array(nodes["split"], dtype=np.float64)),
        nodes_modes=numpy_helper.from_array(np.array(nodes["mode"], dtype=np.uint8)),
        nodes_truenodeids=nodes["true"],
        nodes_falsenodeids=nodes["false"],
        nodes_trueleafs=ends["true"],
        nodes_falseleafs=ends["false"],
        nodes_missing_value_tracks_true=nodes["missing"],
        leaf_targetids=leaves["target"],
        leaf_weights=numpy_helper.from_array(np.array(leaves["weight"], dtype=np.float64)),
        **extra,
    )


def _append(
    tree: Tree,
    nodes: dict[str, list[Any]],
    ends: dict[str, list[int]],
    leaves: dict[str, list[Any]],
    members: list[float],
) -> None:
    leaf = tree.leaf
    if leaf[0]:  # the operator has no tree without a split: both branches lead to an equal leaf
        for key, value in (("feature", 0), ("split", 0.0), ("mode", _LEQ), ("missing", 0)):
            nodes[key].append(value)
        for way in ("true", "false"):
            nodes[way].append(len(leaves["weight"]))
            ends[way].append(1)
            leaves["target"].append(int(tree.target[0]))
            leaves["weight"].append(float(tree.weight[0]))
        return
    inner = np.cumsum(~leaf) - 1 + len(nodes["feature"])
    outer = np.cumsum(leaf) - 1 + len(leaves["weight"])
    places = np.where(leaf, outer, inner)
    split = np.flatnonzero(~leaf)
    nodes["feature"] += tree.feature[split].tolist()
    nodes["split"] += [0.0 if at in tree.members else tree.threshold[at] for at in split.tolist()]
    nodes["mode"] += [_MEMBER if at in tree.members else _LEQ for at in split.tolist()]
    nodes["missing"] += tree.missing_left[split].astype(int).tolist()
    for at in split.tolist():
        if at in tree.members:
            members += [*tree.members[at], float("nan")]  # NaN ends one node's set
    for way, children in (("true", tree.left[split]), ("false", tree.right[split])):
        nodes[way] += places[children].tolist()
        ends[way] += leaf[children].astype(int).tolist()
    leaves["target"] += tree.target[leaf].tolist()
    leaves["weight"] += tree.weight[leaf].tolist()


def rounded(graph: Graph, columns: Columns) -> str:
    """The input as classic trees see it: rounded to float32."""
    return graph.cast(graph.cast(graph.numeric(columns).value, FLOAT), DOUBLE)


def leaf_values(graph: Graph, x: str, trees: Sequence[Any]) -> str:
    """Sum over trees of the vector in the leaf: each tree says which leaf, a table says what is in it."""
    tables: list[NDArray[np.float64]] = []
    parts = []
    offset = 0
    for at, tree in enumerate(trees):
        leaf = tree.children_left < 0
        number = np.cumsum(leaf) - 1.0 + offset
        tables.append(tree.value[leaf, 0, :] if tree.value.shape[1] == 1 else tree.value[leaf, :, 0])
        offset += int(leaf.sum())
        parts.append(classic(tree, number, at))
    which = graph.cast(ensemble(graph, x, parts, len(parts)), INT64)
    vectors = graph.op("Gather", graph.numbers(np.concatenate(tables)), which, axis=0)
    return graph.op("ReduceSum", vectors, graph.whole([1]), keepdims=0)


def _classifier(t: Translator, model: Any, columns: Columns) -> Answer:
    graph = t.graph
    if isinstance(model.n_classes_, list | np.ndarray):
        raise NotConvertible(model=type(model).__name__, what="it answers several labels a row")
    trees = [tree.tree_ for tree in getattr(model, "estimators_", [model])]
    chances = leaf_values(graph, rounded(graph, columns), trees)
    if len(trees) > 1:
        chances = graph.op("Div", chances, graph.numbers(float(len(trees))))
    return Answer(index=graph.op("ArgMax", chances, axis=1, keepdims=0), probabilities=chances)


def _regressor(t: Translator, model: Any, columns: Columns) -> Answer:
    graph = t.graph
    trees = [tree.tree_ for tree in getattr(model, "estimators_", [model])]
    x = rounded(graph, columns)
    width = trees[0].value.shape[1]
    if width == 1:
        value = ensemble(graph, x, [classic(tree, tree.value[:, 0, 0]) for tree in trees], 1)
    else:
        value = leaf_values(graph, x, trees)
    if len(trees) > 1:
        value = graph.op("Div", value, graph.numbers(float(len(trees))))
    return Answer(values=Block(value, width))


def _isolation_forest(t: Translator, model: IsolationForest, columns: Columns) -> Answer:
    """Score 2^(-depth / c) - offset, where depth counts a leaf's path and the expected path below it."""
    graph = t.graph
    trees = []
    for estimator, features in zip(model.estimators_, model.estimators_features_, strict=True):
        tree = estimator.tree_
        depth = _depths(tree) + _average_path_length(tree.n_node_samples) - 1.0
        trees.append(classic(tree, depth, features=features))
    total = ensemble(graph, rounded(graph, columns), trees, 1)
    scale = len(trees) * float(_average_path_length([model._max_samples])[0])
    power = graph.op("Div", graph.op("Neg", total), graph.numbers(scale))
    score = graph.op("Neg", graph.op("Pow", graph.numbers(2.0), power))
    decision = graph.op("Sub", score, graph.numbers(model.offset_))
    low = graph.op("Squeeze", graph.op("Less", decision, graph.numbers(0.0)), graph.whole([1]))
    label = graph.op("Where", low, graph.whole(-1), graph.whole(1))
    return Answer(label=label, scores=decision)


def _depths(tree: Any) -> NDArray[np.float64]:
    """Nodes on the path from the root to each node, both counted; children come after their parent."""
    depth = np.ones(tree.node_count)
    for at in range(tree.node_count):
        if tree.children_left[at] >= 0:
            depth[[tree.children_left[at], tree.children_right[at]]] = depth[at] + 1
    return depth


_CLASSIFIERS = (DecisionTreeClassifier, ExtraTreeClassifier, RandomForestClassifier, ExtraTreesClassifier)
_REGRESSORS = (DecisionTreeRegressor, ExtraTreeRegressor, RandomForestRegressor, ExtraTreesRegressor)
ANSWERS: dict[type, Any] = {
    **dict.fromkeys(_CLASSIFIERS, _classifier),
    **dict.fromkeys(_REGRESSORS, _regressor),
    IsolationForest: _isolation_forest,
}
