"""MatMul and Gemm with constant weights: the multiply-accumulate of a dense layer.

With integer weights the accumulator is an integer: ``sum_k w[k,n] q[k]`` has the scale
``sx * sw[n]`` and bounds from interval arithmetic per output channel; a bias of the input is a
constant per output channel (SIRA, sec. 3). Weights that share a factor give a coarser lattice; the
factor goes into the scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.errors import SiraError
from sira.exact import Exact, rational_gcd
from sira.interval import Interval, interval_matmul
from sira.ops.base import (
    Arg,
    Args,
    Constant,
    OpRule,
    Shape,
    affine,
    numbers,
    register,
)
from sira.scaled import (
    ZERO,
    Ints,
    Real,
    ScaledInt,
    integer_matmul,
    multiply,
)

_MAX_MULTIPLE = 2**16
"""Scales along the summed axis must be integer multiples up to this of a common one."""


@dataclass(frozen=True, eq=False)
class IntegerMac:
    """``q_out = q_in @ weights`` with the scale of q_out; weights (K, N) without common factor."""

    weights: Ints
    scale: Real


def integer_mac(x: ScaledInt, weights: Constant) -> IntegerMac | str:
    """Integer weights for ``x @ weights``, or the reason why there are none.

    The scales of x and of the weights may vary along the summed axis if all are
    integer multiples of a common one; the multiples then move into the weights.
    """
    w = weights.scaled
    if w is None:
        return "the weights are not quantized"
    if not isinstance(w.bias, Exact) or any(b != 0 for b in w.bias.values.ravel()):
        return "the weights' zero point is not an integer"
    matrix = w.lo
    assert isinstance(w.scale, Exact)
    along_k = _along_last(x.scale)
    if along_k is None:
        return "the input's scale is irrational or differs from row to row"
    scale_w = w.scale.map(lambda a: np.broadcast_to(a, matrix.shape) if a.ndim else a)
    if along_k.size == 1 and _constant_rows(scale_w):
        columns = scale_w.map(lambda a: a[0] if a.ndim else a)
        scale: Real = multiply(x.scale.map(lambda a: a.ravel()[0]), columns)
    else:
        if not isinstance(x.scale, Exact):
            return "the input's scale is irrational"
        combined = np.broadcast_to(scale_w.values, matrix.shape) * along_k.reshape(-1, 1)
        bases = np.array([rational_gcd(combined[:, n]) for n in range(matrix.shape[1])], object)
        multiples = combined / bases
        if any(m > _MAX_MULTIPLE for m in multiples.ravel()):
            return "the scales along the summed axis are in no ratio of small integers"
        matrix = matrix * multiples.astype(np.int64)
        scale = Exact(bases)
    factor = np.gcd.reduce(matrix, axis=0)
    factor = np.where(factor == 0, 1, factor)
    if (factor != 1).any():
        matrix = matrix // factor
        scale = multiply(scale, Exact.of(factor))
    return IntegerMac(matrix, scale)


def accumulate(x: ScaledInt, mac: IntegerMac, where: str) -> tuple[Ints, Ints]:
    """Smallest and largest accumulator per output channel, exactly."""
    k = mac.weights.shape[0]
    lo = _full(x.lo, k)
    if x.is_point:
        q = integer_matmul(lo, mac.weights, where)
        return q, q
    hi = _full(x.hi, k)
    positive, negative = np.maximum(mac.weights, 0), np.minimum(mac.weights, 0)
    return (
        _sum(integer_matmul(lo, positive, where), integer_matmul(hi, negative, where), where),
        _sum(integer_matmul(hi, positive, where), integer_matmul(lo, negative, where), where),
    )


def _sum(a: Ints, b: Ints, where: str) -> Ints:
    if (np.abs(a) >= 2**62).any() or (np.abs(b) >= 2**62).any():
        raise SiraError("the accumulator does not fit into 64 bits", where=where)
    return a + b


def _full(q: Ints, k: int) -> Ints:
    return np.broadcast_to(q, (*q.shape[:-1], k)) if q.ndim else np.full(k, q)


def _along_last(scale: Real) -> NDArray[Any] | None:
    """The scale along the last axis, size 1 where it does not vary; None if it cannot be used."""
    if isinstance(scale, Interval):
        return np.ones(1, object) if scale.lo.size == 1 else None
    values = scale.values
    if values.size and (values == values.ravel()[0]).all():
        return values.ravel()[:1]
    return values.ravel() if values.size == values.shape[-1] else None


def _constant_rows(scale: Exact) -> bool:
    return scale.values.ndim == 0 or bool((scale.values == scale.values[:1]).all())


def _bias_through(x: ScaledInt, weights: Constant, k: int) -> Real:
    """What the bias of the input adds to every output channel: ``bias @ weights``."""
    w = weights.scaled
    assert w is not None and isinstance(w.scale, Exact)
    bias = x.bias.map(lambda a: np.broadcast_to(a, (*a.shape[:-1], k)))
    if isinstance(bias, Interval):
        return interval_matmul(bias, weights.real.interval)
    if all(b == 0 for b in bias.values.ravel()):
        return ZERO
    if not _constant_rows(w.scale):
        return Exact(bias.values @ weights.real.values)
    columns = w.scale.map(lambda a: a[0] if a.ndim == 2 else a)
    if (bias.values == bias.values[..., :1]).all():  # the usual case: one bias, one sum a channel
        return Exact(bias.values[..., :1]) * Exact.of(w.lo.sum(axis=0)) * columns
    common = lcm(*(b.denominator for b in bias.values.ravel()))
    numerators = (bias * Exact.of(common)).values
    return Exact(numerators @ w.lo.astype(object)) * columns / Exact.of(common)


def _matmul(node: ir.Node, args: Args) -> list[Arg]:
    x, weights = args
    if not isinstance(weights, Constant) or isinstance(x, Constant) or x is None:
        raise SiraError(
            "only a computed tensor times constant weights is supported",
            where=g.describe(node),
            expected="the second operand to be constant",
            found="a computed second operand"
            if not isinstance(x, Constant)
            else "constant first operand",
        )
    return [multiply_accumulate(node, x, weights)]


def multiply_accumulate(node: ir.Node, x: Arg, weights: Constant) -> Arg:
    """``x @ weights`` for weights (K, N)."""
    k = weights.real_shape[0]
    if isinstance(x, ScaledInt):
        mac = integer_mac(x, weights)
        if isinstance(mac, IntegerMac):
            lo, hi = accumulate(x, mac, g.describe(node))
            return ScaledInt(lo, hi, mac.scale, _bias_through(x, weights, k))
        reason = f"{g.describe(node)}: {mac}"
    else:
        reason = f"{g.describe(node)}: its input has no integer core"
    y = numbers(x)
    assert isinstance(y, Interval)
    return interval_matmul(y, weights.real.interval).because(y.reason or reason)


def gemm_weights(node: ir.Node, weights: Constant) -> Constant:
    """The second operand of Gemm as (K, N)."""
    return weights.map(np.transpose) if g.attribute(node, "transB", 0) else weights


def _gemm(node: ir.Node, args: Args) -> list[Arg]:
    x, weights = args[0], args[1]
    if not isinstance(weights, Constant) or x is None or g.attribute(node, "transA", 0):
        raise SiraError(
            "only Gemm of a computed tensor with constant weights is supported",
            where=g.describe(node),
            expected="constant B, transA=0",
        )
    y = multiply_accumulate(node, x, gemm_weights(node, weights))
    return [affine(y, *gemm_affine(node, args))]


def gemm_affine(node: ir.Node, args: Args) -> tuple[Exact, Exact]:
    """Factor and offset behind the product: alpha and beta * C."""
    alpha, beta = (Exact.of(g.attribute(node, name, 1.0)) for name in ("alpha", "beta"))
    bias = args[2] if len(args) > 2 else None
    return alpha, ZERO if bias is None else beta * _constant(node, bias).real


def _constant(node: ir.Node, arg: Arg) -> Constant:
    if not isinstance(arg, Constant):
        raise SiraError("the bias must be constant", where=g.describe(node))
    return arg


def _matmul_shapes(
    node: ir.Node, shapes: list[Shape], constants: list[NDArray[Any] | None]
) -> list[Shape]:
    a, b = shapes
    if len(a) < 1 or len(b) != 2 or a[-1] != b[0]:
        raise SiraError(
            "operand shapes do not fit",
            where=g.describe(node),
            expected="(..., K) and (K, N)",
            found=f"{a} and {b}",
        )
    return [(*a[:-1], b[1])]


def _gemm_shapes(
    node: ir.Node, shapes: list[Shape], constants: list[NDArray[Any] | None]
) -> list[Shape]:
    a, b = shapes[0], shapes[1]
    if g.attribute(node, "transA", 0):
        a = a[::-1]
    if g.attribute(node, "transB", 0):
        b = b[::-1]
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        raise SiraError(
            "operand shapes do not fit",
            where=g.describe(node),
            expected="(M, K) and (K, N)",
            found=f"{a} and {b}",
        )
    return [(a[0], b[1])]


register("MatMul", rule=OpRule("mac", _matmul, _matmul_shapes, operands=2))
register("Gemm", rule=OpRule("mac", _gemm, _gemm_shapes, operands=3))
