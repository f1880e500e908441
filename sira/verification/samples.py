"""Samples to verify with: drawn at random, or from a file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.analysis.tail import settle
from sira.errors import SiraError
from sira.numbers.interval import Interval
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops import Arg, apply, known, rule_of
from sira.verification import golden

_LARGEST = 64
"""Where a quantizer is taken to saturate: inputs of 2 to this power."""

_BISECTIONS = 32

_OCTAVES = 12
"""How far the log-uniform samples reach down from the largest."""

_UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What damaged, cut off, encrypted or unusually compressed archives raise."""

Samples = dict[str, NDArray[Any]]
"""``x`` (samples, *input shape) float32, and where known labels ``y`` (samples,) and the outputs
``out`` (samples, ...) of somebody else's float32 execution."""


def draw(model: ir.Model, ranges: Ranges, count: int, seed: int = 0) -> Samples:
    """Random samples over the whole input range, its two ends among them."""
    if len(model.graph.inputs) != 1:
        raise SiraError(
            "samples can be drawn for models of one input only",
            found=", ".join(g.name(v) for v in model.graph.inputs),
        )
    (value,) = model.graph.inputs
    shape = (count, *g.shape(value))
    generator = np.random.default_rng(seed)
    range_ = ranges.scaled(value)
    if range_ is not None:
        lo, hi = (np.broadcast_to(q, shape) for q in (range_.lo, range_.hi))
        q = generator.integers(lo, hi + 1)
        for i, end in enumerate((lo, hi)[: max(count - 1, 0)]):
            q[i] = end[i]
        return {"x": golden.decode(range_, q).astype(np.float32)}
    # The model quantizes its input itself: go a little beyond what its quantizer can tell apart.
    # Every other sample is log-uniform, for what is much finer in some channels than in others.
    computed = (v for n in model.graph if g.dynamic_inputs(n) for v in n.outputs)
    first = next((v for v in computed if ranges.scaled(v) is not None), None)
    if first is None:
        raise SiraError(
            "nothing in the model quantizes its input",
            where=f"input {g.name(value)}",
            remedy="declare the input with --input",
        )
    low, high = _reach(model, ranges, first)
    margin = 0.05 * (high - low)
    low, high = low - margin, high + margin
    x = generator.uniform(low, high, shape)
    fine = max(-low, high) * np.exp2(generator.uniform(-_OCTAVES, 0, shape))
    fine *= generator.choice((-1, 1), shape)
    fine = np.where((fine < low) | (fine > high), -fine, fine)
    x[1::2] = np.clip(fine, low, high)[1::2]
    return {"x": x.astype(np.float32)}


def _reach(model: ir.Model, ranges: Ranges, quantized: ir.Value) -> tuple[float, float]:
    """The inputs between which a quantizer does not saturate, all elements of the input alike."""
    range_, node = ranges.scaled(quantized), quantized.producer()
    assert range_ is not None and node is not None
    otherwise = float(range_.interval.lo.min()), float(range_.interval.hi.max())
    if rule_of(node).kind != "quantizer":
        return otherwise

    def q(x: float) -> bytes:
        return _quantize(model, ranges, quantized, x).tobytes()

    limit = 2.0**_LARGEST
    below, above = q(-limit), q(limit)
    if below == above:  # No function that rises or falls.
        return otherwise
    while limit > 2.0**-_LARGEST and (q(-limit / 2), q(limit / 2)) == (below, above):
        limit /= 2
    low = _last(lambda t: q(t) == below, -limit, limit)
    high = _last(lambda t: q(t) == above, limit, -limit)
    return min(low, high), max(low, high)


def _last(holds: Callable[[float], bool], start: float, end: float) -> float:
    """About the last point on the way from ``start``, where it holds, to ``end``, where not."""
    for _ in range(_BISECTIONS):
        middle = (start + end) / 2
        start, end = (middle, end) if holds(middle) else (start, middle)
    return start


def _quantize(model: ir.Model, ranges: Ranges, quantized: ir.Value, x: float) -> Ints:
    """The first integers of the model for an input full of ``x``, up to the rounding of float64."""
    (value,) = model.graph.inputs
    values: dict[str, Arg] = {g.name(value): Interval.point(np.full((1, *g.shape(value)), x))}
    for node in model.graph:
        if not g.dynamic_inputs(node):
            continue
        results = zip(node.outputs, apply(node, known(values, ranges.values)), strict=False)
        values |= {g.name(v): settle(r, ranges[v]) for v, r in results}
        if g.name(quantized) in values:
            break
    found = values[g.name(quantized)]
    assert isinstance(found, ScaledInt)
    return found.lo


def read(path: Path, shape: tuple[int, ...], count: int | None) -> Samples:
    """The first ``count`` samples of an .npz file for an input of this shape.

    An array y with several numbers a sample holds outputs, not labels.
    """
    where = f"samples {path}"
    try:
        with zipfile.ZipFile(path), np.load(path) as data:
            found = {k: np.asarray(data[k]) for k in ("x", "y", "out") if k in data}
    except _UNREADABLE as error:
        raise SiraError(
            "cannot be read",
            where=where,
            expected="an .npz file with x and, if known, y",
            found=str(error),
        ) from error
    x = found.get("x")
    if x is None or x.ndim < 1 or not len(x) or x[:1].size != np.prod(shape):
        raise SiraError(
            "holds no samples for this model",
            where=where,
            expected=f"x of shape (samples, {', '.join(map(str, shape[1:]))})",
            found="no x" if x is None else f"x of shape {x.shape}",
        )
    if x.dtype.kind not in "biuf":
        raise SiraError("x holds no numbers", where=where, expected="float32", found=str(x.dtype))
    if not np.isfinite(x).all():
        raise SiraError("x holds NaN or infinity", where=where, expected="finite numbers")
    for name in found.keys() & {"y", "out"}:
        array = found[name]
        if array.ndim < 1 or len(array) != len(x):
            lengths = f"{len(x)} and {len(array) if array.ndim else 1}"
            raise SiraError(f"x and {name} must be of one length", where=where, found=lengths)
    if "y" in found and found["y"].size != len(x):
        found.setdefault("out", found.pop("y"))
    found["x"] = x.astype(np.float32)
    return {k: v[:count] for k, v in found.items()}
