"""Integers of averages and sums over windows: convolutions with ones.

An average is a sum whose scale is divided by the number of elements. Around the border of a tensor
a window may hold fewer; then sums are multiplied so that all have one scale.
"""

from __future__ import annotations

from math import lcm, prod
from typing import Any

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.datatypes import smallest_type
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.scaled import Ints, multiply
from sira.ops.axes import MAX_MULTIPLE, arrays
from sira.ops.reduce import reduce_axes
from sira.ops.windows import Window, pooling_window
from transforms.builder import as_floats
from transforms.integer.graph import IntegerGraph, Rule, Rules
from transforms.integer.lattice import on_lattice


def _global(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value:
    shape = g.shape(node.inputs[0])  # type: ignore[arg-type]
    return _total(graph, node, value, tuple(range(2, len(shape))), prod(shape[2:]))


def _reduced(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value:
    """ReduceSum and ReduceMean."""
    shape = g.shape(node.inputs[0])  # type: ignore[arg-type]
    axes = tuple(a % len(shape) for a in reduce_axes(node, len(shape), arrays(node)))
    count = prod(shape[a] for a in axes) if node.op_type == "ReduceMean" else 1
    return _total(graph, node, value, axes, count)


def _total(
    graph: IntegerGraph, node: ir.Node, value: ir.Value, axes: tuple[int, ...], divisor: int
) -> ir.Value:
    """The sum over whole axes."""
    x = node.inputs[0]
    assert x is not None
    shape, range_, b, name = g.shape(x), graph.scaled(value), graph.b, graph.name(value)
    if not axes:
        return graph.core(x)
    if (0 in axes and shape[0] != 1) or len(shape) < 2:
        raise SiraError(
            "there is no hardware for a sum over the batch",
            where=g.describe(node),
            expected="a sum over channels or positions",
            found=f"axes {list(axes)} of {shape}",
        )
    own = graph.scaled(x)
    scale = multiply(range_.scale, Exact.of(divisor))
    u = graph.core(x) if 1 not in axes else on_lattice(graph, x, scale, own.bias)
    kept = tuple(1 if i in axes else d for i, d in enumerate(shape))
    stem = name if kept == g.shape(value) else f"{name}_sum"
    if len(shape) == 2:
        ones = b.constant(f"{name}_ones", as_floats(np.ones((shape[1], 1), np.int64)))
        result = b.node("MatMul", [u, ones], stem, kept, name=node.name)
    else:
        kernel = tuple(d if i in axes else 1 for i, d in enumerate(shape[2:], 2))
        outputs, groups = (1, 1) if 1 in axes else (shape[1], shape[1])
        weights = np.ones((outputs, shape[1] // groups, *kernel), np.int64)
        ones = b.constant(f"{name}_ones", as_floats(weights))
        attributes = {"group": groups, "kernel_shape": kernel}
        result = b.node("Conv", [u, ones], stem, kept, name=node.name, attributes=attributes)
    if stem != name:
        target = b.constant(f"{name}_shape", np.asarray(g.shape(value), np.int64))
        result = b.node("Reshape", [result, target], name, g.shape(value))
    return result


def _average(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value:
    """AveragePool: a convolution with ones for each channel; padding adds nothing."""
    x = node.inputs[0]
    assert x is not None
    shape, own = g.shape(x), graph.scaled(x)
    window = pooling_window(node, shape[2:])
    padded = bool(g.attribute(node, "count_include_pad", 0))
    divisors = [axis.padded if padded else axis.sizes for axis in window.axes]
    divisor: Ints = np.ones((), np.int64)
    for d in divisors:
        divisor = divisor[..., None] * (d[:1] if (d == d[0]).all() else d)
    common = lcm(*(int(d) for d in divisor.ravel()))
    differs = any(
        d != 1 for d in own.scale.shape[max(len(own.scale.shape) - len(window.axes), 0) :]
    )
    if common > MAX_MULTIPLE or (differs and len(own.scale.shape) > 1):
        raise SiraError(
            "the average has no integers on one scale",
            where=g.describe(node),
            expected="one scale for each channel, windows whose sizes have a small common multiple",
            found=f"windows of {sorted(set(divisor.ravel().tolist()))} elements",
            remedy="use count_include_pad=1, or average without padding",
        )
    factor = common // divisor
    name = graph.name(value)
    stem = name if (factor == 1).all() else f"{name}_sum"
    u = _ones(graph, node, graph.core(x), value, window, stem)
    if stem == name:
        return u
    factors = graph.b.constant(
        f"{name}_factor", as_floats(factor if factor.size > 1 else factor.ravel()[0])
    )
    return graph.b.node("Mul", [u, factors], name, g.shape(value))


def _ones(
    graph: IntegerGraph,
    node: ir.Node,
    u: ir.Value,
    value: ir.Value,
    window: Window,
    name: str,
) -> ir.Value:
    """The sum of each window, with the pads that give these windows."""
    axes, channels = window.axes, g.shape(u)[1]
    kernel = tuple(axis.kernel for axis in axes)
    attributes: dict[str, Any] = {
        "group": channels,
        "kernel_shape": kernel,
        "strides": tuple(axis.stride for axis in axes),
        "dilations": tuple(axis.dilation for axis in axes),
        "pads": (*(axis.before for axis in axes), *(axis.overhang for axis in axes)),
    }
    ones = graph.b.constant(
        f"{g.name(value)}_ones", as_floats(np.ones((channels, 1, *kernel), np.int64))
    )
    return graph.b.node(
        "Conv", [u, ones], name, g.shape(value), name=node.name, attributes=attributes
    )


def _shifted_sum(graph: IntegerGraph, node: ir.Node, value: ir.Value) -> ir.Value:
    """QuantAvgPool2d: thresholds where the sum, shifted right, reaches the next integer."""
    x = node.inputs[0]
    assert x is not None
    shape = g.shape(x)
    if g.attribute(node, "data_layout", "NCHW") != "NCHW":
        raise SiraError(
            "there is no hardware for this pooling",
            where=g.describe(node),
            expected="data_layout NCHW",
            found=str(g.attribute(node, "data_layout")),
        )
    k, stride = (int(g.attribute(node, a, 1)) for a in ("kernel", "stride"))
    u = on_lattice(graph, x, Exact.of(1), Exact.of(0))
    ones = graph.b.constant(
        f"{g.name(value)}_ones", as_floats(np.ones((shape[1], 1, k, k), np.int64))
    )
    attributes = {"group": shape[1], "kernel_shape": (k, k), "strides": (stride, stride)}
    name = graph.name(value)
    u = graph.b.node(
        "Conv", [u, ones], f"{name}_sum", g.shape(value), name=node.name, attributes=attributes
    )
    accumulator = ((2 ** int(g.attribute(node, "ibits", 1)) - 1) * k * k).bit_length()
    shift = max(accumulator - int(g.attribute(node, "obits", 1)), 0)
    range_ = graph.scaled(value)
    low, high = int(range_.lo.min()), int(range_.hi.max())
    steps = np.arange(low + 1, max(high, low + 1) + 1)[None] << shift
    thresholds = graph.b.constant(f"{name}_thresholds", as_floats(steps))
    counted: dict[str, object] = {
        "out_dtype": smallest_type(low, low + steps.size),
        "out_scale": 1.0,
        "out_bias": float(low),
    }
    return graph.b.node(
        "MultiThreshold", [u, thresholds], name, g.shape(value), attributes=counted, custom=True
    )


RULES: Rules = {
    "AveragePool": Rule(_average),
    "GlobalAveragePool": Rule(_global),
    "QuantAvgPool2d": Rule(_shifted_sum),
    "ReduceSum": Rule(_reduced),
    "ReduceMean": Rule(_reduced),
}
