"""Pad: around a tensor, with a constant or with elements of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.int64 import whole_numbers
from sira.numbers.interval import Interval
from sira.numbers.scaled import ONE, Real, ScaledInt, Value
from sira.ops.axes import Array, aligned, arrays, broadcast_constant, moved, need, negative, take
from sira.ops.base import Arg, Args, Constants, OpRule, Shape, operand, real, register

Pads = Sequence[tuple[int, int]]
"""Elements before and after each axis; negative where elements are cut off."""


def padded(x: Value, shape: Shape, pads: Pads, fill: Exact) -> Value:
    """``x`` of ``shape`` within elements of the one value ``fill``.

    Where ``fill`` lies in the range, the range of the whole is that of ``x``. Where it is no value
    of the integer lattice, the elements around get a bias of their own, which is ``fill``.
    """
    frame = _Frame(shape, pads)
    if not frame.axes:
        return x.map(frame.extend)
    match x:
        case Exact():
            return Exact(frame.put(x.values, fill.values.item()))
        case Interval():
            if _within(frame, x, fill.interval):
                return x
            f = fill.interval
            return Interval(frame.put(x.lo, f.lo), frame.put(x.hi, f.hi), x.reason)
        case ScaledInt():
            return _padded_integers(frame, x, fill)


def _padded_integers(frame: _Frame, x: ScaledInt, fill: Exact) -> ScaledInt:
    q = _on_lattice(frame, x, fill)
    if q is None:
        lo = frame.put(x.lo, 0)
        hi = lo if x.hi is x.lo else frame.put(x.hi, 0)
        scale = x.scale if frame.constant(x.scale) else _framed(frame, x.scale, ONE)
        return ScaledInt(lo, hi, scale, _framed(frame, x.bias, fill))
    if frame.still(x.lo) and frame.still(x.hi) and ((x.lo <= q) & (q <= x.hi)).all():
        return x
    lo = frame.put(x.lo, q)
    return ScaledInt(lo, lo if x.hi is x.lo else frame.put(x.hi, q), x.scale, x.bias)


def _on_lattice(frame: _Frame, x: ScaledInt, fill: Exact) -> Any:
    """The integers of 64 bits that mean ``fill``, or None."""
    if not (isinstance(x.scale, Exact) and isinstance(x.bias, Exact)):
        return None
    if not (frame.constant(x.scale) and frame.constant(x.bias)):
        return None
    return whole_numbers((fill - x.bias) / x.scale)


def _within(frame: _Frame, x: Interval, fill: Interval) -> bool:
    still = frame.still(x.lo) and frame.still(x.hi)
    return still and bool(((x.lo <= fill.lo) & (fill.hi <= x.hi)).all())


def _framed(frame: _Frame, x: Real, fill: Exact) -> Real:
    if isinstance(x, Exact):
        return Exact(frame.put(x.values, fill.values.item()))
    f = fill.interval
    return Interval(frame.put(x.lo, f.lo), frame.put(x.hi, f.hi))


class _Frame:
    """Where the padding is: ``axes`` (from the end) are those that grow."""

    def __init__(self, shape: Shape, pads: Pads) -> None:
        self.rank = rank = len(shape)
        self.axes = [i - rank for i, pad in enumerate(pads) if max(pad) > 0]
        self._places: dict[int, Array] = {}
        self._inside: Array = np.ones((), bool)
        for i, (size, (before, after)) in enumerate(zip(shape, pads, strict=True)):
            if before or after:
                places = np.arange(-before, size + after)
                self._places[i - rank] = np.clip(places, 0, size - 1)
                inside = (places >= 0) & (places < size)
                self._inside = self._inside & inside.reshape(-1, *(1,) * (rank - 1 - i))

    def extend(self, a: Array) -> Array:
        """The elements of ``a`` in their new places; around them, any."""
        for axis, places in self._places.items():
            a = take(a, places, axis, self.rank)
        return a

    def put(self, a: Array, fill: Any) -> Array:
        """``a`` with ``fill`` around it."""
        return np.where(self._inside, self.extend(aligned(a, self.rank)), fill)

    def still(self, a: Array) -> bool:
        """Whether ``a`` does not vary along the axes that grow."""
        return all(aligned(a, self.rank).shape[axis] == 1 for axis in self.axes)

    def constant(self, x: Real) -> bool:
        found = [x.values] if isinstance(x, Exact) else [x.lo, x.hi]
        return all(self.still(a) for a in found)


def _pads(node: ir.Node, shape: Shape, constants: Constants) -> Pads:
    """From the inputs (opset 11 and later) or the attribute (before)."""
    given = need(node, constants, 1, "pads") or list(g.attribute(node, "pads", ()))
    chosen = need(node, constants, 3, "axes")
    rank = len(shape)
    axes = list(range(-rank, 0)) if chosen is None else [negative(node, a, rank) for a in chosen]
    pads = [(0, 0)] * rank
    if len(given) != 2 * len(axes):
        raise SiraError(
            "the pads do not fit",
            where=g.describe(node),
            expected=f"{2 * len(axes)} numbers",
            found=str(given),
        )
    for i, axis in enumerate(axes):
        pads[axis] = int(given[i]), int(given[i + len(axes)])
    if any(d + sum(pad) < 1 for d, pad in zip(shape, pads, strict=True)):
        raise SiraError("nothing is left of the tensor", where=g.describe(node), found=str(pads))
    return pads


def _pad(node: ir.Node, args: Args) -> list[Arg]:
    shape = g.shape(node.inputs[0])  # type: ignore[arg-type]
    pads, rank = _pads(node, shape, arrays(node)), len(shape)
    match g.attribute(node, "mode", "constant"):
        case "constant":
            given = args[2] if len(args) > 2 else None
            fill = Exact.of(g.attribute(node, "value", 0.0)) if given is None else real(given)
            fill = fill.map(lambda a: a.reshape(()))
            return [broadcast_constant(node, args[0], padded(operand(args[0]), shape, pads, fill))]
        case "edge" | "reflect" | "wrap" as mode:
            picks = {
                i - rank: _own(size, pad, mode)
                for i, (size, pad) in enumerate(zip(shape, pads, strict=True))
                if pad != (0, 0)
            }
        case other:
            raise SiraError(
                "unknown mode of padding",
                where=g.describe(node),
                expected="constant, edge, reflect or wrap",
                found=str(other),
            )

    def move(a: Array) -> Array:
        for axis, places in picks.items():
            a = take(a, places, axis, rank)
        return a

    return [moved(node, args[0], move)]


def _own(size: int, pad: tuple[int, int], mode: Any) -> Array:
    """Which elements of an axis stand where; negative pads cut first."""
    before, after = pad
    kept = np.arange(size)[max(-before, 0) : size - max(-after, 0)]
    return np.pad(kept, (max(before, 0), max(after, 0)), mode=mode)


def _pad_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    pads = _pads(node, shapes[0], constants)
    return [tuple(d + sum(pad) for d, pad in zip(shapes[0], pads, strict=True))]


register("Pad", rule=OpRule("selection", _pad, _pad_shapes))
