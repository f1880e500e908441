"""Constant channels: what goes, what stays, and that no integer changes.

Networks are executed by qonnx before and after, and whole small networks on every input.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx_models import Net, annotated, integers
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

import sira
from hls.verify.hardware import Verification, verify
from sira import graph as g
from sira import provenance
from sira.analysis.ranges import analyze
from sira.datatypes import InputSpec
from sira.driver.hardware import build_dataflow
from sira.driver.options import Options
from sira.load import prepare
from sira.verification.model import Model
from sira.verification.samples import draw
from transforms import (
    remove_constant_channels,
    removed_channels,
    to_canonical,
    to_thresholds,
)
from transforms.stages import transform

SPEC = integers(0, 3)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def thresholds(net: Net, spec: InputSpec = SPEC) -> ir.Model:
    model = to_canonical(prepare(annotated(net.proto())))
    return to_thresholds(model, analyze(model, {"x": spec}))


def removed(model: ir.Model) -> tuple[ir.Model, list[list[int]]]:
    """The model without its constant channels, and those of each quantizer that has lost some."""
    result = remove_constant_channels(model, analyze(model))
    return result, list(removed_channels(model, result).values())


def execute(model: ir.Model, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Every tensor, by qonnx's executor."""
    proto = onnx.load_from_string(ir.to_proto(model).SerializeToString())
    onnx.checker.check_model(proto)
    inputs = {g.name(model.graph.inputs[0]): x.astype(np.float32)}
    found: dict[str, Any] = execute_onnx(ModelWrapper(proto), inputs, True)
    return {name: value for name, value in found.items() if value is not None}


def same_integers(
    before: ir.Model, after: ir.Model, samples: Sequence[NDArray[Any]]
) -> dict[str, list[NDArray[Any]]]:
    """Compare all layers and outputs; returns the values of quantizers in ``before``."""
    seen: dict[str, list[NDArray[Any]]] = {}
    for x in samples:
        wanted, found = execute(before, x), execute(after, x)
        for node in after.graph:
            value = node.outputs[0]
            name, shape = g.name(value), g.shape(value)
            assert found[name].shape == shape
            if node.op_type in ("Mul", "Add") and not value.is_graph_output():
                continue
            record = provenance.of(value)
            kept, shift = record.channels, record.shift
            original = wanted[name]
            if kept is not None:
                (axis,) = (i for i, d in enumerate(original.shape) if d != shape[i])
                original = np.take(original, kept, axis=axis)
            if shift.any():
                axis = next(i for i, d in enumerate(shape) if d == len(shift) and i)
                shift = shift.reshape((-1,) + (1,) * (len(shape) - 1 - axis))
            assert np.array_equal(found[name] + shift, original), name
            if node.op_type == "MultiThreshold":
                seen.setdefault(name, []).append(wanted[name])
    return seen


def samples_of(model: ir.Model, count: int = 4, high: int = 3) -> list[NDArray[Any]]:
    shape = g.shape(model.graph.inputs[0])
    rng = np.random.default_rng(0)
    return [np.zeros(shape), np.full(shape, high), *rng.integers(0, high + 1, (count, *shape))]


def check(net: Net, expected: list[list[int]]) -> ir.Model:
    """Exactly these channels go, and no integer changes."""
    before = thresholds(net)
    after, found = removed(before)
    assert found == expected
    assert [n.op_type for n in after.graph] == [n.op_type for n in before.graph]
    same_integers(before, after, samples_of(before))
    again = remove_constant_channels(after, analyze(after))
    assert listing(again) == listing(after)
    return after


def listing(model: ir.Model) -> list[Any]:
    """Everything that matters of a graph."""
    return [
        *((n.op_type, [v and v.name for v in n.inputs], [(v.name, g.shape(v), dict(
            v.metadata_props)) for v in n.outputs]) for n in model.graph),
        *((k, v.const_value.numpy().tolist()) for k, v in sorted(model.graph.initializers.items())
          if v.const_value is not None),
    ]  # fmt: skip


def weights(net: Net, w: Any) -> str:
    return net.quant(np.asarray(w, np.float32), 1.0, 4)


ONES = [[1.0, 1, -1, 2], [1, -1, 1, 1], [2, 1, 1, 1]]
SECOND = [[1.0, 2], [3, -1], [1, 1], [-2, 3]]


