"""What range analysis found, for the report: tensors, and layers with their accumulators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.analysis.datatype_bounds import DatatypeBounds, datatype_bounds
from sira.analysis.ranges import Ranges
from sira.datatypes import InputSpec, twos_complement_bits
from sira.numbers.interval import Interval
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops import Mac, mac_of
from sira.schema.report import Accumulator, InputRange, MacEntry, Numbers, TensorEntry


def mac_entries(model: ir.Model, ranges: Ranges, spec: InputSpec | None) -> list[MacEntry]:
    """One entry a layer that multiplies and accumulates, without anything about hardware.

    Registers are as wide as the widest channel's window; a layer without integers has no
    accumulator.
    """
    nodes = [(n, mac) for n in model.graph if (mac := mac_of(n)) is not None]
    bounds = datatype_bounds([n for n, _ in nodes if _is_integer(n, ranges)], ranges, spec)
    return [_entry(n, mac, ranges, bounds.get(g.label(n))) for n, mac in nodes]


def _is_integer(node: ir.Node, ranges: Ranges) -> bool:
    return ranges.scaled(node.outputs[0]) is not None


def _entry(node: ir.Node, mac: Mac, ranges: Ranges, bounds: DatatypeBounds | None) -> MacEntry:
    x_range, out = ranges.scaled(mac.data), ranges.scaled(node.outputs[0])
    if bounds is None or x_range is None or out is None:
        return MacEntry(g.label(node), node.op_type)
    shape = g.shape(node.outputs[0])
    axis = len(shape) + mac.axis
    lo, hi = _channel_bounds(out, shape, axis)
    span = _span(x_range)
    window = _span(out).bit_length()
    return MacEntry(
        g.label(node),
        node.op_type,
        k=bounds.k,
        n=shape[axis],
        weight_bits=bounds.weight_bits,
        input=InputRange(int(x_range.lo.min()), int(x_range.hi.max()), span.bit_length()),
        accumulator=accumulator_entry(lo, hi, window, bounds),
    )


def _channel_bounds(range_: ScaledInt, shape: tuple[int, ...], axis: int) -> tuple[Ints, Ints]:
    """The least and the largest integer of each channel (C,)."""
    others = tuple(i for i in range(len(shape)) if i != axis)
    lo, hi = (np.broadcast_to(q, shape) for q in (range_.lo, range_.hi))
    return lo.min(axis=others), hi.max(axis=others)


def _span(range_: ScaledInt) -> int:
    """The largest ``hi - lo``, which may need 64 bits."""
    ends = np.broadcast_arrays(range_.lo, range_.hi)
    if max(-int(ends[0].min()), int(ends[1].max())) < 2**62:
        return int((ends[1] - ends[0]).max())
    lo, hi = (end.reshape(-1).tolist() for end in ends)
    return max(int(b) - int(a) for a, b in zip(lo, hi, strict=True))


def accumulator_entry(
    lowest: Ints, highest: Ints, register: int, bounds: DatatypeBounds
) -> Accumulator:
    """Widths of the accumulators of channels with these bounds (C,); ``register`` is the width
    that is built."""
    lo, hi = lowest.tolist(), highest.tolist()
    return Accumulator(
        lo=min(lo),
        hi=max(hi),
        bits=register,
        offset=lo,
        bits_window=[(b - a).bit_length() for a, b in zip(lo, hi, strict=True)],
        bits_twos_complement=[twos_complement_bits(a, b) for a, b in zip(lo, hi, strict=True)],
        bits_datatype=bounds.bits_datatype,
        bits_weights_datatype=bounds.bits_weights_datatype,
    )


def tensor_entries(model: ir.Model, ranges: Ranges) -> list[TensorEntry]:
    """One entry a computed tensor: its integers with scale and bias, or why it has none."""
    values = [*model.graph.inputs, *(v for n in model.graph for v in n.outputs)]
    return [
        _tensor(value, ranges)
        for value in values
        if g.name(value) in ranges.values and not g.is_constant(value)
    ]


def _tensor(value: ir.Value, ranges: Ranges) -> TensorEntry:
    name, shape = g.name(value), list(g.shape(value))
    match ranges[value]:
        case ScaledInt() as integers:
            return TensorEntry(
                name,
                shape,
                integer=True,
                lo=int(integers.lo.min()),
                hi=int(integers.hi.max()),
                bits=_span(integers).bit_length(),
                scale=numbers_of(integers.scale_float),
                bias=numbers_of(integers.bias_float),
            )
        case reals:
            assert isinstance(reals, Interval)  # computed tensors are no constants
            return TensorEntry(
                name,
                shape,
                integer=False,
                lo=_finite(float(reals.lo.min())),
                hi=_finite(float(reals.hi.max())),
                bits=None,
                scale=None,
                bias=None,
                reason=reals.reason,
            )


def _finite(x: float) -> float | None:
    return x if np.isfinite(x) else None


def numbers_of(x: NDArray[np.float64]) -> Numbers:
    """For JSON: one number, or a list of them."""
    return float(x.reshape(-1)[0]) if x.size == 1 else [float(v) for v in x.reshape(-1)]
