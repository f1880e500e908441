"""Sums of products: what MatMul, Gemm and the convolutions have in common.

Rows of inputs (..., P, K) meet constant weights (..., K, N). With integers on both sides

    sum_k real_k * weight_kn = scale_n * sum_k m_kn * (q_k + offset_k),    offset = bias / scale

where everything that varies along the summed axis K has moved into the integers m (SIRA,
arXiv:2508.21493, sec. 3). Bounds are those of interval arithmetic for each column; a bias of the
input becomes a constant of each column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sira.numbers.exact import Exact, rational_gcd
from sira.numbers.int64 import INT64_MAX, Ints, integer_matmul, largest, plus, times, too_wide
from sira.numbers.interval import Interval
from sira.numbers.scaled import ZERO, Real, ScaledInt, multiply
from sira.ops.axes import MAX_MULTIPLE
from sira.ops.base import Constant


@dataclass(frozen=True, eq=False)
class IntegerMac:
    """Integer weights (..., K, N) without common factor in a column, and the scale of their sums.

    ``scale`` is one number, or (N,), or for weights of more axes (..., 1, N).
    """

    weights: Ints
    scale: Real


def integer_weights(weights: Constant) -> ScaledInt | str:
    """Weights as integers with a scale and no bias, or the reason why there are none."""
    w = weights.scaled
    if w is None:
        return "the weights are not quantized"
    if not is_zero(w.bias):
        return "the weights' zero point is not an integer"
    return w


def on_one_scale(w: ScaledInt, along: Real) -> IntegerMac | str:
    """Weights (..., K, N) for inputs of scale ``along`` (..., K or 1, 1), or why there are none.

    Both scales may vary along K if all products are integer multiples of one of their column.
    """
    scale_w, scale_x = same_along_sum(w.scale), same_along_sum(along)
    if scale_w is not None and scale_x is not None:
        matrix, scale = w.lo, multiply(scale_x, scale_w)
    elif isinstance(along, Exact) and isinstance(w.scale, Exact):
        scales = (w.scale * along).values  # (..., K, N or 1)
        columns = np.moveaxis(scales, -2, -1)
        units = np.array([rational_gcd(c) for c in columns.reshape(-1, columns.shape[-1])], object)
        units = units.reshape(*columns.shape[:-2], 1, columns.shape[-2])
        multiples = scales / units
        if any(m > MAX_MULTIPLE for m in multiples.ravel()):
            return "the scales along the summed axis are in no ratio of small integers"
        matrix, scale = times(w.lo, multiples.astype(np.int64)), Exact(units)
    else:
        return "the input's scale is irrational and scales differ along the summed axis"
    if not (np.abs(matrix) == 1).any(axis=-2).all():
        factor = np.gcd.reduce(matrix, axis=-2, keepdims=True)
        if (factor > 1).any():
            factor = np.maximum(factor, 1)
            matrix, scale = matrix // factor, multiply(scale, Exact.of(factor))
    return IntegerMac(matrix, scale.map(_column_scale))


def same_along_sum(x: Real) -> Real | None:
    """A scale with axis -2 of size 1, or None where it varies along it.

    Equal enclosures may enclose different numbers.
    """
    if len(x.shape) < 2 or x.shape[-2] == 1:
        return x
    if isinstance(x, Exact) and (x.values == x.values[..., :1, :]).all():
        return x.map(lambda a: a[..., :1, :])
    return None


def rows(a: Any, weights: tuple[int, ...]) -> Any:
    """An array of inputs laid out to meet weights of shape (..., K, N): (K,) or (..., P, K)."""
    axes = 1 if len(weights) == 2 else 2
    a = a.reshape((1,) * (axes - a.ndim) + a.shape)
    return np.broadcast_to(a, (*a.shape[:-1], weights[-2]))


def sums(lo: Ints, hi: Ints, weights: Ints, where: str) -> tuple[Ints, Ints]:
    """Smallest and largest sum (..., P, N) for inputs (..., P, K), exactly."""
    if lo is hi:
        q = integer_matmul(lo, weights, where)
        return q, q
    positive, negative = np.maximum(weights, 0), np.minimum(weights, 0)
    return (
        plus(integer_matmul(lo, positive, where), integer_matmul(hi, negative, where), where),
        plus(integer_matmul(hi, positive, where), integer_matmul(lo, negative, where), where),
    )


def offsets(offset: Real, mac: IntegerMac) -> Real:
    """What ``offset`` (..., P, K) adds to the real sums (..., P, N); a size of 1 means no change.

    Exact unless the offset or the scale is irrational.
    """
    if is_zero(offset):
        return ZERO
    if isinstance(offset, Interval):
        enclosed = offset.map(lambda a: rows(a, mac.weights.shape))
        return multiply(real_sums(enclosed, Interval.point(mac.weights)), mac.scale)
    unit = rational_gcd(offset.values)
    multiples = rows((offset / Exact.of(unit)).values, mac.weights.shape)
    heaviest = int(np.abs(mac.weights).sum(axis=-2).max(initial=0))
    if max(abs(int(m)) for m in multiples.ravel()) * heaviest <= INT64_MAX:
        total = integer_matmul(multiples.astype(np.int64), mac.weights)
    else:
        whole = np.vectorize(int, otypes=[object])(multiples)
        total = np.asarray(whole @ mac.weights.astype(object))
    return multiply(Exact.of(total) * Exact.of(unit), mac.scale)


def real_sums(x: Interval, w: Interval) -> Interval:
    """Enclosure of the sums (..., P, N) of real inputs (..., P, K), in a few float64 products.

    The rounding error of a float64 dot product of n terms is at most gamma_n * sum |x||w|
    (Higham, "Accuracy and Stability of Numerical Algorithms", eq. 3.5).
    """
    positive, negative = np.maximum(w.lo, 0.0), np.minimum(w.lo, 0.0)
    finite_lo, finite_hi = (np.where(np.isfinite(b), b, 0.0) for b in (x.lo, x.hi))
    largest = np.maximum(np.abs(finite_lo), np.abs(finite_hi))
    terms = w.lo.shape[-2]
    slack = largest @ np.abs(w.lo) * ((terms + 2) * 2.0**-51) + terms * 2.0**-1073
    if w.lo is not w.hi:  # enclosures of the weights reach beyond their lower ends
        slack = slack + largest @ (w.hi - w.lo) * (1 + 2.0**-40)
    lo = finite_lo @ positive + finite_hi @ negative - slack
    hi = finite_hi @ positive + finite_lo @ negative + slack
    if not (np.isfinite(x.lo).all() and np.isfinite(x.hi).all()):
        below, above = np.isinf(x.lo) * 1.0, np.isinf(x.hi) * 1.0
        can_rise, can_fall = (w.hi > 0) * 1.0, (w.lo < 0) * 1.0
        lo = np.where(below @ can_rise + above @ can_fall > 0, -np.inf, lo)
        hi = np.where(above @ can_rise + below @ can_fall > 0, np.inf, hi)
    return Interval(np.nextafter(lo, -np.inf), np.nextafter(hi, np.inf))


def corner_sums(x: tuple[Ints, Ints], y: tuple[Ints, Ints], where: str) -> tuple[Ints, Ints]:
    """Bounds of ``x @ y`` for integers x (..., M, K) and y (..., K, N) that both vary."""
    if x[0] is x[1] and y[0] is y[1]:
        q = integer_matmul(x[0], y[0], where)
        return q, q
    highest = largest(*x) * largest(*y) * x[0].shape[-1]
    if highest > INT64_MAX:
        raise too_wide(where, highest)
    corners = [a[..., None] * b[..., None, :, :] for a in x for b in y]  # (..., M, K, N)
    return np.minimum.reduce(corners).sum(axis=-2), np.maximum.reduce(corners).sum(axis=-2)


def real_corner_sums(x: Interval, y: Interval) -> Interval:
    """Enclosure of ``x @ y`` for real x (..., M, K) and y (..., K, N) that both vary."""
    terms = x.map(lambda a: a[..., None]) * y.map(lambda a: a[..., None, :, :])
    return _total(terms)


def is_zero(x: Real) -> bool:
    """Whether a scale or bias is exactly 0 everywhere."""
    return isinstance(x, Exact) and not any(x.values.ravel())


def _column_scale(a: Any) -> Any:
    if a.size == 1:
        return a.reshape(())
    return a[0] if a.ndim == 2 else a


def _total(terms: Interval) -> Interval:
    """Sum along axis -2, with the a-priori error of a float64 sum (Higham, eq. 4.4)."""
    lo, hi = terms.lo.sum(axis=-2), terms.hi.sum(axis=-2)
    size = np.maximum(np.abs(terms.lo), np.abs(terms.hi)).sum(axis=-2)
    with np.errstate(invalid="ignore"):
        slack = size * ((terms.shape[-2] + 2) * 2.0**-52)
        lo, hi = np.nextafter(lo - slack, -np.inf), np.nextafter(hi + slack, np.inf)
    finite = np.isfinite(size)
    return Interval(np.where(finite, lo, -np.inf), np.where(finite, hi, np.inf))
