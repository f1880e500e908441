"""XnorPopcountMatMul: how many of K bits agree with constant bits.

For x and w in {0, 1} the count is ``sum_k x[k] (2 w[k] - 1) + #(w = 0)``: a product with weights of
+-1, and a constant.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.scaled import ONE
from sira.ops.base import (
    RULES,
    Arg,
    Args,
    Constant,
    Constants,
    OpRule,
    Shape,
    affine,
    numbers,
    register,
)


def _xnor(node: ir.Node, args: Args) -> list[Arg]:
    x, weights = args[0], args[1]
    assert x is not None
    if not isinstance(weights, Constant) or isinstance(x, Constant):
        raise SiraError(
            "only a computed tensor with constant bits is supported",
            where=g.describe(node),
            expected="a constant second operand",
        )
    bits = weights.real.values
    if any(b not in (0, 1) for b in bits.ravel()):
        raise SiraError("the weights must be bits", where=g.describe(node), expected="0 and 1")
    range_ = numbers(x)
    if not isinstance(range_, Exact) and ((range_.lo < 0).any() or (range_.hi > 1).any()):
        raise SiraError(
            "the operand must be bits",
            where=g.describe(node),
            expected="numbers from 0 to 1",
            found=f"{range_.lo.min()} to {range_.hi.max()}",
        )
    w = bits.astype(np.int64)
    [product] = RULES["MatMul"].evaluate(node, [x, Constant(2 * w - 1)])
    return [affine(product, ONE, Exact.of((1 - w).sum(axis=0)))]


def _shapes(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    a, b = shapes
    if len(b) != 2 or a[-1] != b[0]:
        raise SiraError(
            "operand shapes do not fit",
            where=g.describe(node),
            expected="(..., K) and (K, N)",
            found=f"{a} and {b}",
        )
    return [(*a[:-1], b[1])]


register("XnorPopcountMatMul", rule=OpRule("other", _xnor, _shapes, operands=2))
