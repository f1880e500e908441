"""Where a tensor comes from: any name, any rank, any sign, any channels that go.

Each model is checked as the compiler does: golden integers against the integer model and the steps
of its thresholds, both executed by onnx.reference, and against every wire of the hardware.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_models import Net, annotated, integers

from hls.lower.lower import lower
from hls.verify.hardware import verify_hardware
from sira import graph as g
from sira import provenance
from sira.datatypes import InputSpec
from sira.driver.cli import main
from sira.load import prepare
from sira.progress import Stopwatch
from sira.verification.check import Check
from sira.verification.model import Model, check_model
from sira.verification.samples import draw
from transforms.stages import Stages, transform

RNG = np.random.default_rng(5)
SPEC = integers(-8, 7, "1/4")


def checked(proto: onnx.ModelProto, spec: InputSpec | None = SPEC) -> tuple[Stages, list[Check]]:
    """Every check of a model and of its hardware, but for what takes a simulator."""
    stages = transform(proto, {} if spec is None else {"x": spec})
    model = Model(stages.proto, stages.loaded, stages.canonical, stages.integer)
    samples = draw(stages.loaded.model, stages.loaded.ranges, 6)
    lowered = lower(stages.integer.model, stages.integer.ranges, "test")
    found = check_model(model, samples, Stopwatch(), set(lowered.origins.values()))
    hardware = verify_hardware(
        lowered, stages.integer.model, found.golden, rtl=None, hls=None, watch=Stopwatch()
    )
    return stages, [*found.checks, *hardware.checks]


def assert_equal(proto: onnx.ModelProto, spec: InputSpec | None = SPEC) -> Stages:
    stages, checks = checked(proto, spec)
    assert [c for c in checks if c.mismatches] == []
    compared = {c.name.split(" at ")[0] for c in checks}
    assert {"integer model against golden", "golden against float64"} <= compared
    assert any(name.startswith("thresholds of ") for name in compared)
    return stages


# Channels that go


def weights(*shape: int) -> np.ndarray:
    w = RNG.integers(-3, 4, shape).astype(float)
    w[w == 0] = 1
    return w * 0.5


def dead(net: Net, x: str, axis: int, rank: int) -> str:
    """Channel 0 becomes 0, channel 1 a constant that is not; two are left."""
    column = (-1, *(1,) * (rank - 1 - axis))
    x = net.node("Mul", x, np.array([0.0, 0.0, 1.0, 1.0]).reshape(column))
    x = net.node("Add", x, np.array([-1.0, 2.0, 0.5, 0.0]).reshape(column))
    return net.quant(net.node("Relu", x), 0.5, bits=3, signed=0)


def products(rank: int) -> Net:
    net = Net((1, *range(3, rank + 1), 8))
    x = net.node("MatMul", "x", net.quant(weights(8, 4), 0.5))
    x = dead(net, x, rank - 1, rank)
    net.quant(net.node("MatMul", x, net.quant(weights(4, 5), 0.5)), 2.0)
    return net


def convolutions(axes: int, between: str) -> Net:
    rank, kernel = axes + 2, (3,) * axes
    net = Net((1, 2, *(7,) * axes))
    x = net.node("Conv", "x", net.quant(weights(4, 2, *kernel), 0.5))
    x = dead(net, x, 1, rank)
    match between:
        case "pool":
            x = net.node("MaxPool", x, kernel_shape=[2] * axes)
        case "depthwise":
            x = net.node("Conv", x, net.quant(weights(4, 1, *kernel), 0.5), group=4)
            x = net.quant(x, 1.0, bits=4)
        case "flatten":
            x = net.node("Flatten", x)
            last = 4 * 5**axes
            net.quant(net.node("MatMul", x, net.quant(weights(last, 3), 0.5)), 8.0)
            return net
    net.quant(net.node("Conv", x, net.quant(weights(6, 4, *(2,) * axes), 0.5)), 4.0)
    return net


CHANNELS: dict[str, Callable[[], Net]] = {
    **{f"products of rank {rank}": lambda r=rank: products(r) for rank in (2, 3, 4)},
    **{
        f"{axes} axes, {between}": lambda a=axes, b=between: convolutions(a, b)
        for axes, between in itertools.product((1, 2), ("nothing", "pool", "depthwise", "flatten"))
    },
}


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_go_behind_layers_of_any_rank(name: str) -> None:
    stages = assert_equal(CHANNELS[name]().proto())
    assert stages.constant_channels and all(0 in c for c in stages.constant_channels.values())
    shifted = [provenance.of(v).shift.any() for n in stages.integer.model.graph for v in n.outputs]
    assert any(shifted), "a constant that is not 0 moves into the next layer"


# Signs


def gemm(net: Net, alpha: float, bias: bool) -> str:
    operands = [net.quant(weights(8, 4), 0.5)] + [RNG.integers(-4, 5, 4) / 4.0] * bias
    return net.node("Gemm", "x", *operands, alpha=alpha, beta=-0.5)


def product(net: Net) -> str:
    return net.node("MatMul", "x", net.quant(weights(8, 4), 0.5))


def normalised(net: Net, x: str) -> str:
    gamma, var = np.array([-1.0, 0.5, -0.25, 1.0]), np.array([0.5, 1.0, 2.0, 4.0])
    return net.node("BatchNormalization", x, gamma, np.ones(4), np.zeros(4), var)


SIGNS: dict[str, Callable[[Net], str]] = {
    "Gemm, alpha < 0": lambda n: gemm(n, -1.0, False),
    "Gemm, alpha < 0, bias": lambda n: gemm(n, -0.5, True),
    "Gemm, alpha > 0, bias": lambda n: gemm(n, 0.5, True),
    "Mul by -1": lambda n: n.node("Mul", product(n), -1.0),
    "Mul of each channel": lambda n: n.node("Mul", product(n), [1.0, -1.0, 0.5, -2.0]),
    "Neg": lambda n: n.node("Neg", product(n)),
    "constant minus": lambda n: n.node("Sub", 1.25, product(n)),
    "Div": lambda n: n.node("Div", product(n), -4.0),
    "BatchNormalization": lambda n: normalised(n, product(n)),
    "twice": lambda n: n.node("Neg", gemm(n, -1.0, True)),
    "an identity behind": lambda n: n.node("Identity", n.node("Neg", product(n))),
    "a Reshape behind": lambda n: n.node("Flatten", n.node("Neg", product(n))),
}


@pytest.mark.parametrize("reader", ["quantizer", "layer", "both", "sum"])
@pytest.mark.parametrize("name", SIGNS)
def test_signs_count_once(name: str, reader: str) -> None:
    net = Net((1, 8))
    x = SIGNS[name](net)
    if reader == "sum":
        x = net.node("Add", x, product(net))
    y = net.quant(x, 1.0, bits=4)
    if reader in ("layer", "both"):
        y = net.quant(net.node("MatMul", y, net.quant(weights(4, 3), 0.5)), 2.0)
    outputs = [y, net.quant(net.node("Relu", x), 0.5, bits=3)] if reader == "both" else [y]
    assert_equal(net.proto(*outputs))


# Names


def of_many_kinds() -> Net:
    """Tensors that the passes build steps for: products, sums, signs, pools, an output."""
    net = Net((1, 2, 6, 6))
    x = net.node("Conv", "x", net.quant(weights(4, 2, 3, 3), 0.5), pads=[1] * 4, output="first")
    x = net.node("BatchNormalization", x, [-1.0, 1.0, 0.5, 2.0], np.ones(4), np.zeros(4),
                 np.ones(4), output="normal")  # fmt: skip
    x = net.quant(x, 1.0, bits=4, output="left")
    y = net.node("Neg", x, output="negative")
    y = net.quant(net.node("Add", y, x, output="sum"), 1.0, bits=5, output="added")
    y = net.node("AveragePool", y, kernel_shape=[2, 2], output="pooled")
    y = net.node("Flatten", net.quant(y, 0.5, bits=4, output="pool_q"), output="flat")
    y = net.node("Gemm", y, net.quant(weights(100, 3), 0.5), [0.5, 0.25, 1.0], alpha=-1.0,
                 output="scores")  # fmt: skip
    net.quant(y, 4.0, bits=4, output="out")
    return net


def names_made() -> list[str]:
    """Names that the passes give to tensors of their own, which a user may have chosen first."""
    stages = transform(of_many_kinds().proto(), {"x": SPEC})
    known = {g.name(v) for n in stages.loaded.model.graph for v in n.outputs}
    made = {g.name(v) for m in stages.models.values() for n in m.graph for v in n.outputs}
    made |= {name for m in stages.models.values() for name in m.graph.initializers}
    return sorted(made - known - {"x", *stages.loaded.model.graph.initializers})


def renamed(proto: onnx.ModelProto, old: str, new: str) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for node in copy.graph.node:
        node.input[:] = [new if n == old else n for n in node.input]
        node.output[:] = [new if n == old else n for n in node.output]
    for value in copy.graph.output:
        value.name = new if value.name == old else value.name
    return copy


@pytest.mark.parametrize("old", ["first", "left", "negative", "flat", "scores"])
def test_a_user_may_choose_any_name(old: str) -> None:
    """The names of the passes' own steps, in turn, for tensors in front of and behind them."""
    names = names_made()
    assert {"out_integers", "scores_matmul", "first_weights"} <= set(names)
    start = ["first", "left", "negative", "flat", "scores"].index(old)
    for name in [*names[start::5], "out_integers", f"{old}_integers", f"{old}_flipped"]:
        assert_equal(renamed(of_many_kinds().proto(), old, name))


