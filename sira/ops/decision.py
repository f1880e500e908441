"""ArgMax and TopK with k = 1: what turns scores into a class.

Softmax rises with every score, so in front of ArgMax it changes nothing. Ties go to the lower
index.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops.axes import aligned
from sira.ops.base import Arg, Args, Constants, OpRule, Shape, numbers, register


def decides(node: ir.Node) -> bool:
    """Whether the node picks the largest of several scores."""
    return node.op_type in ("ArgMax", "TopK")


def scores_of(node: ir.Node) -> ir.Value:
    """What ArgMax or TopK decides over: its operand, or what a Softmax in front of it reads.

    Softmax changes no order among the elements that it divides by the same sum: those along its
    axis, and before opset 13 also along the axes behind it.
    """
    value = node.inputs[0]
    assert value is not None
    while (producer := value.producer()) is not None and producer.op_type == "Softmax":
        opset = _opset(producer)
        axis = int(g.attribute(producer, "axis", 1 if opset < 13 else -1))
        rank = len(g.shape(value))
        axis = axis if axis < 0 else axis - rank
        decided = axis_of(node, rank)
        if decided != axis and (opset >= 13 or decided < axis):
            break
        value = producer.inputs[0]
        assert value is not None
    return value


def _opset(node: ir.Node) -> int:
    version = node.graph.opset_imports.get("") if node.graph is not None else None
    return version or 13


def axis_of(node: ir.Node, rank: int) -> int:
    """The axis that is decided over, counted from the end (-1 is the last)."""
    default = {"ArgMax": 0, "TopK": -1}.get(node.op_type, -1)
    axis = int(g.attribute(node, "axis", default))
    return axis if axis < 0 else axis - rank


def argmax(x: Arg, axis: int, shape: Shape) -> Ints | None:
    """Index of the largest value along ``axis`` of a tensor of ``shape``; None if not certain."""
    y = numbers(x)
    if isinstance(y, Exact):
        values = np.broadcast_to(y.values, np.broadcast_shapes(y.shape, shape))
        return np.asarray(np.expand_dims(np.argmax(values, axis=axis), axis), np.int64)
    lo, hi = (np.broadcast_to(b, np.broadcast_shapes(y.shape, shape)) for b in (y.lo, y.hi))
    best = np.expand_dims(np.argmax(lo, axis=axis), axis)
    rivals = (hi >= np.take_along_axis(lo, best, axis)).sum(axis=axis) > 1
    if np.array_equal(lo, hi) or not rivals.any():
        return best
    match x:
        case ScaledInt(scale=Exact(), bias=Exact()) if x.is_point:
            return argmax(x.exact, axis, shape)
        case _:
            return None


def _argmax(node: ir.Node, args: Args) -> list[Arg]:
    assert args[0] is not None
    if g.attribute(node, "select_last_index", 0):
        raise SiraError(
            "ties must go to the lower index",
            where=g.describe(node),
            expected="select_last_index=0",
            found="1",
        )
    shape = g.shape(node.inputs[0])  # type: ignore[arg-type]
    axis = axis_of(node, len(shape))
    q = argmax(args[0], axis, shape)
    if q is None:
        return [ScaledInt.integers(0, shape[axis] - 1)]
    if not g.attribute(node, "keepdims", 1):
        q = np.squeeze(q, axis)
    return [ScaledInt.integers(q, q)]


def _argmax_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    axis = axis_of(node, len(shapes[0])) + len(shapes[0])
    kept = (1,) if g.attribute(node, "keepdims", 1) else ()
    return [(*shapes[0][:axis], *kept, *shapes[0][axis + 1 :])]


def _topk(node: ir.Node, args: Args) -> list[Arg]:
    x = args[0]
    assert x is not None
    shape = g.shape(node.inputs[0])  # type: ignore[arg-type]
    axis = axis_of(node, len(shape))
    y = numbers(x)
    y = y.interval if isinstance(y, Exact) else y
    top = y.map(lambda b: aligned(b, len(shape)).max(axis, keepdims=True) if b.ndim else b)
    q = argmax(x, axis, shape)
    index = ScaledInt.integers(0, shape[axis] - 1) if q is None else ScaledInt.integers(q, q)
    return [top.because(f"{g.describe(node)}: the largest of several tensors' values"), index]


def _topk_shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    k = constants[1] if len(constants) > 1 else np.asarray(g.attribute(node, "k", 0))
    if k is None or int(np.ravel(k)[0]) != 1 or not g.attribute(node, "largest", 1):
        raise SiraError(
            "only the largest element is supported",
            where=g.describe(node),
            expected="k=1, largest=1",
            found=f"k={None if k is None else int(np.ravel(k)[0])}",
        )
    axis = axis_of(node, len(shapes[0])) + len(shapes[0])
    result = (*shapes[0][:axis], 1, *shapes[0][axis + 1 :])
    return [result, result]


register("ArgMax", rule=OpRule("other", _argmax, _argmax_shapes))
register("TopK", rule=OpRule("other", _topk, _topk_shapes))
