"""The oracle against hand-computed numbers, exact fractions and qonnx's float32 executor."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sira.errors import SiraError
from sira.oracle import Oracle, repaired

MODELS = Path(__file__).parents[1] / "models"
BUNDLED = ("digits_mlp_w2a2", "digits_mlp_w1a1", "digits_mlp_w4a4")
QONNX = "qonnx.custom_op.general"
FINE = 2.0**-40  # far below what float32 resolves at 1


def model(
    nodes: list[onnx.NodeProto],
    shape: tuple[int, ...],
    constants: dict[str, Any] | None = None,
    *,
    opset: int = 13,
    input_type: int = TensorProto.FLOAT,
    output_type: int = TensorProto.FLOAT,
    domains: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """A model from ``x`` of ``shape`` to the last node's first output; constants float32."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", input_type, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], output_type, None)],
    )
    for name, value in (constants or {}).items():
        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        graph.initializer.append(numpy_helper.from_array(array, name))
    imports = {"": opset, QONNX: 1} | (domains or {})
    return helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid(d, v) for d, v in imports.items()]
    )


def one(op: str, inputs: list[str], domain: str = "", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, ["y"], domain=domain, **attributes)


def run(
    node: onnx.NodeProto,
    x: list[float] | NDArray[Any],
    constants: dict[str, Any] | None = None,
    **options: Any,
) -> list[float]:
    """Runs one node on one sample (1, n), and returns the output's elements."""
    values = np.array(x, np.float64)
    values = values[None] if values.ndim == 1 else values
    oracle = Oracle(model([node], values.shape, constants, **options))
    return oracle.run(values[None])["y"].ravel().tolist()


def quant(
    x: list[float],
    scale: Any = 1.0,
    zero_point: Any = 0.0,
    bits: float = 8,
    signed: int = 1,
    narrow: int = 0,
    mode: str = "ROUND",
    op: str = "Quant",
) -> list[float]:
    node = one(op, ["x", "s", "z", "b"], QONNX, signed=signed, narrow=narrow, rounding_mode=mode)
    return run(node, x, {"s": scale, "z": zero_point, "b": bits})


# Rounding, by hand. Halves show the direction of ties; 1 + FINE is 1 in float32.
POINTS = [-2.5, -1.5, -1.25, -0.5, -0.25, 0.25, 0.5, 1 + FINE, 1.25, 1.5, 2.5]
ROUNDED = {
    "ROUND": [-2, -2, -1, 0, 0, 0, 0, 1, 1, 2, 2],
    "HALF_EVEN": [-2, -2, -1, 0, 0, 0, 0, 1, 1, 2, 2],
    "CEIL": [-2, -1, -1, 0, 0, 1, 1, 2, 2, 2, 3],
    "FLOOR": [-3, -2, -2, -1, -1, 0, 0, 1, 1, 1, 2],
    "UP": [-3, -2, -2, -1, -1, 1, 1, 2, 2, 2, 3],
    "DOWN": [-2, -1, -1, 0, 0, 0, 0, 1, 1, 1, 2],
    "HALF_UP": [-3, -2, -1, -1, 0, 0, 1, 1, 1, 2, 3],
    "HALF_DOWN": [-2, -1, -1, 0, 0, 0, 0, 1, 1, 1, 2],
}


@pytest.mark.parametrize("op", ["Quant", "IntQuant"])
@pytest.mark.parametrize("mode", ROUNDED)
def test_rounding_modes(mode: str, op: str) -> None:
    assert quant(POINTS, mode=mode, op=op) == ROUNDED[mode]
    assert quant([p / 4 for p in POINTS], 0.25, mode=mode) == [r / 4 for r in ROUNDED[mode]]


def rounded(value: Fraction, mode: str) -> int:
    """``value`` rounded as the QONNX operator set describes each mode."""
    low = value.numerator // value.denominator
    part = value - low
    toward_zero = low if value >= 0 or part == 0 else low + 1
    away = toward_zero if part == 0 else low + 1 if value > 0 else low
    nearest = low + (part > Fraction(1, 2))
    tie = part == Fraction(1, 2)
    match mode:
        case "ROUND" | "HALF_EVEN":
            return low + low % 2 if tie else nearest
        case "CEIL":
            return low + (part > 0)
        case "FLOOR":
            return low
        case "UP":
            return away
        case "DOWN":
            return toward_zero
        case "HALF_UP":
            return away if tie else nearest
        case _:
            return toward_zero if tie else nearest


