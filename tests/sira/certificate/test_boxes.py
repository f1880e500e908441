"""Every operator that integer models hold: boxes against all inputs, and each claim mutated."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from certificates import Claims, every, mutations, small_model
from numpy.typing import NDArray
from onnx import helper, shape_inference
from onnx.reference import ReferenceEvaluator

from hls.lower.rules import RULES
from sira.certificate.boxes import Rejected
from sira.certificate.checker import FORMAT, check, entry
from sira.certificate.model import layers

LO, HI = -1, 2
SQUARE, COLUMN = (1, 1, 2, 2), (1, 4, 1, 1)
Nodes = list[tuple[str, list[str], dict[str, Any]]]
STEPS = np.array([[[[0, 3], [-2, 1]]]])
NEAREST = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}

# operators between x and u, with their constants
CASES: dict[str, tuple[tuple[int, ...], Nodes, dict[str, Any]]] = {
    "Identity": (SQUARE, [("Identity", ["x"], {})], {}),
    "Reshape": (SQUARE, [("Reshape", ["x", "i"], {})], {"i": [2, 2]}),
    "Flatten": (SQUARE, [("Flatten", ["x"], {})], {}),
    "Squeeze": (SQUARE, [("Squeeze", ["x", "i"], {})], {"i": [0, 1]}),
    "Unsqueeze": (SQUARE, [("Unsqueeze", ["x", "i"], {})], {"i": [0]}),
    "Transpose": (SQUARE, [("Transpose", ["x"], {"perm": [0, 3, 2, 1]})], {}),
    "Concat": (SQUARE, [("Concat", ["x", "x"], {"axis": 1})], {}),
    "Slice": (SQUARE, [("Slice", ["x", "i0", "i1", "i2"], {})], {"i0": [1], "i1": [2], "i2": [2]}),
    "Gather": (SQUARE, [("Gather", ["x", "i"], {"axis": 3})], {"i": [1, 1, 0]}),
    "Split": (COLUMN, [("Split", ["x", "i"], {"axis": 1})], {"i": [1, 3]}),
    "Expand": (COLUMN, [("Expand", ["x", "i"], {})], {"i": [1, 4, 2, 1]}),
    "Tile": (COLUMN, [("Tile", ["x", "i"], {})], {"i": [1, 1, 1, 2]}),
    "DepthToSpace": (COLUMN, [("DepthToSpace", ["x"], {"blocksize": 2, "mode": "CRD"})], {}),
    "SpaceToDepth": (SQUARE, [("SpaceToDepth", ["x"], {"blocksize": 2})], {}),
    "Pad": (SQUARE, [("Pad", ["x", "i", "c"], {})], {"i": [0, 0, 1, 0, 0, 0, 0, 1], "c": -7.0}),
    "Pad with 0": (SQUARE, [("Pad", ["x", "i"], {})], {"i": [0, 0, 0, 2, 0, 0, 0, 0]}),
    "Pad with the edge": (
        SQUARE, [("Pad", ["x", "i"], {"mode": "edge"})], {"i": [0, 0, 0, 1, 0, 0, 0, 0]}
    ),
    "Resize": (SQUARE, [("Resize", ["x", "", "c"], NEAREST)], {"c": [1.0, 1, 2, 1]}),
    "Upsample": (SQUARE, [("Upsample", ["x", "c"], {"mode": "nearest"})], {"c": [1.0, 1, 1, 2]}),
    "Add": (SQUARE, [("Add", ["x", "c"], {})], {"c": STEPS}),
    "Sub": (SQUARE, [("Sub", ["x", "c"], {})], {"c": STEPS}),
    "Sub from a constant": (SQUARE, [("Sub", ["c", "x"], {})], {"c": STEPS}),
    "Mul": (SQUARE, [("Mul", ["x", "c"], {})], {"c": STEPS}),
    "Neg": (SQUARE, [("Neg", ["x"], {})], {}),
    "Relu": (SQUARE, [("Relu", ["x"], {})], {}),
    "Max": (SQUARE, [("Max", ["x", "c"], {})], {"c": STEPS}),
    "Min": (SQUARE, [("Min", ["c", "x"], {})], {"c": STEPS}),
    "Max of two": (
        SQUARE, [("Mul", ["x", "c"], {}), ("Transpose", ["x"], {"perm": [0, 1, 3, 2]}),
                 ("Max", ["t0", "t1"], {})], {"c": [[[[1, 3], [-2, 1]]]]}
    ),
    "Sub of two": (
        SQUARE, [("Add", ["x", "c"], {}), ("Concat", ["x", "x"], {"axis": 1}),
                 ("Slice", ["t1", "i0", "i1", "i0"], {}), ("Sub", ["t0", "t2"], {})],
        {"c": STEPS, "i0": [1], "i1": [2]},
    ),
    "x - (x + c)": (SQUARE, [("Add", ["x", "c"], {}), ("Sub", ["x", "t0"], {})], {"c": STEPS}),
    "MaxPool": (
        SQUARE, [("Add", ["x", "c"], {}),
                 ("MaxPool", ["t0"], {"kernel_shape": [2, 1], "pads": [1, 0, 0, 0]})],
        {"c": STEPS},
    ),
    "MaxPool with strides": (
        SQUARE, [("Add", ["x", "c"], {}),
                 ("MaxPool", ["t0"], {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1],
                                      "strides": [2, 1]})],
        {"c": STEPS},
    ),
    "GlobalMaxPool": (
        SQUARE, [("Add", ["x", "c"], {}), ("GlobalMaxPool", ["t0"], {})], {"c": STEPS}
    ),
}  # fmt: skip
EXACT = {name for name in CASES if name not in ("Sub of two",)}
"""Boxes that are as narrow as can be; a difference of copies is not understood as one value."""


def multiplied(name: str) -> onnx.ModelProto:
    """The case, laid out in a row ``u`` and multiplied by a matrix."""
    shape, nodes, given = CASES[name]
    constants = {n: np.array(v) for n, v in given.items()}
    opset = 9 if name == "Upsample" else 13
    made = []
    for number, (op, inputs, attributes) in enumerate(nodes):
        outputs = ["first", "t0"] if op == "Split" else [f"t{number}"]
        made.append(helper.make_node(op, inputs, outputs, f"{op}_{number}", **attributes))
    made.append(helper.make_node("Reshape", [made[-1].output[-1], "i_row"], ["u"], "row"))
    constants["i_row"] = np.array([1, -1])
    count = small_model(shape, (LO, HI), made, constants, opset)
    count.graph.output[0].name = "u"
    (u,) = ReferenceEvaluator(count).run(None, {"x": np.zeros(shape, np.float32)})
    constants["w"] = np.random.default_rng(len(name)).integers(-2, 3, (u.size, 2))
    made.append(helper.make_node("MatMul", ["u", "w"], ["y"], "m"))
    proto = small_model(shape, (LO, HI), made, constants, opset)
    return shape_inference.infer_shapes(proto)


def executed(proto: onnx.ModelProto, *tensors: str) -> list[NDArray[np.int64]]:
    """Tensors for all inputs."""
    del proto.graph.output[:]
    proto.graph.output.extend(
        helper.make_tensor_value_info(t, onnx.TensorProto.FLOAT, None) for t in tensors
    )
    shape = tuple(d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim)
    evaluator = ReferenceEvaluator(proto)
    runs = [
        evaluator.run(None, {"x": x.reshape(shape).astype(np.float32)})
        for x in every(range(LO, HI + 1), int(np.prod(shape)))
    ]
    return [np.stack(found).astype(np.int64) for found in zip(*runs, strict=True)]


def test_operators_that_have_hardware_are_among_them() -> None:
    """They may stand between two layers, where the checker must know them."""
    known = {op for _, nodes, _ in CASES.values() for op, *_ in nodes}
    of_test_model = {"MatMul", "Conv", "ConvTranspose", "MultiThreshold"}
    behind_all_layers = {"ArgMax", "Cast"}
    assert RULES.keys() - known == of_test_model | behind_all_layers


@pytest.mark.parametrize("name", CASES)
def test_boxes_behind_each_operator(name: str) -> None:
    proto = multiplied(name)
    (layer,) = layers(proto)
    claim = entry(layer)
    u, y = executed(proto, "u", "y")
    assert (layer.lo[0, 0] <= u.min(axis=0)[0]).all() and (layer.hi[0, 0] >= u.max(axis=0)[0]).all()
    if name in EXACT:
        assert layer.lo[0, 0].tolist() == u.min(axis=0)[0].tolist()
        assert layer.hi[0, 0].tolist() == u.max(axis=0)[0].tolist()
    lo, hi = y.min(axis=0)[0].tolist(), y.max(axis=0)[0].tolist()
    assert all(a <= b for a, b in zip(claim["lo"], lo, strict=True))
    assert all(a >= b for a, b in zip(claim["hi"], hi, strict=True))
    if len(CASES[name][1]) == 1:  # functions of one element, whose copies are known
        assert claim["attained"] == (claim["lo"] == lo and claim["hi"] == hi)


def certificate(proto: onnx.ModelProto) -> tuple[bytes, Claims]:
    data = proto.SerializeToString()
    return data, {
        "format": FORMAT,
        "model_sha256": hashlib.sha256(data).hexdigest(),
        "inputs": {"x": [LO, HI]},
        "layers": [entry(layer) for layer in layers(proto)],
    }


@pytest.mark.parametrize("name", CASES)
def test_any_changed_claim_is_rejected(name: str) -> None:
    data, claims = certificate(multiplied(name))
    assert check(data, claims) == 2
    (layer,) = claims["layers"]
    tried = 0
    for what, changed in list(mutations(layer))[len(name) % 3 :: 3]:  # others in other cases
        with pytest.raises(Rejected):
            check(data, claims | {"layers": [changed]})
            pytest.fail(f"accepted: {what}")
        tried += 1
    assert tried > 20


TRANSPOSED: list[dict[str, Any]] = [
    {"strides": [2, 2]},
    {"strides": [2, 1], "pads": [1, 0, 0, 1]},
    {"strides": [3, 2], "output_padding": [1, 1]},
    {"strides": [1, 2], "dilations": [2, 1], "pads": [0, 1, 1, 0]},
    {"strides": [2, 2], "group": 2},
]


@pytest.mark.parametrize("number", range(len(TRANSPOSED)))
def test_transposed_convolutions(number: int) -> None:
    """Bounds over all positions of all inputs, as the definition executes them."""
    attributes = TRANSPOSED[number]
    group = attributes.get("group", 1)
    shape = (1, 2, 1, 2) if group == 2 else SQUARE
    w = np.random.default_rng(number).integers(-3, 4, (shape[1], 2, 2, 3))
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], "c", **attributes)
    proto = small_model(shape, (LO, HI), [node], {"w": w})
    proto.ir_version = 8
    proto.graph.input[0].type.tensor_type.shape.dim[0].ClearField("dim_value")
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    (layer,) = layers(proto)
    data, claims = certificate(proto)
    inputs = every(range(LO, HI + 1), 4).reshape(-1, *shape[1:]).astype(np.float32)
    y = session.run(None, {"x": inputs})[0].astype(np.int64)
    (claim,) = claims["layers"]
    axes = (0, 2, 3)
    assert claim["lo"] == y.min(axis=axes).tolist() and claim["hi"] == y.max(axis=axes).tolist()
    assert claim["attained"] and len(layer.weights) == 2 * group
    assert check(data, claims) == 2 * group
    for what, changed in list(mutations(claim))[::3]:
        with pytest.raises(Rejected):
            check(data, claims | {"layers": [changed]})
            pytest.fail(f"accepted: {what}")


@pytest.mark.parametrize("nodes, constants, message", [
    ([("ConvTranspose", {"auto_pad": "SAME_UPPER"})], {"c": np.ones((1, 1, 2, 2))},
     "auto_pad is not supported"),
    ([("ConvTranspose", {"output_shape": [4, 4]})], {"c": np.ones((1, 1, 2, 2))},
     "output_shape is not supported"),
    ([("ConvTranspose", {})], {"c": np.ones((2, 1, 2, 2))}, "do not fit"),
    ([("Pad", {"mode": "constant"})], {"c": np.array([0.5])}, "constants that are no integers"),
])  # fmt: skip
def test_what_is_not_understood(nodes: Any, constants: Any, message: str) -> None:
    ((op, attributes),) = nodes
    inputs = ["x", "i", "c"] if op == "Pad" else ["x", "c"]
    arrays = {"i": np.array([0] * 7 + [1])} | constants if op == "Pad" else constants
    made = [helper.make_node(op, inputs, ["y"], op, **attributes)]
    with pytest.raises(Rejected, match=message):
        list(layers(small_model(SQUARE, (LO, HI), made, arrays)))
