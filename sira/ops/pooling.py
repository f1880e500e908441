"""MaxPool, AveragePool, their global forms and QuantAvgPool2d.

The maximum of integers is one of them; their average over n elements is their sum with 1/n of the
scale. Padding never wins a maximum; in an average it counts as the real number 0 or not at all.
"""

from __future__ import annotations

from functools import partial, reduce
from math import lcm, prod
from operator import add
from typing import Any

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.int64 import plus, times, whole_numbers
from sira.numbers.interval import Interval
from sira.numbers.scaled import ZERO, Ints, Real, ScaledInt, Value, divide
from sira.ops.axes import (
    MAX_MULTIPLE,
    Array,
    aligned,
    both,
    check_sum,
    common_lattice,
    no_output_but_first,
    take,
)
from sira.ops.base import Arg, Args, Constants, OpRule, Shape, numbers, operand, register
from sira.ops.reduce import picked, summed
from sira.ops.windows import Attributes, Axis, integer, pooling_window, slid

Pooled = dict[int, Axis]
"""The windows along each pooled axis, counted from the end."""


def _spatial(node: ir.Node) -> list[int]:
    """The axes behind batch and channels."""
    return list(range(2 - len(g.shape(node.inputs[0])), 0))  # type: ignore[arg-type]


def _pooled(node: ir.Node) -> Pooled:
    axes = _spatial(node)
    shape = g.shape(node.inputs[0])  # type: ignore[arg-type]
    return dict(zip(axes, pooling_window(node, shape[2:]).axes, strict=True))


def _along(v: Array, axis: int) -> Array:
    """A vector laid along ``axis``."""
    return v.reshape(-1, *(1,) * (-axis - 1))


def _product(vectors: dict[int, Ints]) -> Ints:
    """Product of vectors laid along their axes; an axis without variation has size 1."""
    laid = [_along(v[:1] if (v == v[0]).all() else v, axis) for axis, v in vectors.items()]
    return reduce(np.multiply, laid)


def _gather(a: Array, w: Axis, k: int, axis: int, rank: int, zero: Any) -> Array:
    """Element ``k`` of every window along ``axis``, zero where it is not on the tensor."""
    taken = take(a, w.positions[:, k], axis, rank)
    inside = w.inside[:, k]
    return taken if inside.all() else np.where(_along(inside, axis), taken, zero)


def _sum_integers(q: Ints, pooled: Pooled, rank: int, factor: Ints) -> Ints:
    """Sums over windows, times ``factor``."""
    q = aligned(q, rank)
    still = {axis: w.sizes for axis, w in pooled.items() if q.shape[axis] == 1}
    for axis, w in pooled.items():
        if axis not in still:
            q = reduce(np.add, (_gather(q, w, k, axis, rank, 0) for k in range(w.kernel)))
    return np.asarray(q * _uniform(_product(still) * factor) if still else q * factor)


def _uniform(n: Ints) -> Ints:
    """One number, where all are the same: a divisor without padding undoes the border."""
    return n.ravel()[:1].reshape(()) if (n == n.ravel()[0]).all() else n


def _sum_reals(x: Real, pooled: Pooled, rank: int) -> Real:
    y: Real = x.map(lambda a: aligned(a, rank)) if isinstance(x, Exact) else both(x, rank)
    zero: Any = ZERO.values.item() if isinstance(y, Exact) else 0.0
    still = {axis: w.sizes for axis, w in pooled.items() if y.shape[axis] == 1}
    for axis, w in pooled.items():
        if axis not in still:
            picks = (
                partial(_gather, w=w, k=k, axis=axis, rank=rank, zero=zero) for k in range(w.kernel)
            )
            y = reduce(add, [y.map(pick) for pick in picks])
    return _times(y, _product(still)) if still else y


def _times(x: Real, n: Ints) -> Real:
    if isinstance(x, Exact):
        return x * Exact.of(n)
    return x * Interval.point(n.astype(np.float64))


def _over(x: Real, n: Ints) -> Real:
    return divide(x, Exact.of(n))


