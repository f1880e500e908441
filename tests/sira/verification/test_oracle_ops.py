"""The oracle's operators against hand-computed numbers and exact fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Net

from sira.verification.oracle import Oracle

QONNX = "qonnx.custom_op.general"
FINE = 2.0**-40  # far below what float32 resolves at 1


def model(
    nodes: list[onnx.NodeProto],
    shape: tuple[int, ...],
    constants: dict[str, Any] | None = None,
    *,
    opset: int = 13,
    output_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model from ``x`` of ``shape`` to the last node's first output; constants float32."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], output_type, None)],
    )
    for name, value in (constants or {}).items():
        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        graph.initializer.append(numpy_helper.from_array(array, name))
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(QONNX, 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=imports)


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


def test_integers_of_a_quantizer_hold_its_zero_point() -> None:
    node = one("Quant", ["x", "s", "z", "b"], QONNX, signed=0, narrow=0, rounding_mode="ROUND")
    constants = {"s": [[0.1, 0.5]], "z": 3.0, "b": 4.0}
    oracle = Oracle(model([node], (1, 2), constants))
    values = oracle.run([[[-0.2, 1.0]], [[9.0, -9.0]]])["y"]
    assert oracle.integers("y", values).tolist() == [[[1, 5]], [[15, 0]]]


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
    graph = model([node], (1, 3), constants)
    del graph.opset_import[1:]  # then six inputs alone tell that it is version 2
    # integers 7, 9, 200 / 2^2, clamped to 15, rounded up, times the output's scale
    x, expected = [[[3.5, 4.5, 100.0]]], [[[4.0, 6.0, 30.0]]]
    assert Oracle(graph).run(x)["y"].tolist() == expected
    assert Oracle(graph).run_float32(x)["y"].tolist() == expected


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


def test_quantize_along_the_middle_axis() -> None:
    node = one("QuantizeLinear", ["x", "s"], axis=1)
    x = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    assert run(node, x[0], {"s": [1.0, 0.5]}, output_type=TensorProto.UINT8) == [1, 4, 3, 8]
    oracle = Oracle(model([node], (1, 2, 2), {"s": [1.0, 0.5]}, output_type=TensorProto.UINT8))
    assert oracle.run(x[None])["y"].tolist() == [[[[1, 2], [6, 8]]]]


def test_dequantize_linear_keeps_large_integers() -> None:
    weight = np.array([2**24 + 1, -(2**31)], np.int32)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        one("Add", ["x", "d"]),
    ]
    oracle = Oracle(model(nodes, (1, 2), {"w": weight, "s": 0.5}))
    assert oracle.constants["d"].tolist() == [(2**24 + 1) / 2, -(2.0**30)]


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_keeps_its_sign_far_below_zero(approximate: str) -> None:
    """1 + erf(-9 / sqrt 2) is 0 in float64, but Gelu(-9) is not."""
    net = Net((1, 4), opset=20)
    name = net.node("Gelu", "x", approximate=approximate)
    x = np.array([[[-9.0, -6.0, -0.5, 3.0]]])
    found = Oracle(net.proto()).run(x)[name].ravel()
    with mpmath.workdps(50):
        for value, y in zip(x.ravel().tolist(), found.tolist(), strict=True):
            v = mpmath.mpf(value)
            if approximate == "tanh":
                inner = mpmath.sqrt(2 / mpmath.pi) * (v + mpmath.mpf(0.044715) * v**3)
                exact = v / 2 * (1 + mpmath.tanh(inner))
            else:
                exact = v / 2 * mpmath.erfc(-v / mpmath.sqrt(2))
            assert abs(mpmath.mpf(y) - exact) <= abs(exact) * mpmath.mpf(2) ** -44
