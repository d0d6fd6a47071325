"""Hostile ONNX: every file of the corpus is refused with a reason, in bounded time, and reads nothing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from modelyard.core.errors import InvalidModel
from modelyard.model import hostile
from modelyard.model.inspect import inspect

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])
_OPENED, _READ = 0x20, 0x01  # as inotify(7) calls them


def model(*nodes: onnx.NodeProto, initializers: list[TensorProto] | None = None, **more: object) -> ModelProto:
    graph = helper.make_graph(
        list(nodes) or [helper.make_node("Identity", ["x"], ["y"])], "g", [X], [Y], initializers or []
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("evil", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)


def external(tensor: TensorProto, location: str) -> TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value="8")
    return tensor


def two() -> TensorProto:
    return numpy_helper.from_array(np.ones(2, dtype=np.float32), "w")


def with_weight(tensor: TensorProto) -> ModelProto:
    return model(helper.make_node("Add", ["x", "w"], ["y"]), initializers=[tensor])


def claimed(dims: list[int], raw: bytes, kind: int = TensorProto.FLOAT) -> ModelProto:
    tensor = TensorProto(name="w", data_type=kind, raw_data=raw)
    tensor.dims.extend(dims)
    return with_weight(tensor)


def body(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    """A Loop's body that carries one value."""
    values = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v", TensorProto.FLOAT, [None, 2]),
    ]
    outs = [
        helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v2", TensorProto.FLOAT, [None, 2]),
    ]
    return helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), *(nodes or [helper.make_node("Abs", ["v"], ["v2"])])],
        "body",
        values,
        outs,
    )


def loop(trips: int | None, inner: onnx.GraphProto | None = None) -> ModelProto:
    stored = [] if trips is None else [numpy_helper.from_array(np.array(trips, dtype=np.int64), "n")]
    stored.append(numpy_helper.from_array(np.array(True), "t"))
    node = helper.make_node("Loop", ["" if trips is None else "n", "t", "x"], ["y"], body=inner or body())
    return model(node, initializers=stored)


def loop_in_loop() -> ModelProto:
    inner = helper.make_node("Loop", ["n", "t", "v"], ["v2"], body=body())
    return loop(5_000, body(inner))


def computed_trips() -> ModelProto:
    count = helper.make_node("Cast", ["x"], ["m"], to=TensorProto.INT64)
    node = helper.make_node("Loop", ["m", "t", "x"], ["y"], body=body())
    return model(count, node, initializers=[numpy_helper.from_array(np.array(True), "t")])


def subgraphs(depth: int) -> ModelProto:
    def nested(level: int) -> onnx.GraphProto:
        out = [helper.make_tensor_value_info(f"o{level}", TensorProto.FLOAT, [None, 2])]
        if level == 0:
            return helper.make_graph([helper.make_node("Identity", ["x"], ["o0"])], "g0", [], out)
        deeper = nested(level - 1)
        node = helper.make_node("If", ["t"], [f"o{level}"], then_branch=deeper, else_branch=nested(0))
        return helper.make_graph([node], f"g{level}", [], out)

    node = helper.make_node("If", ["t"], ["y"], then_branch=nested(depth), else_branch=nested(0))
    return model(node, initializers=[numpy_helper.from_array(np.array(True), "t")])


def functions(levels: int, width: int = 4) -> ModelProto:
    """Billion laughs: each function calls the one below several times."""
    made = model(helper.make_node(f"f{levels}", ["x"], ["y"], domain="evil"))
    opset = [helper.make_opsetid("", 21), helper.make_opsetid("evil", 1)]
    for level in range(levels + 1):
        names = ["a", *(f"t{at}" for at in range(width - 1)), "b"]
        kind, domain = ("Abs", "") if level == 0 else (f"f{level - 1}", "evil")
        nodes = [helper.make_node(kind, [names[at]], [names[at + 1]], domain=domain) for at in range(width)]
        made.functions.append(helper.make_function("evil", f"f{level}", ["a"], ["b"], nodes, opset))
    return made


def recursion() -> ModelProto:
    made = model(helper.make_node("f", ["x"], ["y"], domain="evil"))
    node = helper.make_node("f", ["a"], ["b"], domain="evil")
    made.functions.append(helper.make_function("evil", "f", ["a"], ["b"], [node], [helper.make_opsetid("evil", 1)]))
    return made


