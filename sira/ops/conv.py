"""Conv and ConvTranspose with constant weights: the multiply-accumulate of a sliding window.

Bounds per output channel from the sums of positive and of negative weights (SIRA, sec. 3), which
costs one pass over the weights. Padding adds real zeros: where zero is on the input's lattice they
are the integer 0 after a shift; where it is not (an input ``(x - mean) / std``), the taps at the
border are masked and the bias of the output differs between border classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.errors import SiraError
from sira.exact import Exact, rational_gcd
from sira.interval import Interval
from sira.ops.base import Arg, Args, Constant, OpRule, Shape, affine, numbers, register
from sira.ops.sliding import (
    IntegerConv,
    bias_through,
    bounds,
    compact,
    full_shape,
    is_zero,
    real_bounds,
    slide,
)
from sira.ops.windows import Axis, convolution_axes, transposed_axes
from sira.scaled import ONE, ZERO, Ints, Real, ScaledInt, multiply

_MAX_MULTIPLE = 2**16
"""Scales along the summed axis must be integer multiples up to this of a common one."""


def integer_conv(
    x: ScaledInt, weights: Constant, groups: int, axes: list[Axis]
) -> IntegerConv | str:
    """The convolution on integers, or the reason why there is none."""
    w = weights.scaled
    if w is None:
        return "the weights are not quantized"
    if not isinstance(w.bias, Exact) or any(b != 0 for b in w.bias.values.ravel()):
        return "the weights' zero point is not an integer"
    assert isinstance(w.scale, Exact)
    rank = w.lo.ndim
    channels = w.lo.shape[1] * groups
    along = compact(x.scale, channels, rank)
    if along is None:
        return "the input's scale differs within a channel"
    found = _weights_and_scale(w, along, groups, rank)
    if isinstance(found, str):
        return found
    matrix, scale = found
    factor = np.gcd.reduce(matrix.reshape(len(matrix), -1), axis=1)
    factor = np.where(factor == 0, 1, factor).reshape((-1,) + (1,) * (rank - 1))
    if (factor != 1).any():
        matrix = matrix // factor
        scale = multiply(scale, Exact.of(factor[..., 0]))
    zero = None
    if any(axis.padded for axis in axes) and not is_zero(x.bias):
        zero = _zero_point(x, channels, rank)
    return IntegerConv(matrix, groups, scale, zero)


def _weights_and_scale(
    w: ScaledInt, along: Real, groups: int, rank: int
) -> tuple[Ints, Real] | str:
    """Fold what differs along the summed axes into the weights; scale is () or (O, 1, ..., 1)."""
    outputs, inputs = w.lo.shape[:2]
    assert isinstance(w.scale, Exact)
    scale_w = w.scale.values.reshape(_matrix_shape(w.scale.shape, rank))  # (O|1, I|1, taps|1)
    per_output = bool((scale_w == scale_w[:, :1, :1]).all())
    if along.shape == () and scale_w.size == 1:
        return w.lo, multiply(along, Exact(scale_w.reshape(())))

    def spread(a: NDArray[Any]) -> NDArray[Any]:
        by_group = np.broadcast_to(a, (inputs * groups,)).reshape(groups, inputs)
        return np.repeat(by_group, outputs // groups, axis=0)

    scale_x = along.map(spread)  # (O, I)
    if isinstance(scale_x, Exact):
        uniform = bool((scale_x.values == scale_x.values[:, :1]).all())
    else:  # equal enclosures may enclose different numbers
        uniform = along.shape == () or inputs == 1
    if per_output and uniform:
        scale = multiply(scale_x.map(lambda a: a[:, 0]), Exact(scale_w[:, 0, 0]))
        return w.lo, scale.map(lambda a: a.reshape((-1,) + (1,) * (rank - 2)))
    if not isinstance(scale_x, Exact):
        return "the input's scale is irrational and scales differ along the summed axis"
    combined = scale_x.values[:, :, None] * scale_w  # (O, I, taps|1)
    bases = np.array([rational_gcd(row) for row in combined], object)
    multiples = combined / bases.reshape(-1, 1, 1)
    if any(m > _MAX_MULTIPLE for m in multiples.ravel()):
        return "the scales along the summed axis are in no ratio of small integers"
    whole = multiples.astype(np.int64)
    matrix = (w.lo.reshape(outputs, inputs, -1) * whole).reshape(w.lo.shape)
    return matrix, Exact(bases.reshape((-1,) + (1,) * (rank - 2)))


def _matrix_shape(shape: Shape, rank: int) -> Shape:
    """The shape of a weight scale as (outputs, inputs, taps), each 1 where it does not differ."""
    padded = (1,) * (rank - len(shape)) + shape
    return (*padded[:2], int(np.prod(padded[2:])))


def _zero_point(x: ScaledInt, channels: int, rank: int) -> Ints | None:
    """``-bias / scale`` (C,) where it is an integer everywhere."""
    bias, scale = (compact(v, channels, rank) for v in (x.bias, x.scale))
    if not isinstance(bias, Exact) or not isinstance(scale, Exact):
        return None
    q = -(bias / scale).values
    if any(v.denominator != 1 for v in np.ravel(q)):
        return None
    return np.broadcast_to(np.asarray(q, object).astype(np.int64), (channels,))


def _convolve(node: ir.Node, x: Arg, weights: Constant, groups: int, axes: list[Axis]) -> Arg:
    rank = 2 + len(axes)
    if isinstance(x, ScaledInt):
        conv = integer_conv(x, weights, groups, axes)
        if isinstance(conv, IntegerConv):
            result = _integer(node, x, conv, weights, axes, rank)
            if result is not None:
                return result
            conv = "the input's bias differs within a channel"
        reason = f"{g.describe(node)}: {conv}"
    else:
        reason = f"{g.describe(node)}: its input has no integer core"
    y = numbers(x)
    assert isinstance(y, Interval)
    return real_bounds(y, weights.real_interval, groups, axes).because(y.reason or reason)


def _integer(
    node: ir.Node,
    x: ScaledInt,
    conv: IntegerConv,
    weights: Constant,
    axes: list[Axis],
    rank: int,
) -> ScaledInt | None:
    channels = conv.weights.shape[1] * conv.groups
    lo, hi, bias = x.lo, x.hi, x.bias
    if conv.zero is not None:
        shift = conv.zero.reshape((-1,) + (1,) * (rank - 2))
        lo, hi, bias = x.lo - shift, x.hi - shift, ZERO
        if x.is_point:
            hi = lo
    compact_bias = compact(bias, channels, rank)
    if compact_bias is None:
        return None
    assert weights.scaled is not None
    out_bias = bias_through(compact_bias, weights.scaled, conv.groups, axes)
    where = g.describe(node)
    if x.is_point:
        size = [axis.size for axis in axes]
        q = slide(np.broadcast_to(lo, full_shape(lo, channels, size)), conv, axes, where)
        return ScaledInt(q, q, conv.scale, out_bias)
    return ScaledInt(*bounds(lo, hi, conv, axes, rank, where), conv.scale, out_bias)


def _operands(node: ir.Node, args: Args) -> tuple[Arg, Constant]:
    x, weights = args[0], args[1]
    if not isinstance(weights, Constant) or x is None or isinstance(x, Constant):
        raise SiraError(
            f"only {node.op_type} of a computed tensor with constant weights is supported",
            where=g.describe(node),
        )
    return x, weights


def _with_bias(node: ir.Node, y: Arg, args: Args, rank: int) -> Arg:
    bias = args[2] if len(args) > 2 else None
    if bias is None:
        return y
    if not isinstance(bias, Constant):
        raise SiraError("the bias must be constant", where=g.describe(node))
    column = (-1,) + (1,) * (rank - 2)
    return affine(y, ONE, bias.real.map(lambda a: np.reshape(a, column)))


def _conv(node: ir.Node, args: Args) -> list[Arg]:
    x, weights = _operands(node, args)
    kernel = weights.real_shape[2:]
    size = g.shape(node.inputs[0])[2:]  # type: ignore[arg-type]
    axes = convolution_axes(node, size, kernel)
    y = _convolve(node, x, weights, int(g.attribute(node, "group", 1)), axes)
    return [_with_bias(node, y, args, 2 + len(axes))]


def _conv_transpose(node: ir.Node, args: Args) -> list[Arg]:
    x, weights = _operands(node, args)
    groups = int(g.attribute(node, "group", 1))
    size = g.shape(node.inputs[0])[2:]  # type: ignore[arg-type]
    axes = transposed_axes(node, size, weights.real_shape[2:])
    y = _convolve(node, x, _swapped(weights, groups), groups, axes)
    return [_with_bias(node, y, args, 2 + len(axes))]


def _swapped(weights: Constant, groups: int) -> Constant:
    """Weights (C, O/groups, *kernel) of ConvTranspose as those of Conv: (O, C/groups, *kernel)."""

    def swap(a: NDArray[Any]) -> NDArray[Any]:
        if a.ndim < 2:
            return a
        if a.shape[0] == 1:
            return (
                np.moveaxis(a, 0, 1)
                if groups == 1
                else np.repeat(np.moveaxis(a, 0, 1), groups if a.shape[1] > 1 else 1, axis=0)
            )
        split = a.reshape(groups, a.shape[0] // groups, *a.shape[1:])
        return np.moveaxis(split, 2, 1).reshape(
            groups * a.shape[1], a.shape[0] // groups, *a.shape[2:]
        )

    return weights.map(swap)


def _conv_shapes(
    node: ir.Node, shapes: list[Shape], constants: list[NDArray[Any] | None]
) -> list[Shape]:
    x, w = shapes[:2]
    groups = int(g.attribute(node, "group", 1))
    if len(x) < 3 or len(w) != len(x) or x[1] != w[1] * groups or w[0] % groups:
        raise SiraError(
            "operand shapes do not fit",
            where=g.describe(node),
            expected="(N, C, ...) and (O, C / group, ...)",
            found=f"{x}, {w}, group {groups}",
        )
    axes = convolution_axes(node, x[2:], w[2:])
    return [(x[0], w[0], *(axis.outputs for axis in axes))]


def _transpose_shapes(
    node: ir.Node, shapes: list[Shape], constants: list[NDArray[Any] | None]
) -> list[Shape]:
    x, w = shapes[:2]
    groups = int(g.attribute(node, "group", 1))
    if len(x) < 3 or len(w) != len(x) or x[1] != w[0]:
        raise SiraError(
            "operand shapes do not fit",
            where=g.describe(node),
            expected="(N, C, ...) and (C, O / group, ...)",
            found=f"{x} and {w}",
        )
    axes = transposed_axes(node, x[2:], w[2:])
    return [(x[0], w[1] * groups, *(axis.outputs for axis in axes))]


register("Conv", rule=OpRule("mac", _conv, _conv_shapes))
register("ConvTranspose", rule=OpRule("mac", _conv_transpose, _transpose_shapes))
