"""BatchNormalization in inference: ``(x - mean) * gamma / sqrt(var + epsilon) + beta``."""

from __future__ import annotations

import onnx_ir as ir

from sira import graph as g
from sira.errors import SiraError
from sira.exact import Exact
from sira.ops.base import (
    Arg,
    Args,
    Constant,
    OpRule,
    affine,
    first_shape,
    per_channel,
    register,
)
from sira.scaled import ONE, Ints


def _parameters(node: ir.Node, args: Args) -> tuple[Exact, Exact, Exact, Exact]:
    if g.attribute(node, "training_mode", 0):
        raise SiraError(
            "BatchNormalization is in training mode",
            where=g.describe(node),
            remedy="export the model in evaluation mode",
        )
    rank = len(g.shape(node.outputs[0]))
    gamma, beta, mean, var = (
        per_channel(a, rank).real for a in args[1:5] if isinstance(a, Constant)
    )
    return gamma, beta, mean, var


def _batch_normalization(node: ir.Node, args: Args) -> list[Arg]:
    x = args[0]
    assert x is not None
    gamma, beta, mean, var = _parameters(node, args)
    shifted_var = var + Exact.of(g.attribute(node, "epsilon", 1e-5))
    if (shifted_var.signs() <= 0).any():
        raise SiraError("var + epsilon must be positive", where=g.describe(node))
    centred = affine(x, ONE, -mean)
    root = shifted_var.sqrt()
    if isinstance(centred, Exact) or root.is_rational:
        return [affine(centred, gamma / root, beta)]
    return [affine(centred, gamma.interval / shifted_var.interval.sqrt(), beta)]


def _slope(node: ir.Node, args: Args) -> Ints | None:
    return _parameters(node, args)[0].signs()


register(
    "BatchNormalization", rule=OpRule("elementwise", _batch_normalization, first_shape, _slope)
)