def _averaged(node: ir.Node, x: Value, pooled: Pooled, divisors: dict[int, Ints]) -> Value:
    """Sums over windows, each divided by the product of the divisors of its axes."""
    rank = len(g.shape(node.inputs[0]))  # type: ignore[arg-type]
    divisor = _product(divisors)
    reason = f"{g.describe(node)}: its input has no integer core"
    if isinstance(x, ScaledInt):
        lattice = common_lattice(node, x, list(pooled), rank, with_bias=False)
        if isinstance(lattice, ScaledInt):
            return _average_integers(node, lattice, pooled, divisors, rank)
        reason = f"{g.describe(node)}: {lattice}"
    y = _sum_reals(numbers(x), pooled, rank)
    if isinstance(y, Exact):
        return y / Exact.of(divisor)
    return (y / Interval.point(divisor)).because(getattr(x, "reason", "") or reason)


def _average_integers(
    node: ir.Node, x: ScaledInt, pooled: Pooled, divisors: dict[int, Ints], rank: int
) -> ScaledInt:
    """With a divisor that differs at the border, sums are brought onto a common lattice.

    Where that would take large multiples, the scale differs from place to place instead.
    """
    divisor = _product(divisors)
    common = lcm(*(int(d) for d in divisor.ravel()))
    one_scale = common <= MAX_MULTIPLE
    factor = common // divisor if one_scale else np.ones_like(divisor)
    check_sum(node, x, prod(w.kernel for w in pooled.values()) * int(factor.max()))
    lo = _sum_integers(x.lo, pooled, rank, factor)
    hi = lo if x.hi is x.lo else _sum_integers(x.hi, pooled, rank, factor)
    scale = _over(x.scale, np.asarray(common) if one_scale else divisor)
    whole = all((w.sizes == divisors[axis]).all() for axis, w in pooled.items())
    still = all((*(1,) * rank, *x.bias.shape)[axis] == 1 for axis in pooled)
    if isinstance(x.bias, Exact) and not x.bias.values.any():
        return ScaledInt(lo, hi, scale, ZERO)
    if whole and still:
        return ScaledInt(lo, hi, scale, x.bias)
    return ScaledInt(lo, hi, scale, _over(_sum_reals(x.bias, pooled, rank), divisor))


def _average_pool(node: ir.Node, args: Args) -> list[Arg]:
    pooled = _pooled(node)
    with_pads = g.attribute(node, "count_include_pad", 0)
    divisors = {axis: w.padded if with_pads else w.sizes for axis, w in pooled.items()}
    return [_averaged(node, operand(args[0]), pooled, divisors)]


def _largest(a: Array, pooled: Pooled, rank: int) -> Array:
    a = aligned(a, rank)
    for axis, w in pooled.items():
        if a.shape[axis] != 1:
            columns = w.positions.T
            a = reduce(np.maximum, (take(a, column, axis, rank) for column in columns))
    return a


def _largest_exact(x: Exact, pooled: Pooled, rank: int) -> Exact:
    for axis, w in pooled.items():
        parts = [Exact(take(x.values, column, axis, rank)) for column in w.positions.T]
        x = reduce(Exact.maximum, parts)
    return x


def _max_pool(node: ir.Node, args: Args) -> list[Arg]:
    no_output_but_first(node)
    pooled, x = _pooled(node), operand(args[0])
    rank = len(g.shape(node.inputs[0]))  # type: ignore[arg-type]
    reason = ""
    if isinstance(x, ScaledInt):
        lattice = common_lattice(node, x, list(pooled), rank, with_bias=True)
        if isinstance(lattice, ScaledInt):
            lo = _largest(lattice.lo, pooled, rank)
            hi = lo if lattice.hi is lattice.lo else _largest(lattice.hi, pooled, rank)
            return _with_indices(node, ScaledInt(lo, hi, lattice.scale, lattice.bias))
        reason = f"{g.describe(node)}: {lattice}"
    y = numbers(x)
    if isinstance(y, Exact):
        return _with_indices(node, _largest_exact(y, pooled, rank))
    return _with_indices(node, y.map(lambda a: _largest(a, pooled, rank)).because(reason))


