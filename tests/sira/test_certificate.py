"""Certificates: proved where true, rejected with any claim changed; bounds by brute force."""

from __future__ import annotations

import ast
import copy
import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Net, integers
from random_nets import random_case

import sira
from sira import certificate as checker
from sira import certificate_model, certify
from sira import graph as g
from sira.analysis import Ranges, analyze
from sira.certificate import Rejected, check, entry, main
from sira.certificate_model import Layer, layers
from sira.datatypes import InputSpec, parse_input
from sira.load import load, prepare
from sira.scaled import ScaledInt
from transforms import annotate_accumulators, to_canonical, to_thresholds

BUNDLED = Path(__file__).parents[1] / "models"
PIXELS = parse_input("UINT8,scale=1/255", [])[1]

Claims = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Case:
    """An integer model, its ranges, its file and its certificate."""

    model: ir.Model
    ranges: Ranges
    data: bytes
    claims: Claims


def certified(model: ir.Model, spec: InputSpec | None = None) -> Case:
    """The last stage of a model whose input is declared by ``spec``."""
    inputs = {} if spec is None else {g.name(model.graph.inputs[0]): spec}
    canonical = to_canonical(model)
    thresholds = to_thresholds(canonical, analyze(canonical, inputs))
    ranges = analyze(thresholds)
    integer = annotate_accumulators(thresholds, ranges)
    data = ir.to_proto(integer).SerializeToString()
    return Case(integer, ranges, data, certify.certificate(integer, ranges, data))


def perceptron() -> Case:
    """4 inputs of 2 bits, 3 neurons, 2 scores."""
    rng = np.random.default_rng(1)
    net = Net((1, 4))
    x = net.node("MatMul", "x", net.quant(rng.integers(-3, 4, (4, 3)), 1.0, 3))
    x = net.quant(x, 2.0, 2)
    net.node("MatMul", x, net.quant(rng.integers(-2, 3, (3, 2)), 1.0, 3))
    return certified(net.model(), integers(-1, 2))


def convolutions() -> Case:
    """Padding with a value that no input has, then a depthwise convolution with gaps, strided."""
    rng = np.random.default_rng(2)
    net = Net((1, 2, 5, 4))
    w = net.quant(rng.integers(-2, 3, (3, 2, 3, 2)), 1.0, 3)
    x = net.node("Conv", "x", w, pads=[1, 0, 1, 1], strides=[2, 1])
    x = net.quant(x, 3.0, 3, signed=0)
    w = net.quant(rng.integers(-2, 3, (3, 1, 2, 2)), 1.0, 3)
    net.node("Conv", x, w, pads=[1, 1, 0, 0], strides=[1, 2], dilations=[2, 1], group=3)
    return certified(net.model(), integers(1, 3))


@pytest.fixture(scope="module", params=[perceptron, convolutions])
def case(request: pytest.FixtureRequest) -> Case:
    made: Case = request.param()
    return made


# Models


@pytest.mark.parametrize("name", ["digits_mlp_w1a1", "digits_mlp_w2a2", "digits_mlp_w4a4"])
def test_bundled_models_are_proved(name: str) -> None:
    case = certified(load(BUNDLED / f"{name}.onnx"))
    channels = sum(len(layer["lo"]) for layer in case.claims["layers"])
    assert check(case.data, case.claims) == channels > 100
    assert all(layer["attained"] for layer in case.claims["layers"])


@pytest.mark.parametrize("name", ["CNV_w2a2", "RN8_w3a3"])
def test_convolutional_networks_are_proved(name: str) -> None:
    folder = os.environ.get("SIRA_MODELS")
    if folder is None:
        pytest.skip("SIRA_MODELS does not name the folder of models")
    model = load(Path(folder) / f"{name}.onnx")
    case = certified(model, PIXELS)
    assert check(case.data, case.claims) > 1000
    multiplying = {node.name for node in model.graph if node.op_type in ("Conv", "MatMul", "Gemm")}
    assert len(multiplying) >= 9
    assert multiplying <= {layer["layer"] for layer in case.claims["layers"]}