def external_inside(where: str) -> ModelProto:
    constant = helper.make_node("Constant", [], ["w"], value=external(two(), "secret.bin"))
    add = helper.make_node("Add", ["x", "w"], ["y"])
    if where == "constant":
        return model(constant, add)
    if where == "function":
        made = model(helper.make_node("f", ["x"], ["y"], domain="evil"))
        inner = [constant, helper.make_node("Add", ["a", "w"], ["b"])]
        made.functions.append(helper.make_function("evil", "f", ["a"], ["b"], inner, [helper.make_opsetid("", 21)]))
        return made
    out = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 2])]
    inner_add = helper.make_node("Add", ["x", "w"], ["z"])
    stored = [external(two(), "secret.bin")] if where == "subgraph initializer" else []
    branch = helper.make_graph([*([] if stored else [constant]), inner_add], "b", [], out, stored)
    node = helper.make_node("If", ["t"], ["y"], then_branch=branch, else_branch=branch)
    return model(node, initializers=[numpy_helper.from_array(np.array(True), "t")])


def sparse(values: TensorProto, dims: list[int]) -> ModelProto:
    made = model()
    indices = numpy_helper.from_array(np.array([0, 1], dtype=np.int64), "i")
    made.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, dims))
    return made


def changed(change: Callable[[ModelProto], object]) -> ModelProto:
    made = model()
    change(made)
    return made


def bomb(kind: str) -> ModelProto:
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 18], dtype=np.int64), "s")
    if kind == "ConstantOfShape":
        big = helper.make_node("ConstantOfShape", ["s"], ["big"])
    else:
        one = helper.make_node("Constant", [], ["one"], value_float=1.0)
        big = helper.make_node("Expand", ["one", "s"], ["big"])
        return model(
            one,
            big,
            helper.make_node("ReduceSum", ["big"], ["r"], keepdims=0),
            helper.make_node("Add", ["x", "r"], ["y"]),
            initializers=[shape],
        )
    return model(
        big,
        helper.make_node("ReduceSum", ["big"], ["r"], keepdims=0),
        helper.make_node("Add", ["x", "r"], ["y"]),
        initializers=[shape],
    )


def nodes(count: int) -> ModelProto:
    names = ["x", *(f"v{at}" for at in range(count - 1)), "y"]
    return model(*(helper.make_node("Abs", [names[at]], [names[at + 1]]) for at in range(count)))


def typed_output(kind: onnx.TypeProto) -> ModelProto:
    made = model()
    made.graph.output[0].type.CopyFrom(kind)
    return made