@pytest.mark.parametrize("mode", ROUNDED)
@pytest.mark.parametrize("signed, narrow", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("zero_point", [0.0, 3.0, -2.0, 0.5])
def test_quant_equals_exact_fractions(
    mode: str, signed: int, narrow: int, zero_point: float
) -> None:
    bits, scale = 3, Fraction(3, 8)
    low, high = (-4 + narrow, 3) if signed else (0, 7 - narrow)
    x = [k / 32 + FINE * (k % 3 - 1) for k in range(-160, 161)]
    expected = []
    for value in x:
        offset = Fraction(value) / scale + Fraction(zero_point)
        q = rounded(min(max(offset, Fraction(low)), Fraction(high)), mode)
        expected.append(float((q - Fraction(zero_point)) * scale))
    found = quant(x, float(scale), zero_point, bits, signed, narrow, mode)
    assert found == expected


def test_quant_clamps_before_it_rounds() -> None:
    # FLOOR of the clamped 7.5 + 0.5 zero point would be 8 if rounding came first.
    assert quant([7.25, 100.0, -100.0], bits=4, signed=0, mode="CEIL") == [8, 15, 0]
    assert quant([-7.5, 7.5], bits=4, signed=1, narrow=1, mode="UP") == [-7, 7]
    assert quant([3.2], bits=2.5, signed=0, mode="CEIL") == [4]  # clamped to 2^2.5 - 1 = 4.66


def test_quant_one_signed_bit_is_bipolar() -> None:
    assert quant([-0.5, -FINE, 0.0, 0.25], 0.5, bits=1) == [-0.5, -0.5, 0.5, 0.5]
    assert quant([-0.5, 0.25, 0.5, 9.0], bits=1, signed=0) == [0, 0, 0, 1]


def test_quant_zero_point_is_added_before_rounding() -> None:
    # 0.5 + 1 rounds to 2 and means 1; rounding first would give 0.
    assert quant([0.5], zero_point=1.0, signed=0) == [1.0]
    assert quant([-1.0, -9.0], 0.5, 3.0, bits=4, signed=0) == [-1.0, -1.5]


def test_quant_scale_per_channel_is_the_exact_float32_number() -> None:
    scales = np.array([[0.1, 0.3]], np.float32)
    tenth, third = map(float, scales[0])
    assert quant([0.29, 0.74], scales) == [3 * tenth, 2 * third]


def test_bipolar_quant() -> None:
    node = one("BipolarQuant", ["x", "s"], QONNX)
    assert run(node, [-2.0, -FINE, 0.0, 1.0], {"s": 0.75}) == [-0.75, -0.75, 0.75, 0.75]


def test_multithreshold_counts_scales_and_adds() -> None:
    thresholds = np.array([[0, 1, 2], [-1, 1, 1]], np.float32)
    node = one("MultiThreshold", ["x", "t"], QONNX, out_dtype="INT4", out_scale=0.5, out_bias=-1.0)
    assert run(node, [1 - FINE, 1.0], {"t": thresholds}) == [-0.5, 0.5]
    oracle = Oracle(model([node], (1, 2), {"t": thresholds}))
    values = oracle.run([[[1 - FINE, 1.0]], [[-9.0, 9.0]]])["y"]
    assert oracle.integers("y", values).tolist() == [[[1, 3]], [[0, 3]]]


def test_multithreshold_of_channels_last_data() -> None:
    thresholds = np.array([[0.0], [10.0]], np.float32)
    node = one("MultiThreshold", ["x", "t"], QONNX, out_dtype="UINT1", data_layout="NHWC")
    x = np.array([[[[5.0, 5.0], [11.0, 11.0], [-1.0, 10.0]]]])  # (1, 1, 3, 2)
    assert run(node, x, {"t": thresholds}) == [1, 0, 1, 1, 0, 1]


def test_trunc_keeps_scale_and_does_not_clamp() -> None:
    node = one("Trunc", ["x", "s", "z", "i", "o"], QONNX, rounding_mode="FLOOR")
    constants = {"s": 0.5, "z": 0.0, "i": 8.0, "o": 6.0}
    # integers 7, -7, 1001 / 4, floored, times the input's scale
    assert run(node, [3.5, -3.5, 500.5], constants) == [0.5, -1.0, 125.0]


def test_trunc_of_six_inputs_clamps_to_the_output() -> None:
    names = ["x", "s", "z", "i", "t", "o"]
    node = one("Trunc", names, QONNX, rounding_mode="CEIL", signed=0, narrow=0)
    constants = {"s": 0.5, "z": 0.0, "i": 8.0, "t": 2.0, "o": 4.0}
    # integers 7, 9, 200 / 2^2, clamped to 15, rounded up, times the output's scale
    assert run(node, [3.5, 4.5, 100.0], constants, domains={QONNX: 2}) == [4.0, 6.0, 30.0]


@pytest.mark.parametrize("opset", [7, 9, 13, 14, 15])
def test_batch_normalization_uses_the_given_statistics(opset: int) -> None:
    node = one("BatchNormalization", ["x", "g", "b", "m", "v"], epsilon=0.25)
    constants = {"g": [2.0, -3.0], "b": [1.0, 0.5], "m": [3.0, 1.0], "v": [3.75, 0.0]}
    # 2 (x - 3) / sqrt(4) + 1 and -3 (x - 1) / sqrt(1/4) + 1/2
    found = run(node, [5.0 + FINE, 0.0], constants, opset=opset)
    assert found == [3.0 + FINE, 6.5]


def test_float_attributes_are_widened_float32_numbers() -> None:
    tenth = float(np.float32(0.1))
    assert run(one("LeakyRelu", ["x"], alpha=0.1), [-1.0, 2.0]) == [-tenth, 2.0]
    node = one("BatchNormalization", ["x", "g", "b", "m", "v"])  # default epsilon
    found = run(node, [1.0], {"g": [1.0], "b": [0.0], "m": [0.0], "v": [0.0]})
    assert found == [1.0 / np.sqrt(float(np.float32(1e-5)))]


IDENTITIES: dict[str, tuple[onnx.NodeProto, dict[str, Any]]] = {
    "Cast": (one("Cast", ["x"], to=TensorProto.FLOAT), {}),
    "Relu": (one("Relu", ["x"]), {}),
    "LeakyRelu": (one("LeakyRelu", ["x"], alpha=0.5), {}),
    "PRelu": (one("PRelu", ["x", "c"]), {"c": [0.5, 0.5]}),
    "Clip": (one("Clip", ["x", "a", "b"]), {"a": -1.0, "b": 4.0}),
    "Add": (one("Add", ["x", "c"]), {"c": 0.0}),
    "Sub": (one("Sub", ["x", "c"]), {"c": [0.0, 0.0]}),
    "Mul": (one("Mul", ["x", "c"]), {"c": 1.0}),
    "Div": (one("Div", ["x", "c"]), {"c": 1.0}),
    "MatMul": (one("MatMul", ["x", "c"]), {"c": np.eye(2, dtype=np.float32)}),
    "Gemm": (
        one("Gemm", ["x", "c", "d"], transB=1, alpha=1.0, beta=1.0),
        {"c": np.eye(2, dtype=np.float32), "d": [0.0, 0.0]},
    ),
    "Flatten": (one("Flatten", ["x"]), {}),
    "Transpose": (one("Transpose", ["x"], perm=[0, 1]), {}),
    "Identity": (one("Identity", ["x"]), {}),
    "Dropout": (one("Dropout", ["x"]), {}),
    "Quant": (
        one("Quant", ["x", "s", "z", "b"], QONNX, signed=1, narrow=0, rounding_mode="ROUND"),
        {"s": np.float32(2.0**-40), "z": 0.0, "b": 48.0},
    ),
}


@pytest.mark.parametrize("op", IDENTITIES)
def test_every_op_computes_in_float64(op: str) -> None:
    node, constants = IDENTITIES[op]
    assert run(node, [1 + FINE, 3 - FINE], constants) == [1 + FINE, 3 - FINE]


@pytest.mark.parametrize("opset", [9, 11, 12, 13, 20])
def test_dropout_passes_its_input(opset: int) -> None:
    assert run(one("Dropout", ["x"]), [1 + FINE, -2.0], opset=opset) == [1 + FINE, -2.0]


def test_sigmoid_in_float64() -> None:
    node = one("Sigmoid", ["x"])
    [found] = run(node, [np.log(3.0)])
    assert abs(Fraction(found) - Fraction(3, 4)) < Fraction(1, 2**50)


def test_ties_of_arg_max_and_top_k_go_to_the_lower_index() -> None:
    node = one("ArgMax", ["x"], axis=1, keepdims=0)
    assert run(node, [1.0, 3.0, 3.0], output_type=TensorProto.INT64) == [1]
    top = helper.make_node("TopK", ["x", "k"], ["values", "y"], axis=1)
    constants = {"k": np.array([2])}
    assert run(top, [3.0, 1.0, 3.0], constants, output_type=TensorProto.FLOAT) == [0, 2]


# QuantizeLinear and DequantizeLinear


def test_quantize_linear_rounds_then_adds_then_saturates() -> None:
    node = one("QuantizeLinear", ["x", "s", "z"])
    constants = {"s": 0.5, "z": np.array(1, np.uint8)}
    # 0.5 rounds to 0 and becomes 1; Quant would round 1.5 to 2
    x = [0.25, 0.75, -9.0, 200.0, 1e30]
    found = run(node, x, constants, output_type=TensorProto.UINT8)
    assert found == [1, 3, 0, 255, 255]
    constants = {"s": 1.0, "z": np.array(-3, np.int8)}
    found = run(node, [-1e30, 1e30, 0.5 + FINE], constants, output_type=TensorProto.INT8)
    assert found == [-128, 127, -2]


def test_quantize_linear_without_zero_point_is_unsigned() -> None:
    node = one("QuantizeLinear", ["x", "s"])
    assert run(node, [-1.0, 2.5, 300.0], {"s": 1.0}, output_type=TensorProto.UINT8) == [0, 2, 255]


def test_quantize_and_dequantize_along_an_axis() -> None:
    quantize = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1)
    dequantize = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=1)
    constants = {"s": [0.1, 0.5], "z": np.array([3, 0], np.int8)}
    oracle = Oracle(model([quantize, dequantize], (1, 2), constants))
    values = oracle.run([[[0.7, 0.8]], [[-100.0, 100.0]]])
    tenth = float(np.float32(0.1))
    assert values["q"].tolist() == [[[10, 2]], [[-128, 127]]]
    assert values["y"].tolist() == [[[7 * tenth, 1.0]], [[-131 * tenth, 63.5]]]
    assert oracle.quantizers == ("q",)
    assert oracle.integers("q", values["q"]).tolist() == [[[10, 2]], [[-128, 127]]]