# Mutations


def mutations(claims: Any) -> Iterator[tuple[str, Any]]:
    """Every certificate in which one leaf or one list or record differs from ``claims``."""

    def walk(value: Any) -> Iterator[tuple[str, Any]]:
        match value:
            case bool():
                yield "not", not value
                yield "as a number", int(value)
            case int():
                yield "+ 1", value + 1
                yield "- 1", value - 1
                yield "as a float", float(value)
            case str():
                yield "longer", value + "00"
                yield "shorter", value[2:] if value else "0"
                yield "in capitals", value.upper() if value != value.upper() else value + " "
                for digit in range(len(value)):
                    if all(c in "0123456789abcdef" for c in value):
                        for bit in range(4):
                            flipped = f"{int(value[digit], 16) ^ 1 << bit:x}"
                            yield f"bit {digit}.{bit}", value[:digit] + flipped + value[digit + 1 :]
            case list():
                for i, part in enumerate(value):
                    yield f"[{i}] dropped", value[:i] + value[i + 1 :]
                    yield f"[{i}] doubled", value[: i + 1] + value[i:]
                    if i and value[i - 1] != part:
                        yield (
                            f"[{i}] swapped",
                            [*value[: i - 1], part, value[i - 1], *value[i + 1 :]],
                        )
                    for what, changed in walk(part):
                        yield f"[{i}] {what}", [*value[:i], changed, *value[i + 1 :]]
            case dict():
                yield "extra", value | {"extra": 0}
                for key, part in value.items():
                    yield f"{key} dropped", {k: v for k, v in value.items() if k != key}
                    for what, changed in walk(part):
                        yield f"{key} {what}", value | {key: changed}
        yield "null", None

    yield from ((what, changed) for what, changed in walk(claims) if changed is not None)


def test_any_changed_claim_is_rejected(case: Case) -> None:
    assert check(case.data, case.claims) > 0
    before = copy.deepcopy(case.claims)
    seen = set()
    for what, changed in mutations(case.claims):
        assert changed != case.claims or json.dumps(changed) != json.dumps(case.claims), what
        with pytest.raises(Rejected):
            check(case.data, changed)
            pytest.fail(f"accepted: {what}")
        seen.add(what)
    assert case.claims == before
    for key in ("lo", "hi", "bits", "lo_witness", "hi_witness", "lo_border", "hi_border"):
        assert any(key in what for what in seen), key
    assert len(seen) > 500


def test_a_changed_model_is_rejected(case: Case) -> None:
    """One weight, or one threshold; even when the certificate is made to name the new file."""
    proto = onnx.load_model_from_string(case.data)
    consumers = {name: node.op_type for node in proto.graph.node for name in node.input}
    changed = 0
    for tensor in proto.graph.initializer:
        kind = consumers[tensor.name]
        if kind not in ("MatMul", "Conv", "MultiThreshold"):
            continue
        mutated = onnx.load_model_from_string(case.data)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[0] += 1 if kind != "MultiThreshold" else 100
        found = next(t for t in mutated.graph.initializer if t.name == tensor.name)
        found.CopyFrom(numpy_helper.from_array(array, tensor.name))
        data = mutated.SerializeToString()
        with pytest.raises(Rejected, match="model_sha256"):
            check(data, case.claims)
        forged = case.claims | {"model_sha256": hashlib.sha256(data).hexdigest()}
        if kind != "MultiThreshold":
            with pytest.raises(Rejected, match="not proved"):
                check(data, forged)
        changed += 1
    assert changed == 3


def test_a_datatype_too_narrow_is_rejected(case: Case) -> None:
    proto = onnx.load_model_from_string(case.data)
    for claim in case.claims["layers"]:
        (pair,) = (
            pair
            for annotation in proto.graph.quantization_annotation
            if annotation.tensor_name == claim["tensor"]
            for pair in annotation.quant_parameter_tensor_names
        )
        right = pair.value
        assert right.startswith("INT")
        for wrong in (f"INT{int(right[3:]) - 1}", f"U{right}", "BINARY", "TERNARY", "BIPOLAR"):
            pair.value = wrong
            data = proto.SerializeToString()
            forged = case.claims | {"model_sha256": hashlib.sha256(data).hexdigest()}
            with pytest.raises(Rejected, match="does not hold its range"):
                check(data, forged)
        pair.value = right