# The axis of the channels


@pytest.mark.parametrize(
    "build, axis",
    [
        (lambda n: n.node("Conv", "x", np.ones((3, 3, 1, 1))), 1),
        (lambda n: n.node("Transpose", n.node("Conv", "x", np.ones((3, 3, 1, 1))),
                          perm=[0, 2, 3, 1]), 3),
        (lambda n: n.node("Relu", n.node("MatMul", "x", np.ones((3, 5)))), 3),
        (lambda n: n.node("Transpose", n.node("MatMul", "x", np.ones((3, 5))),
                          perm=[0, 3, 1, 2]), 1),
        (lambda n: n.node("MaxPool", "x", kernel_shape=[2, 2]), 1),
        (lambda n: n.node("Relu", "x"), 1),
    ],
)  # fmt: skip
def test_operators_in_front_say_where_channels_lie(build: Callable[[Net], str], axis: int) -> None:
    net = Net((1, 3, 3, 3))
    build(net)
    (output,) = prepare(annotated(net.proto())).graph.outputs
    assert provenance.channel_axis(output) == axis


@pytest.mark.parametrize(
    "build, axis",
    [
        (lambda n: n.node("Conv", "x", np.ones((3, 3, 1, 1))), 1),
        (lambda n: n.node("MatMul", n.quant("x"), np.ones((3, 5))), 3),
        (lambda n: n.node("Conv", n.node("Transpose", "x", perm=[0, 3, 1, 2]),
                          np.ones((3, 3, 1, 1))), 3),
        (lambda n: n.quant("x"), 1),
    ],
)  # fmt: skip
def test_operators_behind_an_input_say_where_channels_lie(
    build: Callable[[Net], str], axis: int
) -> None:
    net = Net((1, 3, 3, 3))
    build(net)
    (source,) = prepare(annotated(net.proto())).graph.inputs
    assert provenance.channel_axis(source) == axis


# Files that people brought


@pytest.mark.parametrize("analyze_only", [False, True])
@pytest.mark.parametrize("name", ["m3d", "cs6", "ren_a", "gemm_negative_alpha"])
def test_cases(name: str, analyze_only: bool, tmp_path: Path) -> None:
    folder = os.environ.get("SIRA_CASES")
    if not folder:
        pytest.skip("SIRA_CASES does not name the folder of cases")
    arguments = [str(Path(folder) / f"{name}.onnx"), "-o", str(tmp_path / "out"), "--verify", "2"]
    arguments += ["--input", "INT4"] if name == "gemm_negative_alpha" else []
    arguments += ["--analyze-only"] if analyze_only else ["--backend", "hls"]
    assert main(arguments) == 0