GOOD = model().SerializeToString()
DEEP = b"\x0a\x80\x01" * 200  # nested messages
CORPUS: dict[str, Callable[[], bytes | ModelProto]] = {
    "empty": lambda: b"",
    "random bytes": lambda: np.random.default_rng(0).bytes(4096),
    "zeros": lambda: bytes(4096),
    "cut in half": lambda: GOOD[: len(GOOD) // 2],
    "cut by one byte": lambda: GOOD[:-1],
    "nested beyond the parser": lambda: b"\x3a\xff\xff\xff\xff\x0f" + DEEP,
    "no graph": lambda: ModelProto(ir_version=10),
    "no outputs": lambda: changed(lambda m: m.graph.ClearField("output")),
    "ir version 2": lambda: changed(lambda m: setattr(m, "ir_version", 2)),
    "ir version of the future": lambda: changed(lambda m: setattr(m, "ir_version", 999)),
    "opset of the future": lambda: changed(lambda m: setattr(m.opset_import[0], "version", 9_999)),
    "opset 1": lambda: changed(lambda m: setattr(m.opset_import[0], "version", 1)),
    "negative opset": lambda: changed(lambda m: setattr(m.opset_import[0], "version", -1)),
    "external data in the working folder": lambda: with_weight(external(two(), "secret.bin")),
    "external data by an absolute path": lambda: with_weight(external(two(), "/etc/passwd")),
    "external data above": lambda: with_weight(external(two(), "../secret.bin")),
    "external data in a constant": lambda: external_inside("constant"),
    "external data in a subgraph": lambda: external_inside("subgraph"),
    "external data in a subgraph's initializer": lambda: external_inside("subgraph initializer"),
    "external data in a function": lambda: external_inside("function"),
    "external data in a sparse tensor": lambda: sparse(external(two(), "secret.bin"), [4]),
    "external entries without the flag": lambda: changed(
        lambda m: m.graph.initializer.add(name="w", data_type=1, dims=[0]).external_data.add(key="location", value="x")
    ),
    "a tensor larger than its data": lambda: claimed([1_000_000], b"\0" * 8),
    "a tensor smaller than its data": lambda: claimed([1], b"\0" * 800),
    "a tensor of 2^62 elements": lambda: claimed([1 << 31, 1 << 31], b""),
    "a tensor whose size overflows": lambda: claimed([1 << 33, 1 << 33], b"\0" * 4),
    "a negative axis": lambda: claimed([-1, 2], b"\0" * 8),
    "an unknown element type": lambda: claimed([2], b"\0" * 8, kind=9_999),
    "strings as raw bytes": lambda: claimed([1], b"\0" * 8, kind=TensorProto.STRING),
    "a huge sparse tensor": lambda: sparse(two(), [1 << 40]),
    "segments": lambda: changed(lambda m: setattr(m.graph.initializer.add(name="w", data_type=1).segment, "end", 9)),
    "an endless loop": lambda: loop(1 << 62),
    "a loop without a count": lambda: loop(None),
    "a loop whose count is computed": computed_trips,
    "loops in loops": loop_in_loop,
    "a billion laughs": lambda: functions(30),
    "a thousand laughs": lambda: functions(8, width=5),
    "a function that calls itself": recursion,
    "two functions of one name": lambda: changed(
        lambda m: m.functions.extend([helper.make_function("evil", "f", ["a"], ["b"], [], [])] * 2)
    ),
    "subgraphs twenty deep": lambda: subgraphs(20),
    "60 000 nodes": lambda: nodes(60_000),
    "an operator of an unknown domain": lambda: model(helper.make_node("Run", ["x"], ["y"], domain="evil")),
    "python code": lambda: model(helper.make_node("PyOp", ["x"], ["y"], domain="com.microsoft")),
    "a compiled context": lambda: model(helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")),
    "an operator that does not exist": lambda: model(helper.make_node("Nothing", ["x"], ["y"])),
    "a name of 10 000 letters": lambda: model(helper.make_node("Identity", ["x"], ["y"], name="n" * 10_000)),
    "a name with control characters": lambda: model(helper.make_node("Identity", ["x"], ["y"], name="\x1b[31mred")),
    "training graphs": lambda: changed(lambda m: m.training_info.add()),
    "a ring of values": lambda: model(
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Add", ["a", "x"], ["b"]),
        helper.make_node("Abs", ["b"], ["y"]),
    ),
    "a value nobody makes": lambda: model(helper.make_node("Add", ["x", "nothing"], ["y"])),
    "memory bomb of a constant": lambda: bomb("ConstantOfShape"),
    "memory bomb of an expansion": lambda: bomb("Expand"),
    "a map as output": lambda: typed_output(
        helper.make_sequence_type_proto(
            helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(1, []))
        )
    ),
    "complex numbers": lambda: typed_output(helper.make_tensor_type_proto(TensorProto.COMPLEX128, [None])),
}


def raw(case: str) -> bytes:
    made = CORPUS[case]()
    return made if isinstance(made, bytes) else made.SerializeToString()


_IN_PROCESS = [case for case in CORPUS if not case.startswith("memory bomb")]


@pytest.mark.row("MOD-02")
@pytest.mark.parametrize("case", _IN_PROCESS)
def test_it_is_refused_with_a_reason(case: str) -> None:
    body = raw(case)
    start = time.process_time()
    with pytest.raises(InvalidModel) as caught:
        hostile.answer({}, [body])
    assert time.process_time() - start < 5
    assert len(caught.value.detail) > 20
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize(
    "case",
    [
        "memory bomb of a constant",
        "external data in the working folder",
        "an endless loop",
        "a billion laughs",
        "random bytes",
    ],
)
def test_it_is_refused_in_the_child(case: str) -> None:
    """The way an import goes: checked, loaded and tried in a process of its own, with its limits."""
    start = time.monotonic()
    with pytest.raises(InvalidModel):
        inspect(raw(case))
    assert time.monotonic() - start < 60


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 40


@contextlib.contextmanager
def looked_at(folder: Path) -> Iterator[list[int]]:
    """How often somebody opens or reads a file of this folder meanwhile, told by the kernel: by C++ too."""
    libc, heard = ctypes.CDLL(None, use_errno=True), list[int]()
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert libc.inotify_add_watch(fd, os.fsencode(folder), _OPENED | _READ) >= 0
    try:
        yield heard
        with contextlib.suppress(BlockingIOError):
            heard.append(len(os.read(fd, 1 << 16)))
    finally:
        os.close(fd)


@pytest.mark.row("MOD-02")
@pytest.mark.parametrize("link", [False, True])
def test_a_file_beside_it_is_not_read(
    link: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """ONNX Runtime resolves external data of bytes against the working folder, and follows hard links."""
    folder = tmp_path / "here"
    folder.mkdir()
    secret = (tmp_path if link else folder) / "secret.bin"
    secret.write_bytes(b"\x00\x00\x80\x3f" * 2)
    if link:
        os.link(secret, folder / "secret.bin")
    monkeypatch.chdir(folder)
    outside = [name for name in CORPUS if name.startswith("external data")]
    with looked_at(folder) as heard:
        for case in outside:
            with pytest.raises(InvalidModel, match="external data"):
                hostile.answer({}, [raw(case)])
    assert heard == []
    with looked_at(folder) as heard:
        (folder / "secret.bin").read_bytes()
    assert heard != [], "nothing is heard at all"
    where = "a hard link to it" if link else "the file"
    record_property(
        "number", f"{len(outside)} of {len(outside)} with outside data refused, {where} beside never opened"
    )


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.row("MOD-02")
def test_the_whole_corpus_in_the_child(record_property: Callable[[str, object], None]) -> None:
    """The way an import goes, for every file: whoever asks stays as small as it was, and soon has its answer."""
    process, slowest_s, largest = psutil.Process(), 0.0, 0
    with contextlib.suppress(InvalidModel):
        inspect(raw("empty"))  # what is imported once
    bodies = {case: raw(case) for case in CORPUS}
    for body in bodies.values():
        before, start = process.memory_info().rss, time.monotonic()
        with pytest.raises(InvalidModel):
            inspect(body)
        slowest_s = max(slowest_s, time.monotonic() - start)
        largest = max(largest, process.memory_info().rss - before)
    record_property(
        "number",
        f"{len(bodies)} of {len(bodies)} refused in the child; slowest {slowest_s:.1f} s, +{largest / 2**20:.1f} MiB",
    )
    assert slowest_s <= 12
    assert largest <= 10 << 20


@pytest.mark.parametrize(
    "honest",
    [
        model(),
        with_weight(two()),
        loop(100),
        subgraphs(3),
        functions(2),
        model(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")),
    ],
    ids=["identity", "weights", "short loop", "nested ifs", "functions", "contributed operator"],
)
def test_an_honest_model_passes(honest: ModelProto) -> None:
    if any(node.domain == "com.microsoft" for node in honest.graph.node):
        honest.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    facts, _ = hostile.answer({}, [honest.SerializeToString()])
    assert facts["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]


def test_an_honest_model_is_described_by_the_child() -> None:
    found = inspect(GOOD)
    assert [port.name for port in found.outputs] == ["y"]
    assert found.nodes == 1
    assert found.run_s >= 0


@pytest.mark.parametrize("seed", range(20))
def test_damage_never_ends_in_anything_but_a_refusal(seed: int) -> None:
    """Single bytes flipped in a whole model: it passes, or it is refused; nothing else."""
    rng = np.random.default_rng(seed)
    body = bytearray(with_weight(two()).SerializeToString())
    for at in rng.integers(0, len(body), size=3):
        body[at] ^= 1 << int(rng.integers(0, 8))
    with contextlib.suppress(InvalidModel):
        hostile.answer({}, [bytes(body)])


def test_attribute_types_are_known() -> None:
    """A new kind of attribute in a later onnx must be looked at before it is let through."""
    known = {"UNDEFINED", "FLOAT", "INT", "STRING", "TENSOR", "GRAPH", "SPARSE_TENSOR", "TYPE_PROTO"}
    plural = {"FLOATS", "INTS", "STRINGS", "TENSORS", "GRAPHS", "SPARSE_TENSORS", "TYPE_PROTOS"}
    assert set(AttributeProto.AttributeType.keys()) == known | plural
