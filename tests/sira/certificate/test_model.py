"""Boxes and bounds of handwritten integer models, against all of their inputs."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
from certificates import Claims, every, perceptron, small_model
from numpy.typing import NDArray
from onnx import helper

from sira.certificate.boxes import Rejected
from sira.certificate.checker import entry
from sira.certificate.model import ClaimedLayer, layers


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


def witnessed(layer: ClaimedLayer, claim: Claims) -> tuple[list[int], list[int]]:
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
                    * int((layer.hi[0] if corner[i * taps + t] == "1" else layer.lo[0])[n, i])
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
    shift = second.lo[0, 0] - hidden.min(axis=0)  # counts may start at another integer
    assert (hidden.min(axis=0) + shift >= second.lo[0, 0]).all()
    assert (hidden.max(axis=0) + shift == second.hi[0, 0]).all()
    axes = [range(a, b + 1) for a, b in zip(second.lo[0, 0], second.hi[0, 0], strict=True)]
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
        helper.make_node("Conv", ["u", "w"], ["y"], "m"),
    ]
    constants = {"c": np.array([[[0, 5], [5, 0]]]), "w": np.ones((1, 2, 1))}
    (layer,) = layers(small_model((1, 2, 2), (0, 1), nodes, constants))
    claim = entry(layer)
    y = (every(range(2), 4).reshape(-1, 2, 2) + constants["c"]).sum(axis=1)
    assert claim["lo"][0] < y.min() and claim["hi"][0] > y.max()
    assert not claim["attained"]
    assert claim["why"] == "channel 0: bounds of input 0 differ between positions"


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
    assert layer.lo[0].tolist() == [e.min(axis=0).tolist()] * 2
    assert layer.hi[0].tolist() == [e.max(axis=0).tolist()] * 2
    claim, y = entry(layer), e @ w
    assert (claim["lo"], claim["hi"]) == (y.min(axis=0).tolist(), y.max(axis=0).tolist())


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
         "not a known input times constant weights, as the checker does not know Sigmoid Sigmoid"),
        ([("Sign", ["x"]), ("Relu", ["t0"]), ("Add", ["x", "t1"]), ("MatMul", ["t2", "w"])],
         {"w": np.ones((3, 1))}, "as the checker does not know Sign Sign"),
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
