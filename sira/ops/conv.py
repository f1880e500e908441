"""Conv and ConvTranspose with constant weights: sums of products over a sliding window.

Weights (O, I, *kernel) in G groups are G matrices (I * taps, O / G), which meet the rows of inputs
that the taps read (im2col). In analysis there is one row for each border class, not one for each
position: padding adds real zeros, and where zero is an integer of the input, or in its range, that
is a row like the others. Where it is not (an input ``(x - mean) / std``), the taps on padding are
left out, and the bias of the output differs between the border classes.

An input that differs within a channel counts with the channel's smallest and largest value, also
where each of its elements is constant; only data and constants are summed position by position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.int64 import Ints, integer_matmul, plus, whole_numbers
from sira.numbers.interval import Interval
from sira.numbers.scaled import ONE, ZERO, Real, ScaledInt, Value, divide
from sira.ops.base import (
    Arg,
    Args,
    Constant,
    Constants,
    Mac,
    OpRule,
    Shape,
    affine,
    check_parameter,
    numbers,
    register,
)
from sira.ops.products import (
    IntegerMac,
    integer_weights,
    offsets,
    on_one_scale,
    real_sums,
    sums,
)
from sira.ops.windows import Window, convolution_window, transposed_window

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Convolution:
    """Weights (O, I, *kernel) in groups, and the window they slide with."""

    weights: Constant
    groups: int
    window: Window

    @property
    def shape(self) -> Shape:
        return self.weights.real_shape

    @property
    def channels(self) -> int:
        """Input channels."""
        return self.shape[1] * self.groups

    @property
    def column(self) -> Shape:
        """The shape of one number for each channel of a tensor."""
        return (-1,) + (1,) * len(self.window.axes)

    def matrices(self, a: Array) -> Array:
        """An array that broadcasts to the weights, as (G, I * taps, O / G)."""
        a = a.reshape((1,) * (len(self.shape) - a.ndim) + a.shape)
        if a.size == 1:
            return a.reshape(1, 1, 1)
        if a.size == a.shape[0]:
            return a.reshape(self.groups, 1, -1)
        full = np.broadcast_to(a, self.shape)
        return full.reshape(self.groups, self.shape[0] // self.groups, -1).swapaxes(1, 2)

    def rows(self, a: Array, masks: NDArray[np.bool_]) -> Array:
        """One number for each input channel as rows (G, classes, I * taps), 0 on padding."""
        by_group = np.broadcast_to(a, (self.channels,)).reshape(self.groups, 1, -1, 1)
        return np.where(masks[:, None], by_group, 0).reshape(self.groups, len(masks), -1)

    def patches(self, a: Array) -> Array:
        """Inputs (..., C, *size) as rows (..., G, positions, I * taps)."""
        lead = a.shape[: a.ndim - len(self.column)]
        found = self.window.patches(a.reshape(*lead, self.groups, -1, *self.window.size))
        found = found.swapaxes(-2, -3)  # (..., G, positions, I, taps)
        return found.reshape(*found.shape[:-2], -1)

    def per_output(self, a: Array) -> Array:
        """One number for each output (G or 1, ..., O / G or 1) as (O, 1, ...)."""
        a = a.reshape(a.shape[0], a.shape[-1])
        return np.broadcast_to(a, (self.groups, self.shape[0] // self.groups)).reshape(self.column)

    def outputs(self, a: Array) -> Array:
        """Sums (..., G, positions, O / G) as a tensor (..., O, *outputs)."""
        return a.swapaxes(-1, -2).reshape(*a.shape[:-3], self.shape[0], *self.window.outputs)


@dataclass(frozen=True, eq=False)
class IntegerConv:
    """``scale * sum(weights * (q + offset))``, where padding adds nothing.

    ``mac.weights`` is (G, I * taps, O / G). ``offset`` is one number or one for each input channel
    (C,): the bias of the input over its scale. ``integer_offset`` is the same where all of it are
    integers and padding makes that matter: then q + offset are what is summed, and padding is 0.
    """

    conv: Convolution
    mac: IntegerMac
    offset: Real
    integer_offset: Ints | None

    @property
    def weights(self) -> Ints:
        """The integer weights (O, I, *kernel)."""
        return self.mac.weights.swapaxes(1, 2).reshape(self.conv.shape)

    @property
    def zero(self) -> Ints | None:
        """The integers (C,) that mean real zero, to be subtracted in front of padding."""
        return (
            None
            if self.integer_offset is None
            else -np.broadcast_to(self.integer_offset, (self.conv.channels,))
        )


def window_of(node: ir.Node, weights: Constant) -> Window:
    """The window of a Conv or ConvTranspose node."""
    return convolution_of(node, weights).window


def integer_conv(x: ScaledInt, conv: Convolution) -> IntegerConv | str:
    """The convolution on integers, or the reason why there is none."""
    w = integer_weights(conv.weights)
    if isinstance(w, str):
        return w
    scale, bias = (_per_channel(v, conv) for v in (x.scale, x.bias))
    if scale is None or bias is None:
        return f"the input's {'bias' if bias is None else 'scale'} differs within a channel"
    taps = np.ones((1, prod(conv.shape[2:])), bool)
    along = scale.map(lambda a: conv.rows(a, taps).swapaxes(1, 2)) if scale.shape else scale
    mac = on_one_scale(w.map(conv.matrices), along)
    if isinstance(mac, str):
        return mac
    offset = divide(bias, scale)
    return IntegerConv(conv, mac, offset, whole_numbers(offset) if conv.window.padded else None)


def convolution_of(node: ir.Node, weights: Constant) -> Convolution:
    """What a Conv or ConvTranspose node with these weights computes."""
    groups, kernel = _groups(node), weights.real_shape[2:]
    if node.op_type == "ConvTranspose":
        window = transposed_window(node, _size(node), kernel)
        return Convolution(_outputs_first(weights, groups), groups, window)
    return Convolution(weights, groups, convolution_window(node, _size(node), kernel))


def _size(node: ir.Node) -> Shape:
    assert node.inputs[0] is not None
    return g.shape(node.inputs[0])[2:]


def _per_channel(x: Real, conv: Convolution) -> Real | None:
    """``x`` as () or (C,), or None where it differs within a channel."""
    rank = len(conv.column)
    if isinstance(x, Exact) and any(d != 1 for d in x.shape[1 - rank :]):
        first = x.map(lambda a: a[(..., *(slice(1),) * min(a.ndim, rank - 1))])
        x = first if (x.values == first.values).all() else x
    size = prod(x.shape)
    if size == 1:
        return x.map(lambda a: a.reshape(()))
    if len(x.shape) >= rank and x.shape[-rank] == size:
        return x.map(lambda a: np.broadcast_to(a, x.shape).reshape(conv.channels))
    return None


def _worst(bound: Array, f: Callable[..., Array], conv: Convolution) -> Array:
    """The worst bound () or (C,) over the positions of each channel; f is np.min or np.max."""
    rank = len(conv.column)
    if bound.size == 1 or bound.ndim < rank:
        return np.asarray(f(bound))
    return np.asarray(f(bound.reshape(-1, *bound.shape[-rank:]), axis=(0, *range(2, rank + 1))))


def _masks(low: Array, high: Array, conv: Convolution) -> NDArray[np.bool_]:
    """The border classes that bounds depend on: all of them, unless every range holds 0."""
    masks = conv.window.masks
    if (low <= 0).all() and (high >= 0).all() and masks.all(axis=1).any():
        return masks[masks.all(axis=1)][:1]
    return masks


def _convolve(node: ir.Node, x: Value, conv: Convolution, known: bool) -> Value:
    """The sums; ``known``: the input is a constant."""
    where = g.describe(node)
    if isinstance(x, ScaledInt):
        integer = integer_conv(x, conv)
        if isinstance(integer, IntegerConv):
            return _integer_sums(x, integer, where, known or x.lo.ndim > len(conv.shape))
        reason = f"{where}: {integer}"
    else:
        reason = f"{where}: its input has no integer core"
    y = numbers(x)
    assert isinstance(y, Interval)
    weights = conv.weights.real_interval.map(conv.matrices)
    if y.lo.ndim > len(conv.shape):  # data
        result = real_sums(y.map(lambda a: conv.patches(_full(a, conv))), weights)
        return result.map(conv.outputs).because(y.reason or reason)
    low, high = _worst(y.lo, np.min, conv), _worst(y.hi, np.max, conv)
    masks = _masks(low, high, conv)
    result = real_sums(Interval(conv.rows(low, masks), conv.rows(high, masks)), weights)
    lo, hi = result.lo.min(axis=1), result.hi.max(axis=1)
    return Interval(conv.per_output(lo), conv.per_output(hi)).because(y.reason or reason)


def _integer_sums(x: ScaledInt, integer: IntegerConv, where: str, data: bool) -> ScaledInt:
    """The sums; those of ``data`` (samples, ...) for each position."""
    conv, mac, offset = integer.conv, integer.mac, integer.offset
    scale = mac.scale.map(lambda a: conv.per_output(a) if a.ndim else a)
    lo, hi = x.lo, x.hi
    if integer.integer_offset is not None:
        shift = (
            integer.integer_offset.reshape(conv.column)
            if integer.integer_offset.ndim
            else integer.integer_offset
        )
        lo, hi, offset = plus(lo, shift, where), plus(hi, shift, where), ZERO
    bias = _bias(conv, mac, offset)
    if data and x.is_point:
        samples = _full(lo, conv)
        q = np.stack([integer_matmul(conv.patches(s), mac.weights, where) for s in samples])
        q = conv.outputs(q)
        return ScaledInt(q, q, scale, bias)
    low, high = _worst(lo, np.min, conv), _worst(hi, np.max, conv)
    masks = _masks(low, high, conv)
    lo, hi = sums(conv.rows(low, masks), conv.rows(high, masks), mac.weights, where)
    lo, hi = conv.per_output(lo.min(axis=1)), conv.per_output(hi.max(axis=1))
    return ScaledInt(lo, hi, scale, bias)


def _bias(conv: Convolution, mac: IntegerMac, offset: Real) -> Real:
    """What the input's offset adds: (), (O, 1, ...), or (O, *outputs) where padding differs."""
    masks = conv.window.masks
    total = offsets(offset.map(lambda a: conv.rows(a, masks)), mac)  # (G, classes, O / G)
    if not total.shape:
        return total
    if len(masks) == 1:
        return total.map(conv.per_output)
    return total.map(lambda a: conv.outputs(a[:, conv.window.members]))


