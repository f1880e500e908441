"""What the oracle repairs and folds, and how it runs a part of a graph."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sira.errors import SiraError
from sira.verification.oracle import Oracle, repaired

QONNX = "qonnx.custom_op.general"
FINE = 2.0**-40  # far below what float32 resolves at 1


def model(
    nodes: list[onnx.NodeProto],
    shape: tuple[int, ...],
    constants: dict[str, Any] | None = None,
    *,
    input_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model from ``x`` of ``shape`` to the last node's first output; constants float32."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", input_type, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
    )
    for name, value in (constants or {}).items():
        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        graph.initializer.append(numpy_helper.from_array(array, name))
    imports = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=imports)


def one(op: str, inputs: list[str], domain: str = "", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, ["y"], domain=domain, **attributes)


def test_weight_quantizers_become_exact_and_other_constants_stay_float32() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 4)).astype(np.float32)
    scale = np.array([[0.1], [0.3], [0.7]], np.float32)
    nodes = [
        helper.make_node(
            "Quant", ["w", "s", "z", "b"], ["wq"], domain=QONNX, signed=1, narrow=1,
            rounding_mode="ROUND",
        ),
        helper.make_node("Transpose", ["wq"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "wt"], ["m"]),
        helper.make_node("Pow", ["variance", "half"], ["deviation"]),
        helper.make_node("Div", ["m", "deviation"], ["y"]),
    ]  # fmt: skip
    constants = {"w": weight, "s": scale, "z": 0.0, "b": 4.0, "variance": [346.1243], "half": 0.5}
    oracle = Oracle(model(nodes, (1, 4), constants))
    q = np.clip(np.rint(weight.astype(np.float64) / scale), -7, 7)
    assert (oracle.constants["wt"] == (q * scale.astype(np.float64)).T).all()
    assert (oracle.constants["wt"] != oracle.constants["wt"].astype(np.float32)).any()
    [deviation] = oracle.constants["deviation"]
    assert deviation == np.sqrt(np.float32(346.1243))  # in float32, then exact
    assert oracle.dynamic == ("x", "m", "y")
    x = np.array([[[1.0, -2.0, 3.0, 0.5]]])
    exact = [
        sum(Fraction(v) * Fraction(w) for v, w in zip(x[0, 0], column, strict=True))
        for column in oracle.constants["wt"].T
    ]
    found = oracle.run(x)["m"][0, 0]
    for value, fraction in zip(found, exact, strict=True):
        assert abs(Fraction(value) - fraction) < Fraction(1, 2**48)


def test_a_folded_weight_keeps_its_zero_point() -> None:
    nodes = [
        helper.make_node("Quant", ["w", "s", "z", "b"], ["wq"], domain=QONNX, signed=0, narrow=0),
        one("Add", ["x", "wq"]),
    ]
    for zero_point in (3.0, 0.25):
        constants = {"w": [0.2, -9.0, 9.0], "s": 0.1, "z": zero_point, "b": 4.0}
        oracle = Oracle(model(nodes, (1, 3), constants))
        integers = [2 + int(zero_point), 0, 15]
        tenth = float(np.float32(0.1))
        assert oracle.constants["wq"].tolist() == [(q - zero_point) * tenth for q in integers]


def test_shapes_are_constants() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"], axis=0),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        one("Reshape", ["x", "target"]),
    ]
    constants = {"zero": np.array([0]), "rest": np.array([-1])}
    oracle = Oracle(model(nodes, (1, 1, 2, 3), constants))
    assert oracle.constants["target"].tolist() == [1, -1]
    assert oracle.dynamic == ("x", "y")
    assert oracle.run(np.arange(12.0).reshape(2, 1, 2, 3))["y"].tolist() == [
        [[0, 1, 2, 3, 4, 5]],
        [[6, 7, 8, 9, 10, 11]],
    ]


@pytest.mark.parametrize("domain", ["onnx.brevitas", "finn.custom_op.general", QONNX])
def test_repairs_domains_imports_inputs_and_symbolic_outputs(domain: str) -> None:
    node = helper.make_node("BipolarQuant", ["x", "s"], ["y"], domain=domain)
    broken = model([node], (1, 2), {"s": 1.0})
    del broken.opset_import[1:]
    broken.graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, ()))
    broken.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "batch"
    before = broken.SerializeToString()
    assert Oracle(broken).run([[[-3.0, 4.0]]])["y"].tolist() == [[[-1, 1]]]
    assert broken.SerializeToString() == before
    assert [entry.name for entry in repaired(broken).graph.input] == ["x"]


def test_an_integer_input() -> None:
    nodes = [helper.make_node("DequantizeLinear", ["x", "s", "z"], ["d"]), one("Relu", ["d"])]
    constants = {"s": 0.1, "z": np.array(-3, np.int8)}
    oracle = Oracle(model(nodes, (1, 2), constants, input_type=TensorProto.INT8))
    x = [[[-128, 127]]]
    tenth = float(np.float32(0.1))
    assert oracle.run(x)["d"].tolist() == [[[-125 * tenth, 130 * tenth]]]
    assert oracle.run_float32(x)["y"].tolist() == [[[0.0, float(np.float32(13))]]]


def test_two_inputs_are_refused() -> None:
    graph = model([one("Add", ["x", "z"])], (1, 2))
    graph.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 2)))
    with pytest.raises(SiraError, match="expected one graph input, found x, z"):
        Oracle(graph)


def test_a_symbolic_batch_is_refused() -> None:
    graph = model([one("Relu", ["x"])], (1, 2))
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(SiraError, match=r"x: the input's shape is not fixed.*\['batch', 2\]"):
        Oracle(graph)


# Tails


def test_a_tail_runs_between_two_tensors_only() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "c"], ["m"]),
        helper.make_node("Add", ["m", "d"], ["a"]),
        one("Quant", ["a", "s", "z", "b"], QONNX, signed=0, narrow=0, rounding_mode="FLOOR"),
    ]
    constants = {"c": 100.0, "d": [[0.5, 0.25]], "s": 0.25, "z": 0.0, "b": 3.0}
    oracle = Oracle(model(nodes, (1, 2), constants))
    points = np.array([[[k / 8, k / 8 - FINE]] for k in range(-8, 16)])
    expected = [
        [[min(max(a // 0.25, 0), 7) / 4 for a in (k / 8 + 0.5, k / 8 - FINE + 0.25)]]
        for k in range(-8, 16)
    ]
    assert oracle.run_tail("m", "y", points).tolist() == expected
    assert (oracle.run_tail("a", "a", points) == points).all()


# Most of these would go wrong, or fail, if points were simply stacked along axis 0.
TAILS: dict[str, tuple[onnx.NodeProto, tuple[int, ...], dict[str, Any]]] = {
    "a constant with rows": (one("Add", ["x", "c"]), (1, 2), {"c": [[0.0], [1.0], [2.0]]}),
    "a constant of higher rank": (one("Mul", ["x", "c"]), (1, 2), {"c": [[[1.0]], [[2.0]]]}),
    "softmax over axis 0": (one("Softmax", ["x"], axis=0), (1, 2), {}),
    "no leading 1": (one("Relu", ["x"]), (2, 3), {}),
    "a vector": (one("Neg", ["x"]), (1,), {}),
    "a reshape": (one("Reshape", ["x", "c"]), (1, 4), {"c": np.array([2, 2])}),
    "a transpose": (one("Transpose", ["x"], perm=[1, 0]), (1, 3), {}),
    "a scale along axis 0": (
        helper.make_node("DequantizeLinear", ["x", "c"], ["y"], axis=0), (1, 2), {"c": [0.5]},
    ),
    "channels first": (
        one("MultiThreshold", ["x", "c"], QONNX, out_dtype="UINT2", data_layout="CN"),
        (1, 2), {"c": [[0.0, 1.0]]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TAILS)
def test_tails_of_several_points_equal_those_of_each(case: str) -> None:
    node, shape, constants = TAILS[case]
    if node.op_type == "DequantizeLinear":
        nodes = [
            helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
            helper.make_node("DequantizeLinear", ["i", "c"], ["y"], axis=0),
        ]
    else:
        nodes = [node]
    oracle = Oracle(model(nodes, shape, constants))
    points = np.arange(-3.0, -3.0 + 3 * np.prod(shape)).reshape(3, *shape)
    each = [oracle.run(point[None])["y"][0] for point in points]
    assert oracle.run_tail("x", "y", points).tolist() == np.stack(each).tolist()


def test_a_tail_with_another_source_is_an_error() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Neg", ["x"], ["b"]),
        one("Add", ["a", "b"]),
    ]
    oracle = Oracle(model(nodes, (1, 2)))
    with pytest.raises(SiraError, match=r"y is not a function of a alone.*found x"):
        oracle.run_tail("a", "y", np.zeros((1, 1, 2)))
    with pytest.raises(SiraError, match="a is not a function of y alone"):
        oracle.run_tail("y", "a", np.zeros((1, 1, 2)))
    oracle = Oracle(model([one("Add", ["x", "c"])], (1, 2), {"c": 1.0}))
    with pytest.raises(SiraError, match=r"c is not a function of x alone.*found constants only"):
        oracle.run_tail("x", "c", np.zeros((1, 1, 2)))


def test_what_others_cannot_execute_is_one_clear_line() -> None:
    node = one("NoSuchOperator", ["x"], QONNX)
    with pytest.raises(SiraError, match="the model cannot be checked by execution, expected oper"):
        Oracle(model([node], (1, 2)))


@pytest.mark.parametrize("version", [1, 2])
def test_integers_of_trunc(version: int) -> None:
    """Its first version keeps scale and zero point, the second has a scale of its own."""
    names = ["x", "s", "z", "i", *(["t"] if version == 2 else []), "o"]
    constants = {"s": 0.3, "z": 8.0, "i": 6.0, "t": 1.2, "o": 4.0}
    node = one(
        "Trunc", names, QONNX, rounding_mode="FLOOR", **({"signed": 1} if version == 2 else {})
    )
    oracle = Oracle(model([node], (1, 40), {n: constants[n] for n in names[1:]}))
    q = np.arange(-20, 20)
    scale = np.float64(np.float32(0.3))
    assert oracle.quantizers == ("y",)
    found = oracle.integers("y", oracle.run((q * scale)[None])["y"])[0, 0]
    shifted = (q + 8) // 4  # two bits less
    assert (found == (np.clip(shifted, -8, 7) if version == 2 else shifted)).all()