# Brute force


def small_model(
    shape: tuple[int, ...],
    declared: tuple[int, int],
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[Any]],
) -> onnx.ModelProto:
    """An integer model from ``x`` to ``y``, written by hand."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    x.metadata_props.add(key=certificate_model.RANGE, value=f"{declared[0]} {declared[1]}")
    graph = helper.make_graph(
        nodes,
        "small",
        [x],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(a if a.dtype == np.int64 and name[0] == "i" else
                                    a.astype(np.float32), name)
            for name, a in constants.items()
        ],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


def every(values: range, count: int) -> NDArray[np.int64]:
    """All inputs (n, count)."""
    return np.array(list(product(values, repeat=count)), np.int64)


def convolved(
    x: NDArray[np.int64], w: NDArray[np.int64], pads: Any, strides: Any, dilations: Any, group: int
) -> NDArray[np.int64]:
    """Convolutions (n, outputs, positions), by loops over the definition."""
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    h, v = padded.shape[2:]
    kh, kw = w.shape[2:]
    per_group = len(w) // group
    outputs = []
    for n in range(len(w)):
        first = n // per_group * w.shape[1]
        sums = []
        for i in range(0, h - dilations[0] * (kh - 1), strides[0]):
            for j in range(0, v - dilations[1] * (kw - 1), strides[1]):
                total = np.zeros(len(x), np.int64)
                for c, a, b in product(range(w.shape[1]), range(kh), range(kw)):
                    at = padded[:, first + c, i + a * dilations[0], j + b * dilations[1]]
                    total += w[n, c, a, b] * at
                sums.append(total)
        outputs.append(np.stack(sums, axis=-1))
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize("seed", range(24))
def test_bounds_of_a_convolution_are_those_of_all_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    channels, outputs, group = [(1, 2, 1), (2, 2, 1), (2, 4, 2), (2, 2, 2)][seed % 4]
    h, v = (3, 3) if channels == 1 else (2, 2)
    declared = [(1, 3), (-3, -2), (-1, 1), (2, 2), (0, 1), (-2, 0)][seed % 6]
    if h * v * channels == 9:
        declared = declared[0], min(declared[1], declared[0] + 1)
    while True:
        kernel, strides, dilations = (rng.integers(1, 3, 2).tolist() for _ in range(3))
        pads = rng.integers(0, 3, 4).tolist()
        size = [h + pads[0] + pads[2], v + pads[1] + pads[3]]
        if all(d * (k - 1) < s for d, k, s in zip(dilations, kernel, size, strict=True)):
            break
    w = rng.integers(-3, 4, (outputs, channels // group, *kernel))
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], "c",
        pads=pads, strides=strides, dilations=dilations, group=group,
    )  # fmt: skip
    proto = small_model((1, channels, h, v), declared, [node], {"w": w})
    (layer,) = layers(proto)
    images = every(range(declared[0], declared[1] + 1), channels * h * v)
    y = convolved(images.reshape(-1, channels, h, v), w, pads, strides, dilations, group)
    claim = entry(layer)
    assert claim["lo"] == y.min(axis=(0, 2)).tolist()
    assert claim["hi"] == y.max(axis=(0, 2)).tolist()
    assert claim["attained"]
    assert witnessed(layer, claim) == (claim["lo"], claim["hi"])


def witnessed(layer: Layer, claim: Claims) -> tuple[list[int], list[int]]:
    """The sums at the corners that the witnesses name, in Python integers."""
    sides = []
    for side in ("lo", "hi"):
        sums = []
        for n in range(len(layer.weights)):
            corner, border = (
                bin(int("1" + claim[f"{side}_{what}"][n], 16))[3:] for what in ("witness", "border")
            )
            inputs, taps = layer.weights[n].shape
            sums.append(
                sum(
                    int(layer.weights[n, i, t])
                    * int((layer.hi if corner[i * taps + t] == "1" else layer.lo)[n, i])
                    for i in range(inputs)
                    for t in range(taps)
                    if border[t] == "1"
                )
            )
        sides.append(sums)
    return sides[0], sides[1]


def test_a_perceptron_stays_in_its_boxes_and_fills_each() -> None:
    """All inputs, through numpy written here; each layer also on all points of its own box."""
    case = perceptron()
    first, second = layers(onnx.load_model_from_string(case.data))
    claims = case.claims["layers"]
    x = every(range(-1, 3), 4)
    sums = x @ first.weights[:, :, 0].T
    assert claims[0]["lo"] == sums.min(axis=0).tolist()
    assert claims[0]["hi"] == sums.max(axis=0).tolist()
    hidden = np.clip(np.rint(sums / 2), -2, 1).astype(np.int64)  # Quant: scale 2, 2 bits
    shift = second.lo[0] - hidden.min(axis=0)  # counts may start at another integer
    assert (hidden.min(axis=0) + shift >= second.lo[0]).all()
    assert (hidden.max(axis=0) + shift == second.hi[0]).all()
    axes = [range(a, b + 1) for a, b in zip(second.lo[0], second.hi[0], strict=True)]
    scores = np.array(list(product(*axes))) @ second.weights[:, :, 0].T
    assert claims[1]["lo"] == scores.min(axis=0).tolist()
    assert claims[1]["hi"] == scores.max(axis=0).tolist()
    for claim in claims:
        assert claim["bits"] == [
            int(b - a).bit_length() for a, b in zip(claim["lo"], claim["hi"], strict=True)
        ]


# Copies of one element


REARRANGED: list[tuple[str, list[str], dict[str, Any], dict[str, Any], list[int]]] = [
    ("Concat", ["x", "x"], {}, {"axis": 1}, [0, 1, 2, 0, 1, 2]),
    ("Tile", ["x", "i"], {"i": [1, 2]}, {}, [0, 1, 2, 0, 1, 2]),
    ("Gather", ["x", "i"], {"i": [2, 0, 2, 1]}, {"axis": 1}, [2, 0, 2, 1]),
    ("Slice", ["x", "i0", "i1", "i2"], {"i0": [1], "i1": [3], "i2": [1]}, {}, [1, 2]),
]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("operator", REARRANGED, ids=[r[0] for r in REARRANGED])
def test_attained_is_said_exactly_where_an_input_attains(operator: Any, seed: int) -> None:
    op, inputs, constants, attributes, order = operator
    rng = np.random.default_rng(seed)
    w = rng.integers(-2, 3, (len(order), 1 + seed % 2))
    if seed == 5:
        w = np.abs(w)
    sign = rng.choice([-1, 1], len(order))
    nodes = [
        helper.make_node(op, inputs, ["u"], op, **attributes),
        helper.make_node("Mul", ["u", "sign"], ["v"], "flip"),
        helper.make_node("MatMul", ["v", "w"], ["y"], "m"),
    ]
    arrays = {name: np.array(value) for name, value in constants.items()}
    proto = small_model((1, 3), (-1, 2), nodes, {**arrays, "sign": sign, "w": w})
    (layer,) = layers(proto)
    claim = entry(layer)
    y = (every(range(-1, 3), 3)[:, order] * sign) @ w
    lo, hi = y.min(axis=0).tolist(), y.max(axis=0).tolist()
    assert claim["attained"] == (claim["lo"] == lo and claim["hi"] == hi)
    assert (claim["why"] == "") == claim["attained"]
    assert all(a <= b for a, b in zip(claim["lo"], lo, strict=True))
    assert all(a >= b for a, b in zip(claim["hi"], hi, strict=True))


def test_an_expanded_element_is_read_by_all_taps() -> None:
    nodes = [
        helper.make_node("Expand", ["x", "i"], ["u"], "e"),
        helper.make_node("Conv", ["u", "w"], ["y"], "c"),
    ]
    w = np.array([[[[1, -1]]], [[[1, 1]]]])
    proto = small_model((1, 1, 1, 1), (0, 3), nodes, {"i": np.array([1, 1, 2, 2]), "w": w})
    (layer,) = layers(proto)
    claim = entry(layer)
    assert (claim["lo"], claim["hi"]) == ([-3, 0], [3, 6])
    assert not claim["attained"]
    assert claim["why"] == (
        "channel 0: inputs 0 and 0 are copies of one element and want both its ends"
    )


def test_bounds_from_different_positions_are_not_called_attained() -> None:
    nodes = [
        helper.make_node("Add", ["x", "c"], ["u"], "a"),
        helper.make_node("MatMul", ["u", "w"], ["y"], "m"),
    ]
    constants = {"c": np.array([[[0, 5], [5, 0]]]), "w": np.array([[1], [1]])}
    (layer,) = layers(small_model((1, 2, 2), (0, 1), nodes, constants))
    claim = entry(layer)
    y = (every(range(2), 4).reshape(-1, 2, 2) + constants["c"]).sum(axis=-1)
    assert claim["lo"][0] < y.min() and claim["hi"][0] > y.max()
    assert not claim["attained"]
    assert claim["why"] == "channel 0: bounds of input 0 differ between positions"


@pytest.mark.parametrize("how", ["Concat", "Tile"])
def test_copies_in_a_network(how: str) -> None:
    net = Net((1, 3))
    x = net.quant("x", 0.5, 3)
    twice = (
        net.node("Concat", x, x, axis=1)
        if how == "Concat"
        else net.node("Tile", x, np.array([1, 2], np.int64))
    )
    net.node("MatMul", twice, net.quant([[1.0], [2], [0], [-1], [2], [3]], 1.0, 3))
    case = certified(net.model())
    assert check(case.data, case.claims) == 1
    (claim,) = case.claims["layers"]
    assert not claim["attained"]
    assert claim["why"].startswith("channel 0: inputs 0 and 3 are copies of one element")
    with pytest.raises(Rejected, match="attained, why not proved"):
        check(case.data, case.claims | {"layers": [claim | {"attained": True, "why": ""}]})


@pytest.mark.parametrize("seed", range(8))
def test_a_sum_of_functions_of_one_element_is_taken_value_by_value(seed: int) -> None:
    """``x + f(x)`` with a staircase f that rises or falls; then again, and times weights."""
    rng = np.random.default_rng(seed)
    sign, m = rng.choice([-1, 1], 3), rng.integers(-2, 3, 3)
    steps = np.sort(rng.integers(-4, 5, (3, 4)), axis=1)
    thresholds = helper.make_node(
        "MultiThreshold", ["a", "steps"], ["b"], "t", out_bias=-2.0, data_layout="NC"
    )
    nodes = [
        helper.make_node("Mul", ["x", "sign"], ["a"], "s"),
        thresholds,
        helper.make_node("Add", ["x", "b"], ["c"], "first"),
        helper.make_node("Mul", ["b", "m"], ["d"], "m"),
        helper.make_node("Add", ["c", "d"], ["e"], "second"),
        helper.make_node("MatMul", ["e", "w"], ["y"], "mac"),
    ]
    w = rng.integers(-3, 4, (3, 2))
    constants = {"sign": sign, "steps": steps, "m": m, "w": w}
    (layer,) = layers(small_model((1, 3), (-3, 4), nodes, constants))
    x = every(range(-3, 5), 3)
    counts = ((x * sign)[..., None] >= steps).sum(axis=-1) - 2
    e = x + counts + m * counts
    assert layer.lo.tolist() == [e.min(axis=0).tolist()] * 2
    assert layer.hi.tolist() == [e.max(axis=0).tolist()] * 2
    claim, y = entry(layer), e @ w
    assert (claim["lo"], claim["hi"]) == (y.min(axis=0).tolist(), y.max(axis=0).tolist())


def _residual(net: Net, x: str) -> str:
    return net.node("Add", x, net.quant(net.node("Mul", x, [[[[-1.0]], [[3.0]]]]), 1.0, 3))


def _resized(net: Net, x: str) -> str:
    return net.node(
        "Resize", x, None, [1.0, 1, 2, 2],
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip


def _pooled(net: Net, x: str) -> str:
    return net.node("MaxPool", x, kernel_shape=[2, 2], strides=[1, 1], pads=[1, 0, 0, 1])


def _averaged(net: Net, x: str) -> str:
    return net.node("AveragePool", x, kernel_shape=[2, 2])


def _doubled(net: Net, x: str) -> str:
    return net.node("Add", x, x)


@pytest.mark.parametrize(
    ("between", "attained"),
    [(_residual, True), (_resized, False), (_pooled, True), (_averaged, True), (_doubled, True)],
)
def test_operators_between_layers(between: Any, attained: bool) -> None:
    """The analysis and the checker find the same bounds behind each operator."""
    rng = np.random.default_rng(0)
    net = Net((1, 2, 4, 4))
    x = between(net, net.quant("x", 1.0, 3))
    net.node("Conv", x, net.quant(rng.integers(-3, 4, (2, 2, 2, 2)), 1.0, 3), pads=[1, 0, 0, 1])
    case = certified(net.model())
    assert check(case.data, case.claims) >= 2
    assert case.claims["layers"][-1]["attained"] == attained


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_are_proved(seed: int) -> None:
    network = random_case(seed, samples=1)
    case = certified(prepare(network.proto), network.spec)
    assert check(case.data, case.claims) > 0


# Independence


def test_the_checker_imports_nothing_of_the_analysis() -> None:
    folder, pending, seen = Path(checker.__file__).parent, ["certificate"], set()
    while pending:
        name = pending.pop()
        seen.add(name)
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            match node:
                case ast.Import(names):
                    modules = [a.name for a in names]
                case ast.ImportFrom(module, _, level):
                    assert level == 0
                    modules = [module or ""]
                case _:
                    continue
            assert all(
                m.split(".")[0] in sys.stdlib_module_names | {"numpy", "onnx", "google", "sira"}
                for m in modules
            )
            for m in modules:
                if m.split(".")[0] == "sira":
                    assert m == "sira.certificate_model"
                    pending.append("certificate_model") if "certificate_model" not in seen else None
    assert seen == {"certificate", "certificate_model"}


@pytest.mark.parametrize("side", ["lo", "hi"])
@pytest.mark.parametrize("error", [-1, 1])
def test_a_wrong_analysis_is_found_out(
    case: Case, side: str, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too narrow as well as too wide, by one, in one channel of one layer."""
    right = Ranges.scaled
    for claim in case.claims["layers"]:

        def wrong(
            ranges: Ranges, value: ir.Value, tensor: str = claim["tensor"]
        ) -> ScaledInt | None:
            found = right(ranges, value)
            if value.name != tensor or found is None:
                return found
            changed = getattr(found, side).copy()
            changed.flat[-1] += error
            return replace(found, **{side: changed})

        monkeypatch.setattr(Ranges, "scaled", wrong)
        claims = certify.certificate(case.model, case.ranges, case.data)
        monkeypatch.undo()
        assert claims != case.claims
        with pytest.raises(Rejected, match=f"{side}.* not proved"):
            check(case.data, claims)