def dense(net: Net, bias: Any, levels: int = 2, first: Any = ONES, gain: Any = 1.0) -> str:
    """3 inputs, 4 neurons with relu."""
    x = net.node("Add", net.node("Mul", net.node("MatMul", "x", weights(net, first)), gain), bias)
    return net.quant(net.node("Relu", x), 1.0, levels, signed=0)


@pytest.mark.parametrize("bias, gone, shift", [
    ([0.0, 0, 0, 0], [], [0]),
    ([0.0, -100, 0, 0], [1], [0]),  # a dead relu
    ([0.0, 100, 0, 0], [1], [9, -3]),  # always at the top of the quantizer: 3 * [3, -1]
    ([100.0, 100, 0, -100], [0, 1, 3], [12, 3]),
])  # fmt: skip
@pytest.mark.parametrize("end", ["scores", "quantizer", "argmax", "falling"])
def test_dense_layers(bias: list[float], gone: list[int], shift: list[int], end: str) -> None:
    net = Net((1, 3))
    x = net.node("MatMul", dense(net, bias), weights(net, SECOND))
    match end:
        case "scores":
            net.node("Add", net.node("Mul", x, 0.5), [0.25, -1.0])
        case "quantizer":
            net.quant(x, 2.0, 4)
        case "falling":
            net.quant(net.node("Mul", x, [-0.5, 1.0]), 1.0, 4)
        case "argmax":
            net.node("ArgMax", x, axis=1, keepdims=0)
    after = check(net, [gone] if gone else [])
    first, second = (n for n in after.graph if n.op_type == "MatMul")
    assert g.shape(first.inputs[1]) == (3, 4 - len(gone))  # type: ignore[arg-type]
    assert g.shape(second.inputs[1]) == (4 - len(gone), 2)  # type: ignore[arg-type]
    assert provenance.of(second.outputs[0]).shift.tolist() == shift


def test_a_falling_channel_goes_with_its_sign() -> None:
    net = Net((1, 3))
    x = dense(net, [5.0, 5, 5, -100], gain=[-1.0, 1, -1, 1])
    net.quant(net.node("MatMul", x, weights(net, SECOND)), 1.0, 4)
    after = check(net, [[3]])
    sign = g.array(next(n for n in after.graph if n.op_type == "Mul").inputs[1])
    assert sign is not None and sign.reshape(-1).tolist() == [-1, 1, -1]


def test_zero_weights() -> None:
    """Neuron 0 has no weights, neuron 2 no reader."""
    first = np.array(ONES)
    first[:, 0] = 0
    second = np.array(SECOND)
    second[2] = 0
    net = Net((1, 3))
    x = dense(net, [1.0, 0, 0, 0], first=first)
    net.quant(net.node("MatMul", x, weights(net, second)), 2.0, 4)
    check(net, [[0, 2]])


def test_readers_that_go_leave_earlier_channels_unread() -> None:
    """Neuron 1 of the first layer is read by neuron 0 of the second alone, which is dead."""
    middle = np.array([[1.0, 2, 1], [3, 0, 0], [1, 1, -2], [2, 1, 1]])
    net = Net((1, 3))
    x = net.node("MatMul", dense(net, 0.0), weights(net, middle))
    x = net.quant(net.node("Relu", net.node("Add", x, [-500.0, 0, 0])), 2.0, 3, signed=0)
    net.node("MatMul", x, weights(net, [[1.0], [2], [3]]))
    check(net, [[1], [0]])


def test_one_channel_stays() -> None:
    net = Net((1, 3))
    x = net.node("MatMul", dense(net, -100.0), weights(net, SECOND))
    net.quant(x, 1.0, 4)
    after = check(net, [[1, 2, 3]])
    first = next(n for n in after.graph if n.op_type == "MatMul")
    assert g.shape(first.outputs[0]) == (1, 1)


def test_two_readers_keep_their_channels() -> None:
    net = Net((1, 3))
    x = dense(net, [0.0, 100, 0, 0])
    a = net.quant(net.node("MatMul", x, weights(net, SECOND)), 1.0, 4)
    b = net.quant(net.node("MatMul", x, weights(net, SECOND)), 1.0, 4)
    net.quant(net.node("Add", a, b), 1.0, 4)
    check(net, [])