def _full(a: Array, conv: Convolution) -> Array:
    """Data with every axis at its size: (samples, C, *size), or (samples, 1, C, *size)."""
    rank = len(conv.shape)
    lead = a.shape[: a.ndim - rank + 1] if a.ndim >= rank else (1,)
    return np.broadcast_to(a, (*lead, conv.channels, *conv.window.size))


def _conv(node: ir.Node, args: Args) -> list[Arg]:
    x, weights, bias = _operands(node, args)
    conv = convolution_of(node, weights)
    known = isinstance(args[0], Constant)
    return [_plus(_convolve(node, x, conv, known), bias, conv)]


def _operands(node: ir.Node, args: Args) -> tuple[Value, Constant, Constant | None]:
    x, weights, bias = args[0], args[1], args[2] if len(args) > 2 else None
    if x is not None and isinstance(weights, Constant) and isinstance(bias, Constant | None):
        return x.values if isinstance(x, Constant) else x, weights, bias
    raise SiraError(
        f"{node.op_type} needs constant weights and a constant bias",
        where=g.describe(node),
        expected="constants behind the first operand",
        found=", ".join(g.name(v) for v in g.dynamic_inputs(node)),
        remedy="export the model with static weights",
    )


def _groups(node: ir.Node) -> int:
    return int(g.attribute(node, "group", 1))