# Models that the checker does not prove


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([("Conv", ["x", "w", "b"])], {"w": np.ones((1, 2, 1, 1)), "b": np.ones(1)},
         "not a known input times constant weights"),
        ([("MatMul", ["x", "x"])], {}, "not a known input times constant weights"),
        ([("MatMul", ["w", "x"])], {"w": np.ones((1, 1, 3, 3))},
         "not a known input times constant weights"),
        ([("Sigmoid", ["x"]), ("MatMul", ["t0", "w"])], {"w": np.ones((3, 1))},
         "not a known input times constant weights"),
        ([("MatMul", ["x", "w"])], {"w": np.full((3, 1), 0.5)}, "constants that are no integers"),
        ([("MatMul", ["x", "w"])], {"w": np.full((3, 1), 2.0**52)}, "sums beyond 2**53"),
        ([("MatMul", ["x", "w"])], {"w": np.ones((4, 1))}, "do not fit"),
        ([("Conv", ["x", "w"])], {"w": np.ones((1, 1, 1, 1))}, "do not fit"),
        ([("Conv", ["x", "w"])], {"w": np.ones((1, 2, 4, 1))}, "the kernel is larger"),
        ([("Mul", ["x", "w"])], {"w": np.full(3, 2.0**52)}, "values beyond 2**53"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_rejected(nodes: Any, constants: Any, message: str) -> None:
    made = [
        helper.make_node(op, inputs, ["y" if i == len(nodes) - 1 else f"t{i}"], op)
        for i, (op, inputs) in enumerate(nodes)
    ]
    with pytest.raises(Rejected) as error:
        list(layers(small_model((1, 2, 3, 3), (0, 3), made, constants)))
    assert message in str(error.value)


def test_an_undeclared_input_is_rejected() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "m")
    proto = small_model((1, 1), (0, 1), [node], {"w": np.ones((1, 1))})
    del proto.graph.input[0].metadata_props[:]
    with pytest.raises(Rejected, match="input x: the model declares no range"):
        list(layers(proto))