def test_dequantize_linear_keeps_large_integers() -> None:
    weight = np.array([2**24 + 1, -(2**31)], np.int32)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        one("Add", ["x", "d"]),
    ]
    oracle = Oracle(model(nodes, (1, 2), {"w": weight, "s": 0.5}))
    assert oracle.constants["d"].tolist() == [(2**24 + 1) / 2, -(2.0**30)]


# Constants


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
    assert [abs(Fraction(a) - b) < Fraction(1, 2**48) for a, b in zip(found, exact, strict=True)]


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


# Each of these would go wrong, or fail, if points were simply stacked along axis 0.
UNSTACKABLE: dict[str, tuple[onnx.NodeProto, tuple[int, ...], dict[str, Any]]] = {
    "a constant with rows": (one("Add", ["x", "c"]), (1, 2), {"c": [[0.0], [1.0], [2.0]]}),
    "a constant of higher rank": (one("Mul", ["x", "c"]), (1, 2), {"c": [[[1.0]], [[2.0]]]}),
    "softmax over axis 0": (one("Softmax", ["x"], axis=0), (1, 2), {}),
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


@pytest.mark.parametrize("case", UNSTACKABLE)
def test_tails_of_several_points_equal_those_of_each(case: str) -> None:
    node, shape, constants = UNSTACKABLE[case]
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


# Whole networks


def bundled(name: str) -> Oracle:
    return Oracle(onnx.load(MODELS / f"{name}.onnx"))


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    with np.load(MODELS / "digits_test.npz") as data:
        return data["x"], data["y"]


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_models_equal_float32_at_every_quantizer(name: str, digits: Any) -> None:
    # Nothing in these images comes within 1e-5 steps of a threshold, so there are no ties.
    oracle, x = bundled(name), digits[0][::6]
    exact, float32 = oracle.run(x), oracle.run_float32(x, oracle.quantizers)
    assert len(oracle.quantizers) >= 3
    for tensor in oracle.quantizers:
        integers = oracle.integers(tensor, exact[tensor])
        assert np.unique(integers).size > 1
        assert (integers == oracle.integers(tensor, float32[tensor])).all(), tensor


@pytest.mark.parametrize("name, right", [
    ("digits_mlp_w2a2", 351), ("digits_mlp_w1a1", 345), ("digits_mlp_w4a4", 356),
])  # fmt: skip
def test_bundled_models_classify_as_stated(name: str, right: int, digits: Any) -> None:
    x, y = digits
    oracle = bundled(name)
    scores = oracle.run(x, [oracle.dynamic[-1]])[oracle.dynamic[-1]]
    assert scores.shape == (360, 1, 10)
    assert int((scores[:, 0].argmax(axis=1) == y).sum()) == right
    assert f"{right / 360:.2%}".replace("%", " %") in (MODELS / "README.md").read_text()


def test_integers_of_the_first_layers_by_hand(digits: Any) -> None:
    """The ternary network up to its second quantizer, from the file's bytes, in integers."""
    file = onnx.load(MODELS / "digits_mlp_w2a2.onnx")
    arrays = {t.name: numpy_helper.to_array(t) for t in file.graph.initializer}
    oracle, x = Oracle(file), digits[0][:100]
    values = oracle.run(x)
    first, second, _ = oracle.quantizers
    pixels = np.minimum(x.reshape(-1, 64) * 16, 15).astype(np.int64)
    assert (oracle.integers(first, values[first]).reshape(-1, 64) == pixels).all()
    weights = np.rint(np.clip(arrays["2.weight"], -1, 1)).astype(np.int64)
    accumulators = pixels @ weights.T
    assert (values["/2/MatMul_output_0"][:, 0] * 16 == accumulators).all()
    channels = ("weight", "bias", "running_mean", "running_var")
    gamma, beta, mean, variance = ([*map(Fraction, arrays[f"3.{c}"].tolist())] for c in channels)
    epsilon = Fraction(float(np.float32(1e-5)))
    for channel in range(64):
        found = oracle.integers(second, values[second])[:, 0, channel]
        for accumulator in np.unique(accumulators[:, channel]).tolist():
            # gamma (a - mean) / sqrt(variance + epsilon) + beta >= 1/2, without the root
            centred = gamma[channel] * (Fraction(accumulator, 16) - mean[channel])
            squared = variance[channel] + epsilon

            def reaches(
                step: Fraction, c: Fraction = centred, s: Fraction = squared, n: int = channel
            ) -> bool:
                need = step - beta[n]
                if c >= 0:
                    return need <= 0 or c * c >= need * need * s
                return need <= 0 and c * c <= need * need * s

            count = reaches(Fraction(1, 2)) + reaches(Fraction(-1, 2)) - 1
            assert (found[accumulators[:, channel] == accumulator] == count).all()


@pytest.mark.parametrize("name", BUNDLED)
def test_tails_of_bundled_models_repeat_the_run(name: str, digits: Any) -> None:
    oracle, x = bundled(name), digits[0][:40]
    values = oracle.run(x)
    sources = [t for t in oracle.dynamic if "MatMul" in t or t.startswith("linear")]
    for source, target in zip(sources, oracle.quantizers[-2:], strict=False):
        assert (oracle.run_tail(source, target, values[source]) == values[target]).all()


# Models that are not part of the project: the folder is named by SIRA_MODELS


def outside(name: str) -> Path:
    folder = os.environ.get("SIRA_MODELS")
    if not folder:
        pytest.skip("SIRA_MODELS does not name a folder of models")
    return Path(folder) / name


@pytest.mark.parametrize("name", ["TFC_2W2A", "TFC_1W1A", "unsw_nb15-mlp-w2a2"])
def test_outside_models_equal_float32_at_every_quantizer(name: str) -> None:
    oracle = Oracle(onnx.load(outside(f"{name}.onnx")))
    rng = np.random.default_rng(0)
    x: NDArray[Any] = rng.choice([-1.0, 1.0], (12, *oracle.input_shape))
    if name.startswith("TFC"):
        x = (rng.integers(0, 256, (12, *oracle.input_shape)) / 255).astype(np.float32)
    exact, float32 = oracle.run(x), oracle.run_float32(x)
    for tensor in oracle.quantizers:
        integers = oracle.integers(tensor, exact[tensor])
        assert (integers == oracle.integers(tensor, float32[tensor])).all(), tensor


@pytest.mark.parametrize("name", ["digits_mlp_s0_w4a4", "digits_mlp_s0_w8a8"])
def test_outputs_recorded_by_the_exporter(name: str) -> None:
    """They are float32, so they agree within the a-priori bound of the last float32 layer."""
    oracle = Oracle(onnx.load(outside(f"{name}.onnx")))
    with np.load(outside(f"{name}_io.npz")) as data:
        x, y, recorded = data["x"], data["y"], data["out"].astype(np.float64)
    last, out = oracle.quantizers[-1], oracle.dynamic[-1]
    values = oracle.run(x, [last, out])
    activations, scores = values[last][:, 0], values[out][:, 0]
    weights, bias = oracle.constants["_symbolic_5"], oracle.constants["layers.2.bias"]
    # K products and sums, one bias, and the roundings of both factors: (K + 4) half-ulps
    bound = (weights.shape[1] + 4) * 2.0**-24 * (activations @ abs(weights.T) + abs(bias))
    assert (abs(recorded - scores) <= bound).all()
    assert bound.max() < 1e-3
    assert (recorded.argmax(1) == y).sum() == (scores.argmax(1) == y).sum()
