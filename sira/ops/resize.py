"""Resize and Upsample, nearest and linear.

Which element is nearest, and with which weights two of them are mixed, is computed in fractions: a
float32 scale is the exact number it encodes. Nearest elements keep everything they have. Linear
interpolation is a weighted sum along one axis after the other; with weights of small denominators
it keeps the integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, floor, lcm, prod
from typing import Any

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import Ints, ScaledInt, Value, divide
from sira.ops.axes import (
    MAX_MULTIPLE,
    Array,
    aligned,
    arrays,
    both,
    broadcast_constant,
    check_sum,
    common_lattice,
    moved,
    need,
    negative,
    take,
)
from sira.ops.base import Arg, Args, Constants, OpRule, Shape, numbers, operand, register

_HALF = Fraction(1, 2)

_NEAREST: dict[str, Callable[[Fraction], int]] = {
    "round_prefer_floor": lambda x: ceil(x - _HALF),
    "round_prefer_ceil": lambda x: floor(x + _HALF),
    "floor": floor,
    "ceil": ceil,
}
_COORDINATES = (
    *("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"),
    *("half_pixel_symmetric", "tf_half_pixel_for_nn"),
)


@dataclass(frozen=True, eq=False)
class ResizedAxis:
    """Where the elements of one resized axis come from: ``places`` on an axis of ``size``."""

    places: tuple[Fraction, ...]
    size: int

    def nearest(self, mode: str) -> Ints:
        """The nearest element of each place."""
        found = [_NEAREST[mode](x) for x in self.places]
        return np.clip(np.array(found, np.int64), 0, self.size - 1)

    @cached_property
    def neighbours(self) -> tuple[Ints, Ints]:
        """The elements before and behind each place; the ends are repeated."""
        before = np.array([floor(x) for x in self.places], np.int64)
        return np.clip(before, 0, self.size - 1), np.clip(before + 1, 0, self.size - 1)

    @cached_property
    def weights(self) -> list[Fraction]:
        """Of the element behind each place."""
        return [x - floor(x) for x in self.places]

    @property
    def denominator(self) -> int:
        return lcm(*(w.denominator for w in self.weights))


def _coordinate(mode: str, x: int, scale: Fraction, size: int, resized: int) -> Fraction:
    """Where element ``x`` of the resized axis lies on the axis of ``size``."""
    match mode:
        case "asymmetric":
            return x / scale
        case "align_corners":
            return Fraction(x * (size - 1), resized - 1) if resized > 1 else Fraction(0)
        case "pytorch_half_pixel" if resized == 1:
            return Fraction(0)
        case "tf_half_pixel_for_nn":
            return (x + _HALF) / scale
        case "half_pixel_symmetric":
            adjustment = resized / (scale * size)
            return Fraction(size, 2) * (1 - adjustment) + (x + _HALF) / scale - _HALF
        case _:
            return (x + _HALF) / scale - _HALF


def _refuse(node: ir.Node, what: str, expected: str, found: object) -> SiraError:
    return SiraError(
        f"{what} is not supported",
        where=g.describe(node),
        expected=expected,
        found=str(found),
        remedy="export the model with another interpolation",
    )


def _modes(node: ir.Node) -> tuple[str, str, str]:
    """Interpolation, coordinates, and how a place is rounded to the nearest element."""
    mode = g.attribute(node, "mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise _refuse(node, "this interpolation", "nearest or linear", mode)
    if node.op_type == "Upsample" or len(node.inputs) == 2:  # as Resize was in opset 10
        return mode, "asymmetric", "floor"
    coordinates = g.attribute(node, "coordinate_transformation_mode", "half_pixel")
    if coordinates not in _COORDINATES:
        raise _refuse(node, "this mode of coordinates", ", ".join(_COORDINATES), coordinates)
    rounding = g.attribute(node, "nearest_mode", "round_prefer_floor")
    if rounding not in _NEAREST:
        raise _refuse(node, "this mode of rounding", ", ".join(_NEAREST), rounding)
    for name in ("antialias", "exclude_outside"):
        if g.attribute(node, name, 0):
            raise _refuse(node, name, "0", 1)
    policy = g.attribute(node, "keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        raise _refuse(node, "this policy of aspect ratios", "stretch", policy)
    return mode, coordinates, rounding


def _scales(node: ir.Node, constants: Constants) -> list[Fraction] | None:
    index = 1 if node.op_type == "Upsample" or len(node.inputs) == 2 else 2
    if node.op_type == "Upsample" and (given := g.attribute(node, "scales")) is not None:
        return [Fraction(float(np.float32(s))) for s in given]
    if need(node, constants, index, "scales"):
        found = constants[index]
        assert found is not None
        return [Fraction(s) for s in np.ravel(found).astype(np.float64).tolist()]
    return None


def _resized(node: ir.Node, shape: Shape, constants: Constants) -> dict[int, ResizedAxis]:
    """The axes that change, counted from the end."""
    rank = len(shape)
    _, mode, _ = _modes(node)
    chosen = g.attribute(node, "axes")
    axes = [negative(node, int(a), rank) for a in (range(rank) if chosen is None else chosen)]
    scales, sizes = _scales(node, constants), need(node, constants, 3, "sizes")
    if scales is None and sizes:
        scales = [Fraction(n, shape[a]) for n, a in zip(sizes, axes, strict=False)]
    if scales is None or len(scales) != len(axes) or min(scales) <= 0:
        raise SiraError(
            "the scales or sizes do not fit",
            where=g.describe(node),
            expected=f"{len(axes)} positive numbers",
            found="none" if scales is None else str([float(s) for s in scales]),
        )
    found = {}
    for axis, scale in zip(axes, scales, strict=True):
        size = shape[axis]
        resized = floor(size * scale)
        if resized < 1:
            raise SiraError("nothing is left of the tensor", where=g.describe(node))
        if scale != 1:
            places = (_coordinate(mode, x, scale, size, resized) for x in range(resized))
            found[axis] = ResizedAxis(tuple(places), size)
    return found


def _resize(node: ir.Node, args: Args) -> list[Arg]:
    shape = g.shape(node.inputs[0])  # type: ignore[arg-type]
    axes, (mode, _, rounding) = _resized(node, shape, arrays(node)), _modes(node)
    if mode == "linear":
        return [
            broadcast_constant(node, args[0], _linear(node, operand(args[0]), axes, len(shape)))
        ]
    picks = {axis: found.nearest(rounding) for axis, found in axes.items()}

    def move(a: Array) -> Array:
        for axis, indices in picks.items():
            a = take(a, indices, axis, len(shape))
        return a

    return [moved(node, args[0], move)]


def _linear(node: ir.Node, x: Value, axes: dict[int, ResizedAxis], rank: int) -> Value:
    if not axes:
        return x
    reason = getattr(x, "reason", "")
    if isinstance(x, ScaledInt):
        found = _linear_integers(node, x, axes, rank)
        if isinstance(found, ScaledInt):
            return found
        reason = f"{g.describe(node)}: {found}"
    y: Any = numbers(x)
    y = y.map(lambda a: aligned(a, rank)) if isinstance(y, Exact) else both(y, rank)
    for axis, found_axis in axes.items():
        if y.shape[axis] != 1:
            y = _mixed(y, found_axis, axis, rank)
    return y.because(reason) if isinstance(y, Interval) else y


def _linear_integers(
    node: ir.Node, x: ScaledInt, axes: dict[int, ResizedAxis], rank: int
) -> ScaledInt | str:
    denominator = prod(a.denominator for a in axes.values())
    if denominator > MAX_MULTIPLE:
        return "the weights of its interpolation are no multiples of a small fraction"
    lattice = common_lattice(node, x, list(axes), rank, with_bias=True)
    if not isinstance(lattice, ScaledInt):
        return lattice
    check_sum(node, lattice, denominator)

    def mix(q: Ints) -> Ints:
        q = aligned(q, rank)
        for axis, found in axes.items():
            d = found.denominator
            if q.shape[axis] == 1:
                q = q * d
                continue
            behind = np.array([int(w * d) for w in found.weights]).reshape(-1, *(1,) * (-axis - 1))
            before, after = (take(q, n, axis, rank) for n in found.neighbours)
            q = (d - behind) * before + behind * after
        return q

    lo = mix(lattice.lo)
    hi = lo if lattice.hi is lattice.lo else mix(lattice.hi)
    return ScaledInt(lo, hi, divide(lattice.scale, Exact.of(denominator)), lattice.bias)


def _mixed(x: Any, found: ResizedAxis, axis: int, rank: int) -> Any:
    """Real numbers mixed along one axis."""
    weights = np.array(found.weights, object).reshape(-1, *(1,) * (-axis - 1))
    behind = Exact(weights)
    ahead = Exact.of(1) - behind
    before, after = (x.map(lambda a, n=n: take(a, n, axis, rank)) for n in found.neighbours)
    if isinstance(x, Exact):
        return before * ahead + after * behind
    return before * ahead.interval + after * behind.interval


def _shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    axes, rank = _resized(node, shapes[0], constants), len(shapes[0])
    sizes = (len(axes[i - rank].places) if i - rank in axes else d for i, d in enumerate(shapes[0]))
    return [tuple(sizes)]


register("Resize", "Upsample", rule=OpRule("selection", _resize, _shapes))