# Files


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    case = perceptron()
    model, claims = tmp_path / "model.onnx", tmp_path / "certificate.json.gz"
    model.write_bytes(case.data)
    certify.write(claims, case.claims)
    return str(model), str(claims)


def test_a_compiled_model_is_proved(small_model: Path, tmp_path: Path) -> None:
    """As anybody would check it: in a process of its own, with the two files."""
    sira.compile(small_model, sira.Options(output=tmp_path / "build", verify=0))
    stages = sorted((tmp_path / "build" / "stages").iterdir())
    command = [sys.executable, "-m", "sira.certificate", str(stages[-1])]
    certificate = str(tmp_path / "build" / "certificate.json.gz")
    done = subprocess.run([*command, certificate], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "proved: bounds, widths and witnesses of 10 channels\n"
    other = [*command[:-1], str(stages[0]), certificate]
    done = subprocess.run(other, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("rejected: ") and done.stderr.count("\n") == 1


def test_command_line(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(list(files)) == 0
    assert capsys.readouterr().out == "proved: bounds, widths and witnesses of 5 channels\n"
    claims = checker.read(Path(files[1]))
    claims["layers"][0]["hi"][1] += 1
    Path(files[1]).write_text(json.dumps(claims))
    assert main(list(files)) == 1
    assert capsys.readouterr().err.endswith(": hi not proved\n")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 2),
        (b"{", 2),
        (b"[]", 2),
        (b"\xff\xfe", 2),
        (gzip.compress(b"{}")[:-9], 2),
        (b"\x1f\x8b\x08garbage of some length", 2),
        (gzip.compress(b"{}", mtime=0)[:12] + b"\xff\xff\xff\xff" * 4, 2),
        (b"{}", 1),
        (b'{"layers": []}', 1),
        (b'{"format": 1, "format": 2}', 1),
    ],
)
def test_unreadable_certificates(
    files: tuple[str, str], content: bytes, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[1]).write_bytes(content)
    assert main(list(files)) == status
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert shown.err.startswith("error: " if status == 2 else "rejected: ")


@pytest.mark.parametrize("which", [0, 1])
def test_missing_files(
    files: tuple[str, str], which: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[which]).unlink()
    assert main(list(files)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and files[which] in error


def test_a_garbled_model(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[0]).write_bytes(b"no model at all")
    assert main(list(files)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        case = convolutions()
        certify.write(tmp_path / name, case.claims)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert checker.read(tmp_path / "a") == case.claims
