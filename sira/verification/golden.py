"""The golden model: the integers of the original graph in exact real arithmetic.

Every float32 constant is the exact number it encodes, operations are real arithmetic, quantizers
round by their own mode. Accumulators are exact integers; everything between them is evaluated with
enclosures and, at ties, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray

from sira import graph as g
from sira.analysis.ranges import Ranges
from sira.analysis.tail import decide, find_tail, points, settle
from sira.errors import SiraError
from sira.numbers.exact import Exact, Objects
from sira.numbers.interval import Interval
from sira.numbers.scaled import Ints, ScaledInt, Value
from sira.ops import Arg, Constant, apply, known
from sira.ops.base import Lookup
from sira.ops.decision import decides, scores_of

_NEAR = 2.0**-8
"""How far a sample may lie from its value, in steps: preprocessing rounds, but not to the next."""


def run(model: ir.Model, ranges: Ranges, inputs: Mapping[str, Value]) -> dict[str, Value]:
    """Values of every computed tensor for points at the inputs.

    Arrays have a leading axis for the samples: (samples, *shape of the tensor). Integers stand in
    ``lo`` of a `ScaledInt`, with the scale and bias that ``ranges`` gives for the tensor.
    """
    values: dict[str, Arg] = dict(inputs)
    of = known(values, ranges.values)
    samples = points(inputs[g.name(model.graph.inputs[0])])
    for node in model.graph:
        if not g.dynamic_inputs(node):
            continue
        results = apply(node, of)
        if decides(node):  # the index, which comes last, is that of the scores
            results[-1] = apply(node, partial(_through_softmax, node, of))[-1]
        for output, result in zip(node.outputs, results, strict=False):
            value = settle(result, ranges[output])
            if isinstance(value, ScaledInt):
                q = value.lo if value.is_point else _decide(output, ranges, values)
                q = np.broadcast_to(q, (samples, *g.shape(output)))
                value = ScaledInt(q, q, value.scale, value.bias)
            values[g.name(output)] = value
    return {name: v for name, v in values.items() if not isinstance(v, Constant)}


def _through_softmax(decision: ir.Node, of: Lookup, value: ir.Value) -> Arg:
    """An operand of ArgMax or TopK, the scores as they are in front of a Softmax."""
    return of(scores_of(decision) if value is decision.inputs[0] else value)


def _decide(value: ir.Value, ranges: Ranges, values: Mapping[str, Arg]) -> Ints:
    """Integers that the enclosure of a quantizer's operand leaves open, exactly."""
    tail = find_tail(value)
    if not tail.nodes:
        raise SiraError(
            "two scores are closer than float64 can tell",
            where=f"tensor {g.name(value)}",
            expected="scores in a rational ratio, or apart",
            remedy="quantize the scores, or keep square roots out of them",
        )
    source = values[g.name(tail.source)]
    assert not isinstance(source, Constant)
    return decide(tail, ranges, source, values)


def encode(ranges: Ranges, value: ir.Value, x: ArrayLike) -> Value:
    """Real samples (samples, *shape) as points at a graph input.

    For a declared input every sample must be one of the values ``scale * q + bias``, up to the
    rounding of whoever computed it (`_NEAR` of a step), and stands for that value exactly; an
    undeclared input takes any number.
    """
    samples = _shaped(np.asarray(x, np.float64), g.shape(value), f"input {g.name(value)}")
    range_ = ranges.scaled(value)
    if range_ is None:
        return Interval.point(samples)
    centre = (samples - range_.bias_float) / range_.scale_float
    q = np.clip(np.rint(centre), range_.lo, range_.hi).astype(np.int64)
    off = np.abs(centre - q) > _NEAR
    if off.any():
        bad = np.flatnonzero(off.ravel())[0]
        raise SiraError(
            "a sample is not a value of the declared input type",
            where=f"input {g.name(value)}",
            expected="scale * q + bias with an integer q in range",
            found=str(samples.ravel()[bad]),
            remedy="quantize the samples, or declare another --input",
        )
    return ScaledInt(q, q, range_.scale, range_.bias)


def _shaped(
    samples: NDArray[np.float64], shape: tuple[int, ...], where: str
) -> NDArray[np.float64]:
    """Samples as (samples, *shape); the batch axis of size 1 may be missing."""
    if not samples.ndim or samples[:1].size != prod(shape):
        raise SiraError(
            "the samples do not fit",
            where=where,
            expected=f"shape (samples, {', '.join(map(str, shape))})",
            found=str(samples.shape),
        )
    if not np.isfinite(samples).all():
        raise SiraError("the samples hold NaN or infinity", where=where, expected="finite numbers")
    return samples.reshape(len(samples), *shape)


def decode(range_: ScaledInt, q: Ints) -> NDArray[np.float64]:
    """``scale * q + bias`` as float64, each rounded once from the exact value where rational."""
    if not (isinstance(range_.scale, Exact) and isinstance(range_.bias, Exact)):
        return q * range_.scale_float + range_.bias_float
    axes = np.broadcast_shapes(range_.scale.shape, range_.bias.shape)
    distinct, at = np.unique(q, return_inverse=True)
    if distinct.size * prod(axes) >= q.size:
        return _to_floats((Exact.of(q) * range_.scale + range_.bias).values)
    # Few integers, as pixels are: a table of them for each channel.
    column = distinct.reshape(-1, *(1,) * len(axes))
    table = np.broadcast_to(
        (Exact.of(column) * range_.scale + range_.bias).values, (distinct.size, *axes)
    )
    floats: NDArray[np.float64] = _to_floats(table)[(at.reshape(q.shape), *np.indices(axes))]
    return floats


def _to_floats(values: Objects) -> NDArray[np.float64]:
    flat = [float(v) if isinstance(v, Fraction) else np.nan for v in values.ravel()]
    return np.array(flat).reshape(values.shape)