def _with_indices(node: ir.Node, largest: Value) -> list[Arg]:
    """MaxPool's second output, which nobody uses, may be anything."""
    return [largest, *[Interval.everything()] * (len(node.outputs) - 1)]


def _pool_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    if len(shapes[0]) < 3:
        raise SiraError(
            "pooling needs spatial axes",
            where=g.describe(node),
            expected="shape (batch, channels, ...)",
            found=str(shapes[0]),
        )
    outputs = pooling_window(node, shapes[0][2:]).outputs
    return [(*shapes[0][:2], *outputs)] * len(node.outputs)


def _global_average(node: ir.Node, args: Args) -> list[Arg]:
    shape, axes = g.shape(node.inputs[0]), _spatial(node)  # type: ignore[arg-type]
    return [summed(node, operand(args[0]), axes, shape, prod(shape[2:]))]


def _global_max(node: ir.Node, args: Args) -> list[Arg]:
    shape, axes = g.shape(node.inputs[0]), _spatial(node)  # type: ignore[arg-type]
    return [picked(node, operand(args[0]), axes, shape, "max")]


def _global_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    return [(*shapes[0][:2], *(1 for _ in shapes[0][2:]))]


def _quant_pooled(node: ir.Node, shape: Shape) -> Pooled:
    layout = g.attribute(node, "data_layout", "NCHW")
    if len(shape) != 4 or layout not in ("NCHW", "NHWC"):
        raise SiraError(
            "QuantAvgPool2d pools images",
            where=g.describe(node),
            expected="4 axes, NCHW or NHWC",
            found=f"{shape}, {layout}",
        )
    kernel, stride = (integer(node, name, 1, 1) for name in ("kernel", "stride"))
    axes = (-2, -1) if layout == "NCHW" else (-3, -2)
    given = Attributes((kernel,) * 2, (stride,) * 2, (1, 1), ((0, 0), (0, 0)), "VALID")
    window = slid(node, tuple(shape[axis] for axis in axes), given)
    return dict(zip(axes, window.axes, strict=True))


def _quant_average(node: ir.Node, args: Args) -> list[Arg]:
    """The sum of a window, shifted right so that it fits into ``obits`` bits."""
    x = operand(args[0])
    pooled = _quant_pooled(node, g.shape(node.inputs[0]))  # type: ignore[arg-type]
    ones = {axis: np.ones_like(w.sizes) for axis, w in pooled.items()}
    y = _averaged(node, x, pooled, ones)
    found = [whole_numbers(r) for r in (y.scale, y.bias)] if isinstance(y, ScaledInt) else []
    if not isinstance(y, ScaledInt) or len(integers := [r for r in found if r is not None]) < 2:
        raise SiraError(
            "QuantAvgPool2d shifts integers",
            where=g.describe(node),
            expected="an operand of integers of 64 bits",
            found=getattr(y, "reason", "") or "other numbers",
            remedy="average quantized values with AveragePool and Trunc instead",
        )
    (scale, bias), where = integers, g.describe(node)
    elements = int(g.attribute(node, "kernel", 1)) ** 2
    accumulator = ((2 ** integer(node, "ibits", 1, 1) - 1) * elements).bit_length()
    shift = accumulator - integer(node, "obits", 1, 1)
    if shift <= 0:
        return [y]

    def shifted(q: Ints) -> Ints:
        return np.asarray(plus(times(q, scale, where), bias, where) >> shift)

    lo = shifted(y.lo)
    return [ScaledInt.integers(lo, lo if y.hi is y.lo else shifted(y.hi))]


def _quant_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    shape = list(shapes[0])
    for axis, windows in _quant_pooled(node, shapes[0]).items():
        shape[axis] = windows.outputs
    return [tuple(shape)]


register("MaxPool", rule=OpRule("selection", _max_pool, _pool_shapes))
register("AveragePool", rule=OpRule("other", _average_pool, _pool_shapes))
register("GlobalAveragePool", rule=OpRule("other", _global_average, _global_shapes))
register("GlobalMaxPool", rule=OpRule("selection", _global_max, _global_shapes))
register("QuantAvgPool2d", rule=OpRule("other", _quant_average, _quant_shapes))
