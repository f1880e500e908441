"""Quant and IntQuant: add the zero point to x/scale, clamp, round; BipolarQuant: the sign.

The meaning is that of QONNX's ``int_quant`` and ``binary_quant``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.datatypes import IntegerType, parse_datatype
from sira.errors import SiraError
from sira.numbers.exact import Enclosure, Exact, unasked
from sira.numbers.int64 import from_objects, plus, whole_numbers
from sira.numbers.interval import Interval
from sira.numbers.rounding import RoundingMode, parse_mode, round_exact, round_floats
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops.base import (
    Arg,
    Args,
    Constant,
    OpRule,
    first_shape,
    numbers,
    real,
    register,
    rising,
    with_parameters,
)


def integer_range(signed: bool, narrow: bool, bits: int) -> tuple[int, int]:
    """Smallest and largest integer of a quantizer, e.g. (-127, 127) for 8 bits signed narrow."""
    if signed:
        return -(2 ** (bits - 1)) + int(narrow), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - int(narrow)


def bit_width(node: ir.Node, index: int = 3) -> int:
    """The bit width at input ``index`` of a quantizer, which must be one positive integer."""
    bits = g.array(node.inputs[index])
    if bits is None or bits.size != 1 or float(bits.item()) not in range(1, 33):
        raise SiraError(
            "the bit width must be a constant integer",
            where=g.describe(node),
            expected="1..32",
            found="a computed tensor" if bits is None else str(bits.ravel()[:4].tolist()),
        )
    return int(bits.item())


def check_positive(node: ir.Node, scale: Exact) -> None:
    """Refuse a quantizer whose scale is zero or negative."""
    if (scale.signs() <= 0).any():
        raise SiraError(
            "a quantizer's scale must be positive",
            where=g.describe(node),
            expected="scale > 0",
            found=str(min(float(s) for s in scale.values.ravel())),
        )


def _quant(node: ir.Node, args: Args) -> list[Arg]:
    x, scale, zero = args[0], real(args[1]), real(args[2])
    bits, signed = bit_width(node), bool(g.attribute(node, "signed", 1))
    narrow = bool(g.attribute(node, "narrow", 0))
    mode = parse_mode(g.attribute(node, "rounding_mode", "ROUND"), g.describe(node))
    check_positive(node, scale)
    assert x is not None
    if isinstance(x, Constant):
        return [_fold(node, x, args, signed, narrow, mode, scale, zero)]
    if signed and bits == 1:
        return [_bipolar(x, scale, zero)]
    low, high = integer_range(signed, narrow, bits)
    y = _divide(x, scale, zero)
    if isinstance(y, Exact):
        clamped = y.maximum(Exact.of(low)).minimum(Exact.of(high))
        lo = hi = integers(clamped, mode)
    else:
        lo, hi = (
            round_floats(np.clip(bound, low, high), mode).astype(np.int64) for bound in (y.lo, y.hi)
        )
    return [with_zero_point(lo, hi, scale, zero)]


def with_zero_point(lo: Ints, hi: Ints, scale: Exact, zero: Exact) -> ScaledInt:
    """``scale * (q - zero)``: an integer zero point moves into q, any other into the bias."""
    offset = whole_numbers(-zero)
    if offset is not None:
        moved = plus(lo, offset)
        return ScaledInt.of(moved, moved if hi is lo else plus(hi, offset), scale, Exact.of(0))
    return ScaledInt.of(lo, hi, scale, -(scale * zero))


def _bipolar(x: Arg, scale: Exact, zero: Exact) -> ScaledInt:
    """+-scale by the sign of x/scale + zero, as ``2*scale*q - scale`` with q in {0, 1}."""
    y = _divide(x, scale, zero)
    if isinstance(y, Exact):
        lo = hi = (y.signs() >= 0).astype(np.int64)
    else:
        lo, hi = (y.lo >= 0).astype(np.int64), (y.hi >= 0).astype(np.int64)
    return ScaledInt.of(lo, hi, scale + scale, -(scale * (zero + Exact.of(1))))


def _divide(x: Arg, scale: Exact, zero: Exact) -> Interval | Exact:
    y = numbers(x)
    if isinstance(y, Exact):
        return y / scale + zero
    return y / scale.interval + zero.interval


def integers(x: Exact, mode: RoundingMode) -> Ints:
    """Round exact values; elements nobody asked for become 0."""
    flat = [0 if unasked(v) else round_exact(v, mode) for v in x.values.ravel()]
    return from_objects(np.array(flat, object)).reshape(x.shape)


def _fold(
    node: ir.Node,
    x: Constant,
    args: Args,
    signed: bool,
    narrow: bool,
    mode: RoundingMode,
    scale: Exact,
    zero: Exact,
) -> Constant:
    """Quantize constants as the QONNX executor does, in float32, to q = rint(out / scale + zero).

    They then mean ``scale * (q - zero)`` exactly.
    """
    s, z, b = (np.asarray(a.file_array) for a in args[1:4] if isinstance(a, Constant))
    out = quantize_float32(_float32(x), s, z, int(b.item()), signed, narrow, mode)
    q = np.rint(np.asarray(out, np.float64) / s.astype(np.float64) + z).astype(np.int64)
    return Constant(np.asarray(out, np.float32), with_zero_point(q, q, scale, zero))


def quantize_float32(
    x: NDArray[Any],
    scale: NDArray[Any],
    zero: NDArray[Any],
    bits: int,
    signed: bool,
    narrow: bool,
    mode: RoundingMode,
) -> NDArray[Any]:
    """What QONNX's ``int_quant`` makes of x, bit for bit, with the rounding errors of float32."""
    y = x / scale + zero
    if signed and bits == 1:
        y = np.where(y >= 0, y.dtype.type(1), y.dtype.type(-1))
    else:
        low, high = (y.dtype.type(bound) for bound in integer_range(signed, narrow, bits))
        y = _round_as_executor(np.clip(y, low, high), mode)
    return np.asarray((y - zero) * scale)