def test_a_sum_behind_a_layer_takes_no_shift() -> None:
    """A residual sum cannot make up for a constant, but for a constant 0 there is nothing to do."""
    net = Net((1, 3))
    x = net.quant("x", 1.0, 3, signed=0)
    hidden = net.quant(
        net.node(
            "Relu", net.node("Add", net.node("MatMul", x, weights(net, ONES)), [0.0, 100, -100, 0])
        ),
        1.0,
        2,
        signed=0,
    )
    y = net.node("MatMul", hidden, weights(net, np.ones((4, 3))))
    net.quant(net.node("Add", x, y), 1.0, 4)
    check(net, [[2]])


def test_real_thresholds_take_no_shift() -> None:
    """Behind a real factor a shift would be rounded, and integers could change."""
    net = Net((1, 3))
    net.quant(net.node("MatMul", dense(net, [0.0, 100, -100, 0]), weights(net, SECOND)), 1.0, 4)
    before = thresholds(net)
    last = [n for n in before.graph if n.op_type == "MultiThreshold"][-1]
    steps = last.inputs[1]
    assert steps is not None and steps.const_value is not None
    steps.const_value = ir.Tensor(steps.const_value.numpy() + np.float32(0.1), name=steps.name)
    after, found = removed(before)
    assert found == [[2]]
    same_integers(before, after, samples_of(before))


def conv(net: Net, x: str, shape: tuple[int, ...], seed: int, **attributes: Any) -> str:
    rng = np.random.default_rng(seed)
    w = rng.integers(1, 4, shape) * rng.choice([-1, 1], shape)
    return net.node("Conv", x, weights(net, w), kernel_shape=shape[2:], **attributes)


def relu(net: Net, x: str, bias: list[float]) -> str:
    x = net.node("Add", x, np.array(bias).reshape(-1, 1, 1))
    return net.quant(net.node("Relu", x), 4.0, 2, signed=0)


BIAS = [0.0, -900, 900, 1]
"""The second channel is always 0, the third always 3."""


@pytest.mark.parametrize("between", ["", "max", "depthwise", "padded depthwise"])
@pytest.mark.parametrize("pads, gone", [([0, 0, 0, 0], [1, 2]), ([1, 1, 0, 0], [1])])
def test_convolutions(between: str, pads: list[int], gone: list[int]) -> None:
    """Padding adds zeros, so that only zeros can be left out in front of it."""
    net = Net((1, 2, 6, 6))
    x = relu(net, conv(net, "x", (4, 2, 3, 3), 1), BIAS)
    expected = [gone]
    match between:
        case "max":
            x = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[1, 1])
        case "depthwise" | "padded depthwise":
            around = {"pads": [1, 1, 1, 1]} if "padded" in between else {}
            x = relu(net, conv(net, x, (4, 1, 2, 2), 2, group=4, **around), BIAS)
            expected = [gone, gone]
    x = conv(net, x, (3, 4, 2, 2), 3, pads=pads)
    x = net.quant(net.node("Relu", x), 2.0, 3, signed=0)
    check(net, expected)


def test_what_ends_a_convolution_can_be_a_pool_or_the_output() -> None:
    net = Net((1, 2, 6, 6))
    x = relu(net, conv(net, "x", (4, 2, 3, 3), 1), BIAS)
    x = net.node("MaxPool", conv(net, x, (3, 4, 2, 2), 3), kernel_shape=[3, 3])
    x = relu(net, x, [0.0, -900, 0])
    conv(net, x, (2, 3, 1, 1), 4)
    check(net, [[1, 2], [1]])


@pytest.mark.parametrize("flatten", ["Flatten", "Reshape"])
def test_a_channel_is_many_rows_behind_a_flattening(flatten: str) -> None:
    net = Net((1, 2, 4, 4))
    x = relu(net, conv(net, "x", (4, 2, 3, 3), 1), BIAS)  # (1, 4, 2, 2)
    if flatten == "Flatten":
        x = net.node("Flatten", x)
    else:
        x = net.node("Reshape", x, net.constant(np.array([1, -1])))
    w = np.random.default_rng(5).integers(1, 4, (16, 3))
    net.quant(net.node("MatMul", x, weights(net, w)), 2.0, 4)
    after = check(net, [[1, 2]])
    dense_layer = next(n for n in after.graph if n.op_type == "MatMul")
    assert g.shape(dense_layer.inputs[1]) == (8, 3)  # type: ignore[arg-type]


