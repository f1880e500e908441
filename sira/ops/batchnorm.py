"""BatchNormalization in inference: ``(x - mean) * gamma / sqrt(var + epsilon) + beta``."""

from __future__ import annotations

import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import ONE, Ints
from sira.ops.base import (
    Arg,
    Args,
    Constant,
    OpRule,
    affine,
    per_channel,
    register,
    with_channel_parameters,
)


def _parameters(node: ir.Node, args: Args) -> tuple[Constant, Constant, Constant, Constant]:
    """gamma, beta, mean and var, laid out against the operand."""
    if g.attribute(node, "training_mode", 0):
        raise SiraError(
            "BatchNormalization is in training mode",
            where=g.describe(node),
            remedy="export the model in evaluation mode",
        )
    rank = len(g.shape(node.outputs[0]))
    gamma, beta, mean, var = (per_channel(a, rank) for a in args[1:5] if isinstance(a, Constant))
    return gamma, beta, mean, var


def _batch_normalization(node: ir.Node, args: Args) -> list[Arg]:
    x = args[0]
    assert x is not None
    gamma, beta, mean, var = _parameters(node, args)
    epsilon = Exact.of(g.attribute(node, "epsilon", 1e-5))
    shifted = var.real_interval + epsilon.interval
    if (shifted.lo <= 0).any() and ((var.real + epsilon).signs() <= 0).any():
        raise SiraError("var + epsilon must be positive", where=g.describe(node))
    centred = affine(x, ONE, -mean.real)
    if isinstance(centred, Exact) or not _surely_irrational(shifted):
        exact = var.real + epsilon
        if isinstance(centred, Exact) or exact.has_rational_root:
            return [affine(centred, gamma.real / exact.sqrt(), beta.real)]
    return [affine(centred, gamma.real_interval / shifted.sqrt(), beta.real_interval)]


def _surely_irrational(x: Interval) -> bool:
    """Whether some square root is irrational, as far as float64 shows it: no fraction is needed."""
    root = x.sqrt()
    return bool(((x.lo == x.hi) & (root.lo != root.hi)).any())


def _slope(node: ir.Node, args: Args) -> Ints | None:
    return _parameters(node, args)[0].real.signs()


register(
    "BatchNormalization",
    rule=OpRule(
        "elementwise",
        _batch_normalization,
        with_channel_parameters(1, 2, 3, 4),
        _slope,
        affine=True,
    ),
)