def _plus(y: Value, bias: Constant | None, conv: Convolution) -> Value:
    if bias is None:
        return y
    return affine(y, ONE, bias.real.map(lambda a: a.reshape(conv.column)))


def _outputs_first(weights: Constant, groups: int) -> Constant:
    """Weights (C, O / G, *kernel) of ConvTranspose as those of Conv, (O, C / G, *kernel)."""
    shape = weights.real_shape

    def swap(a: Array) -> Array:
        if a.size == 1:
            return a.reshape((1,) * len(shape))
        a = a.reshape((1,) * (len(shape) - a.ndim) + a.shape)
        a = np.broadcast_to(a, (*shape[:2], *a.shape[2:]))
        split = a.reshape(groups, -1, *a.shape[1:]).swapaxes(1, 2)
        return split.reshape(-1, *split.shape[2:])

    return weights.map(swap)


def _conv_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    (x, w), groups = shapes[:2], _groups(node)
    if len(x) < 3 or len(w) != len(x) or x[1] != w[1] * groups or w[0] % groups:
        raise _no_fit(node, "(N, C, ...) and (O, C / group, ...)", x, w)
    _check_bias(node, shapes, w[0])
    return [(x[0], w[0], *convolution_window(node, x[2:], w[2:]).outputs)]


def _transpose_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    (x, w), groups = shapes[:2], _groups(node)
    if len(x) < 3 or len(w) != len(x) or x[1] != w[0] or x[1] % groups:
        raise _no_fit(node, "(N, C, ...) and (C, O / group, ...)", x, w)
    _check_bias(node, shapes, w[1] * groups)
    return [(x[0], w[1] * groups, *transposed_window(node, x[2:], w[2:]).outputs)]


def _check_bias(node: ir.Node, shapes: list[Shape], outputs: int) -> None:
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        check_parameter(node, 2, shapes[2], shapes[2] == (outputs,), (outputs,))


def _no_fit(node: ir.Node, expected: str, x: Shape, w: Shape) -> SiraError:
    return SiraError(
        "operand shapes do not fit",
        where=g.describe(node),
        expected=expected,
        found=f"{x} and {w}, group {_groups(node)}",
    )


def _conv_view(node: ir.Node) -> Mac:
    x, w = node.inputs[:2]
    assert x is not None and w is not None
    shape = g.shape(w)
    return Mac(
        x, w, prod(shape[1:]), 1 - len(shape), _groups(node), lambda a: a.reshape(len(a), -1).T
    )


def _transpose_view(node: ir.Node) -> Mac:
    x, w = node.inputs[:2]
    assert x is not None and w is not None
    shape, groups = g.shape(w), _groups(node)

    def matrix(a: Array) -> Array:
        rows = np.moveaxis(a.reshape(groups, -1, *shape[1:]), 2, 1)
        return rows.reshape(groups * shape[1], -1).T

    summands = shape[0] // groups * prod(shape[2:])
    return Mac(x, w, summands, 1 - len(shape), groups, matrix)


register("Conv", rule=OpRule("mac", _conv, _conv_shapes, mac=_conv_view))
register("ConvTranspose", rule=OpRule("mac", _conv, _transpose_shapes, mac=_transpose_view))