def random_net(seed: int, samples: int = 1) -> Net:
    """A perceptron with dead and saturated neurons, and with rows and columns of zeros."""
    rng = np.random.default_rng(seed)
    net, x, k = Net((1, 3) if samples == 1 else (1, samples, 3)), "x", 3
    for _ in range(int(rng.integers(2, 4))):
        n = int(rng.integers(2, 7))
        w = rng.integers(-2, 3, (k, n)) * (rng.random((k, 1)) > 0.2) * (rng.random(n) > 0.2)
        x = net.node("MatMul", x, weights(net, w))
        x = net.node("Mul", x, rng.choice([-0.5, 0.25, 0.5, 1.0], n))
        x = net.node("Add", x, rng.choice([-100.0, -0.5, 0.0, 0.25, 1.5, 100.0], n))
        if rng.integers(2):
            x = net.node("Relu", x)
        x = net.quant(x, 0.5, int(rng.integers(1, 4)), signed=int(rng.integers(2)))
        k = n
    x = net.node("MatMul", x, weights(net, rng.integers(-2, 3, (k, 3))))
    match rng.integers(3):
        case 0:
            net.quant(x, 1.0, 3)
        case 1:
            net.node("Add", x, [0.25, 0.5, -1.5])
        case _:
            pass
    return net


EVERY_INPUT = np.array(list(product(range(4), repeat=3)))


@pytest.mark.parametrize("seed", range(9))
def test_random_networks_on_every_input(seed: int) -> None:
    before = thresholds(random_net(seed, len(EVERY_INPUT)))
    kept = listing(before)
    after, _ = removed(before)
    assert listing(before) == kept  # the argument is unchanged
    seen = same_integers(before, after, [EVERY_INPUT[None]])
    for name, channels in removed_channels(before, after).items():
        ((values,),) = seen[name]
        (reader,), (left,) = (_readers(model, name) for model in (before, after))
        columns, rows = provenance.of(left.outputs[0]).channels, g.array(reader.inputs[1])
        assert rows is not None
        rows = rows if columns is None else rows[:, columns]
        for c in channels:
            assert (values[:, c] == values[0, c]).all() or not rows[c].any()


def _readers(model: ir.Model, tensor: str) -> list[ir.Node]:
    return [n for n in model.graph if n.inputs[0] is not None and n.inputs[0].name == tensor]


def verified(net: Net, corrupt: bool = False) -> Verification:
    """The whole network in hardware's arithmetic against golden."""
    front = transform(net.proto(), {"x": SPEC})
    lowered = build_dataflow(front, Options())
    if corrupt:
        name = next(n for n, w in lowered.wires.items() if w.channels is not None)
        wire = lowered.wires[name]
        assert wire.channels is not None
        lowered.wires[name] = replace(wire, channels=np.roll(wire.channels, 1))
    samples = draw(front.loaded.model, front.loaded.ranges, 40)
    model = Model(front.proto, front.loaded, front.canonical, front.integer)
    return verify(model, lowered, samples, rtl=None, hls=None)


@pytest.mark.parametrize("seed", range(5))
def test_hardware_is_verified_against_the_original(seed: int) -> None:
    assert [c for c in verified(random_net(seed)).checks if c.mismatches] == []


def test_random_networks_have_channels_to_remove() -> None:
    """Else the tests above would show nothing."""
    assert sum(bool(removed(thresholds(random_net(seed)))[1]) for seed in range(8)) >= 5


def test_channels_that_are_mixed_up_are_found() -> None:
    net = Net((1, 3))
    net.node("MatMul", dense(net, [0.0, 100, 0, 0], 3), weights(net, SECOND))
    assert verified(net).passed
    assert not verified(net, corrupt=True).passed


def test_a_build_reports_what_was_removed(tmp_path: Path) -> None:
    net = Net((1, 3))
    name = dense(net, [0.0, 100, -100, 0])
    net.node("MatMul", name, weights(net, SECOND), output="scores")
    model = tmp_path / "model.onnx"
    onnx.save(net.proto(), model)
    result = sira.compile(
        model, Options(tmp_path / "build", inputs={"x": SPEC}, backend="verilog", verify=16)
    )
    assert result.passed
    assert result.report["totals"]["constant_channels"] == {name: [1, 2]}
    assert f"2 of `{name}`" in (tmp_path / "build" / "report.md").read_text()
    assert (tmp_path / "build" / "stages" / "05_constant_channels.onnx").is_file()
