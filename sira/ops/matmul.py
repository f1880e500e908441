"""MatMul and Gemm: with constant weights on either side, or of two computed tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import ONE, ZERO, Ints, Real, ScaledInt, Value, divide, from_zero, multiply
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
    corner_sums,
    integer_weights,
    offsets,
    on_one_scale,
    real_corner_sums,
    real_sums,
    rows,
    same_along_sum,
    sums,
)


def integer_mac(x: ScaledInt, weights: Constant) -> IntegerMac | str:
    """Integer weights for ``x @ weights``, or the reason why there are none."""
    w = integer_weights(weights)
    if isinstance(w, str):
        return w
    along = _transposed(x.scale)
    uniform = same_along_sum(along)
    if uniform is None:
        k = w.lo.shape[-2]
        if int(np.prod(along.shape)) != k:
            return "the input's scale differs from row to row"
        return on_one_scale(w, along.map(lambda a: a.reshape(k, 1)))
    mac = on_one_scale(w, ONE)
    if isinstance(mac, str):
        return mac
    return IntegerMac(mac.weights, multiply(_scalar(_transposed(uniform)), mac.scale))


def _matmul(node: ir.Node, args: Args) -> list[Arg]:
    a, b = args
    assert a is not None and b is not None
    shape_a, shape_b = (g.shape(v) for v in node.inputs if v is not None)
    return [_product(node, a, b, shape_a, shape_b)]


def _gemm(node: ir.Node, args: Args) -> list[Arg]:
    a, b = args[:2]
    assert a is not None and b is not None
    bias = args[2] if len(args) > 2 else None
    if not isinstance(bias, Constant | None):
        raise SiraError("the bias must be constant", where=g.describe(node))
    shape_a, shape_b = _gemm_operands(node, [g.shape(v) for v in node.inputs[:2] if v])
    a = a.map(_swap2) if g.attribute(node, "transA", 0) else a
    b = b.map(_swap2) if g.attribute(node, "transB", 0) else b
    alpha, beta = (Exact.of(g.attribute(node, name, 1.0)) for name in ("alpha", "beta"))
    offset = ZERO if bias is None else beta * bias.real
    return [affine(_product(node, a, b, shape_a, shape_b), alpha, offset)]


def _product(node: ir.Node, a: Arg, b: Arg, shape_a: Shape, shape_b: Shape) -> Value:
    """``a @ b`` for tensors of these shapes."""
    ranks = len(shape_a), len(shape_b)
    x = a.values if isinstance(a, Constant) and isinstance(b, Constant) else a
    computed = [r for r, v in zip(ranks, (x, b), strict=True) if not isinstance(v, Constant)]
    if min(computed) < 2 and (len(computed) == 2 or max(ranks) > 2):
        raise SiraError(
            "a computed vector can only be multiplied by a constant matrix",
            where=g.describe(node),
            expected="operands of at least two axes",
            found=f"{shape_a} and {shape_b}",
            remedy="reshape the vector to a matrix",
        )
    x, y = (_with_axes(v, rank, max(ranks)) for v, rank in zip((x, b), ranks, strict=True))
    match x, y:
        case _, Constant():
            assert not isinstance(x, Constant)
            return _by_weights(node, x, y)
        case Constant(), _:  # the transpose of y^T @ x^T
            found = _by_weights(node, _swapped(y, ranks[1]), _swapped(x, ranks[0]))
            return found if ranks[0] == 1 else _swapped(found, ranks[1])
        case _:
            return _of_two(node, x, y, shape_a[-1])


def _by_weights(node: ir.Node, x: Value, weights: Constant) -> Value:
    """``x @ weights`` for weights (..., K, N), or (K,)."""
    shape = weights.real_shape
    if len(shape) == 1:
        found = _by_weights(node, x, weights.map(lambda a: a[:, None] if a.ndim else a))
        return found.map(lambda a: a[..., 0] if a.ndim else a)
    where = g.describe(node)
    if isinstance(x, ScaledInt):
        mac = integer_mac(x, weights)
        if isinstance(mac, IntegerMac):
            lo = rows(x.lo, shape)
            hi = lo if x.is_point else rows(x.hi, shape)
            bias = offsets(divide(x.bias, x.scale), mac)
            return ScaledInt(*sums(lo, hi, mac.weights, where), mac.scale, bias)
        reason = f"{where}: {mac}"
    else:
        reason = f"{where}: its input has no integer core"
    y = numbers(x)
    assert isinstance(y, Interval)
    real = real_sums(y.map(lambda a: rows(a, shape)), weights.real_interval)
    return real.because(y.reason or reason)


def _of_two(node: ir.Node, x: Value, y: Value, k: int) -> Value:
    """``x @ y`` for two computed tensors (..., M, K) and (..., K, N)."""
    where = g.describe(node)

    def left(a: Any) -> Any:
        return rows(a, (0, k, 0))

    def right(a: Any) -> Any:
        return _swap2(left(_swap2(a)))

    if isinstance(x, ScaledInt) and isinstance(y, ScaledInt):
        q_x, q_y = from_zero(x), from_zero(y)
        scale_x, scale_y = same_along_sum(_transposed(x.scale)), same_along_sum(y.scale)
        if q_x is None or q_y is None:
            reason = "the zero point of an operand is no integer"
        elif scale_x is None or scale_y is None:
            reason = "an operand's scale differs along the summed axis"
        else:
            scale = multiply(_scalar(_transposed(scale_x)), _scalar(scale_y))
            q = corner_sums(_both(q_x, left), _both(q_y, right), where)
            return ScaledInt(*q, scale, ZERO)
    else:
        reason = "an operand has no integer core"
    a, b = numbers(x), numbers(y)
    assert isinstance(a, Interval) and isinstance(b, Interval)
    return real_corner_sums(a.map(left), b.map(right)).because(f"{where}: {reason}")


def _both(bounds: tuple[Ints, Ints], f: Callable[[Any], Any]) -> tuple[Ints, Ints]:
    lo = f(bounds[0])
    return lo, lo if bounds[0] is bounds[1] else f(bounds[1])


def _with_axes(x: Arg, rank: int, wanted: int) -> Arg:
    """Values with axes of size 1 between that of the samples and those of the tensor.

    Without them the samples would meet the batch of an operand with more axes.
    """

    def lift(a: Any) -> Any:
        lead = a.ndim - rank
        return a.reshape(*a.shape[:lead], *(1,) * (wanted - rank), *a.shape[lead:])

    if isinstance(x, Constant) or rank < 2 or rank == wanted:
        return x
    return x.map(lambda a: lift(a) if a.ndim > rank else a)


def _swapped(x: Any, rank: int) -> Any:
    """A value with the last two axes exchanged; vectors stay."""
    return x if rank < 2 else x.map(_swap2)


def _transposed(x: Real) -> Real:
    return x.map(_swap2)


def _swap2(a: Any) -> Any:
    """The last two axes of an array that broadcasts to a tensor, exchanged."""
    return np.swapaxes(a.reshape((1,) * (2 - a.ndim) + a.shape), -1, -2) if a.ndim else a


def _scalar(x: Real) -> Real:
    return x.map(lambda a: a.reshape(()) if a.size == 1 else a)


def _matmul_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    return [_shape_of_product(node, *shapes)]


def _gemm_operands(node: ir.Node, shapes: list[Shape]) -> list[Shape]:
    """The shapes of both factors, transposed as the node says."""
    flags = [g.attribute(node, name, 0) for name in ("transA", "transB")]
    return [s[::-1] if flag else s for s, flag in zip(shapes, flags, strict=True)]


def _gemm_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    a, b = _gemm_operands(node, shapes[:2])
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        raise SiraError(
            "operand shapes do not fit",
            where=g.describe(node),
            expected="(M, K) and (K, N)",
            found=f"{a} and {b}",
        )
    if len(shapes) > 2 and node.inputs[2] is not None:
        fits = np.broadcast_shapes(shapes[2], (1, 1)) in {
            (m, n) for m in (1, a[0]) for n in (1, b[1])
        }
        check_parameter(node, 2, shapes[2], fits, (a[0], b[1]))
    return [(a[0], b[1])]


def _shape_of_product(node: ir.Node, a: Shape, b: Shape) -> Shape:
    """As numpy.matmul: a vector on either side loses its axis."""
    left, right = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    try:
        if not a or not b or left[-1] != right[-2]:
            raise ValueError
        batch = np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError:
        raise SiraError(
            "operand shapes do not fit",
            where=g.describe(node),
            expected="(..., M, K) and (..., K, N)",
            found=f"{a} and {b}",
        ) from None
    return (*batch, *left[-2:-1] * (len(a) > 1), *right[-1:] * (len(b) > 1))


def _matmul_view(node: ir.Node) -> Mac:
    a, b = node.inputs
    assert a is not None and b is not None
    k = g.shape(a)[-1]
    if not g.is_constant(a):
        return Mac(a, b, k, -1, 1, _columns)
    axis = -1 if 1 in (len(g.shape(a)), len(g.shape(b))) else -2
    return Mac(b, a, k, axis, 1, lambda w: _columns(w.swapaxes(-1, -2) if w.ndim > 1 else w))


def _columns(weights: NDArray[Any]) -> NDArray[Any]:
    """Weights (..., K, N) or (K,) as (K, N): a batch has the columns of all of its matrices."""
    weights = weights[:, None] if weights.ndim == 1 else np.moveaxis(weights, -2, 0)
    return weights.reshape(len(weights), -1)


def _gemm_view(node: ir.Node) -> Mac:
    a, b = node.inputs[:2]
    assert a is not None and b is not None
    k = _gemm_operands(node, [g.shape(a), g.shape(b)])[0][1]
    if g.is_constant(a):
        rows_first = not g.attribute(node, "transA", 0)
        return Mac(b, a, k, -2, 1, lambda w: w.T if rows_first else w)
    columns_first = bool(g.attribute(node, "transB", 0))
    return Mac(a, b, k, -1, 1, lambda w: w.T if columns_first else w)


register("MatMul", rule=OpRule("mac", _matmul, _matmul_shapes, operands=2, mac=_matmul_view))
register("Gemm", rule=OpRule("mac", _gemm, _gemm_shapes, operands=3, mac=_gemm_view))