def _round_as_executor(y: NDArray[Any], mode: RoundingMode) -> NDArray[Any]:
    match mode:
        case "ROUND" | "HALF_EVEN":
            return np.asarray(np.rint(y))
        case "HALF_UP":  # the sum is rounded, so that the number below 0.5 becomes 1
            return np.asarray(np.sign(y) * np.floor(np.abs(y) + y.dtype.type(0.5)))
        case "HALF_DOWN":
            return np.asarray(np.sign(y) * np.ceil(np.abs(y) - y.dtype.type(0.5)))
        case _:
            return np.asarray(round_floats(y, mode))


def _float32(x: Constant) -> NDArray[np.float32]:
    if x.array is not None:
        return x.array.astype(np.float32)
    return np.array([float(v) for v in x.real.values.ravel()], np.float32).reshape(x.real.shape)


def _bipolar_quant(node: ir.Node, args: Args) -> list[Arg]:
    x, scale = args[0], real(args[1])
    check_positive(node, scale)
    assert x is not None
    if isinstance(x, Constant):
        q = np.where(_float32(x) >= 0, 1, -1).astype(np.int64)
        out = q * args[1].file_array if isinstance(args[1], Constant) else q
        return [Constant(np.asarray(out, np.float32), ScaledInt.of(q, q, scale, Exact.of(0)))]
    return [_bipolar(x, scale, Exact.of(0))]


def _multithreshold(node: ir.Node, args: Args) -> list[Arg]:
    """Count the thresholds that x reaches; ``out_scale * count + out_bias``."""
    x = numbers(args[0]) if args[0] is not None else Interval.everything()
    rank = len(g.shape(node.outputs[0]))
    axis = threshold_axis(node)
    steps = real(args[1])  # (C or 1, n)
    sizes = (1, g.shape(node.outputs[0])[axis])
    if len(steps.shape) != 2 or steps.shape[0] not in sizes:
        raise SiraError(
            "the thresholds do not fit",
            where=g.describe(node),
            expected=f"shape (C, n) with C = 1 or {sizes[1]}",
            found=str(steps.shape),
        )
    channels = steps.map(
        lambda t: np.reshape(t, (t.shape[0],) + (1,) * (rank - 1 - axis) + t.shape[1:])
    )
    if isinstance(x, Exact):
        lo = hi = _count_exact(x, channels)
    else:
        t = channels.interval
        lo = (x.lo[..., None] >= t.hi).sum(axis=-1).astype(np.int64)
        hi = (x.hi[..., None] >= t.lo).sum(axis=-1).astype(np.int64)
    scale, bias = _output_affine(node)
    if (scale.signs() <= 0).any():
        raise SiraError(
            "the scale of the counts must be positive",
            where=g.describe(node),
            expected="out_scale > 0",
            found=str(g.attribute(node, "out_scale", 1.0)),
        )
    return [with_zero_point(lo, hi, scale, -(bias / scale))]


def _output_affine(node: ir.Node) -> tuple[Exact, Exact]:
    """Scale and bias of the counts."""
    scale, bias = g.attribute(node, "out_scale", 1.0), g.attribute(node, "out_bias", 0.0)
    return Exact.of(scale), Exact.of(bias)


def _count_exact(x: Exact, steps: Exact) -> Ints:
    def reached(value: Any, step: Any) -> int:
        if unasked(value):
            return 0
        return int(value.compare(step) >= 0 if isinstance(value, Enclosure) else value >= step)

    counts = np.frompyfunc(reached, 2, 1)(x.values[..., None], steps.values)
    return np.asarray(counts.sum(axis=-1), np.int64)


_LAYOUTS = {2: "NC", 3: "NWC", 4: "NCHW"}
"""The layout that MultiThreshold assumes without a data_layout, by the number of axes."""


def threshold_axis(node: ir.Node) -> int:
    """The axis of the channels that a MultiThreshold's rows belong to, by its data_layout."""
    rank = len(g.shape(node.outputs[0]))
    layout = g.attribute(node, "data_layout", "") or _LAYOUTS.get(rank, "")
    return layout.index("C") if "C" in layout else min(1, rank - 1)


def threshold_layout(rank: int, axis: int) -> str | None:
    """The data_layout of a tensor with channels along ``axis``; None where no attribute says it."""
    found = {(3, 1): "NCW", (3, 2): "NWC", (4, 1): "NCHW", (4, 3): "NHWC"}.get((rank, axis))
    return None if found == "NCHW" else found


def _datatype(node: ir.Node) -> IntegerType:
    bits, signed = bit_width(node), g.attribute(node, "signed", 1)
    if signed and bits == 1:
        return parse_datatype("BIPOLAR", "")
    return parse_datatype(f"{'' if signed else 'U'}INT{bits}", "")


def _output_datatype(node: ir.Node) -> IntegerType | None:
    text = g.attribute(node, "out_dtype", "")
    return parse_datatype(text, g.describe(node)) if text else None


register(
    "Quant",
    "IntQuant",
    rule=OpRule("quantizer", _quant, with_parameters(1, 2), rising, datatype=_datatype),
)
register(
    "BipolarQuant",
    rule=OpRule(
        "quantizer",
        _bipolar_quant,
        with_parameters(1),
        rising,
        datatype=lambda node: parse_datatype("BIPOLAR", ""),
    ),
)
register(
    "MultiThreshold",
    rule=OpRule("quantizer", _multithreshold, first_shape, rising, datatype=_output_datatype),
)
