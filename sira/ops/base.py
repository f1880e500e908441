"""What the compiler knows of an operator, and the table of all of them.

An operator is one row: how it computes shapes, how it maps ranges, and whether it works element by
element. The same rule serves range analysis (intervals in, intervals out), exact evaluation of a
network on data (points in, points out) and the exact decision of rounding ties (`Exact` values).
Values may carry further leading axes, one for the samples or points that are evaluated at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.datatypes import IntegerType
from sira.errors import SiraError
from sira.numbers.exact import Exact
from sira.numbers.int64 import INT64_MAX
from sira.numbers.interval import Interval
from sira.numbers.scaled import Ints, ScaledInt, Value

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor known at compile time: the file's array, or quantized weights as scaled integers."""

    array: NDArray[Any] | None = None
    quantized: ScaledInt | None = None

    @cached_property
    def real(self) -> Exact:
        """The exact numbers it stands for."""
        return self.quantized.exact if self.quantized else Exact.of(self.file_array)

    @property
    def real_shape(self) -> tuple[int, ...]:
        return self.file_array.shape if self.quantized is None else self.quantized.lo.shape

    @property
    def file_array(self) -> NDArray[Any]:
        assert self.array is not None
        return self.array

    @cached_property
    def real_interval(self) -> Interval:
        """The same in float64, without the way over fractions where float64 holds the numbers."""
        if self.quantized is None and self.file_array.dtype.kind == "f":
            return Interval.point(self.file_array)
        return self.quantized.interval if self.quantized else self.real.interval

    @cached_property
    def scaled(self) -> ScaledInt | None:
        """As scaled integers; plain numbers qualify when all of them are integers."""
        if self.quantized is not None:
            return self.quantized
        a = self.file_array
        if (a.dtype.kind in "iub" and bool((a <= INT64_MAX).all())) or (
            np.isfinite(a) & (np.rint(a) == a) & (np.abs(a) < 2**62)
        ).all():
            return ScaledInt.integers(q := a.astype(np.int64), q)
        return None

    @cached_property
    def values(self) -> Value:
        """As a value in its own right, when an operator has constant operands alone."""
        if self.scaled is not None:
            return self.scaled
        q = np.ones(self.file_array.shape, np.int64)
        return ScaledInt.of(q, q, Exact.of(1), self.real - Exact.of(1))

    def map(self, f: Callable[[Any], Any]) -> Constant:
        return Constant(
            None if self.array is None else f(self.array),
            None if self.quantized is None else self.quantized.map(f),
        )


Arg = Value | Constant
Args = Sequence[Arg | None]
Constants = list[NDArray[Any] | None]
"""The contents of a node's inputs; None for computed ones and those left out."""
Evaluate = Callable[[ir.Node, Args], list[Arg]]
ShapeRule = Callable[[ir.Node, list[Shape], Constants], list[Shape]]
Slope = Callable[[ir.Node, Args], Ints | None]
Partials = Callable[[ir.Node, Sequence[Interval], Interval], list[Interval]]
"""(node, operands, output) -> the slope with respect to each operand."""
Kind = Literal["elementwise", "quantizer", "layout", "selection", "mac", "other"]


@dataclass(frozen=True, eq=False)
class Mac:
    """A node that multiplies and accumulates, as rows (..., K) of data times weights (K, N).

    ``data`` and ``weights`` are its operands; of two computed ones the second counts as weights.
    ``summands`` is K. ``axis`` is that of the output's channels, counted from the end. The channels
    fall into ``groups``, each of which reads its own share of the data's channels.
    ``matrix`` lays an array of the weights' shape out as (K, N); a batch of matrices has the
    columns of all of them.
    """

    data: ir.Value
    weights: ir.Value
    summands: int
    axis: int
    groups: int
    matrix: Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class OpRule:
    """One operator.

    ``kind``: "elementwise" and "quantizer" act on each element alone; "layout" re-arranges
    elements; "selection" selects, repeats or surrounds elements, so that it does to integers what
    it does to numbers; "mac" multiplies by constant weights and sums.
    ``slope``: for the first two kinds the sign of the slope with respect to the dynamic input,
    per channel (1 rising, -1 falling, 0 constant), or None where the function is not monotone.
    ``operands``: how many inputs may be computed; those behind them must be constant.
    ``partials``: the derivatives of an elementwise operator by its operands. Each encloses every
    slope between two points of the operands' box, so that of a kink is the hull of its two sides.
    Without them slopes are unknown, which costs `sira.analysis.composite` tightness, never
    soundness.
    ``affine``: the operator changes scale and bias alone where it keeps integers; a Relu and its
    kin do so where their operand does not change its sign.
    ``clips``: the operator may cut off integers of its operand and leave the others as they are.
    ``mac``: a node of the kind "mac" as a product with a matrix; its other inputs are a bias.
    ``datatype``: the datatype that a quantizer declares for its integers, if it does.
    """

    kind: Kind
    evaluate: Evaluate
    shapes: ShapeRule
    slope: Slope | None = None
    operands: int = 1
    partials: Partials | None = None
    affine: bool = False
    clips: bool = False
    mac: Callable[[ir.Node], Mac] | None = None
    datatype: Callable[[ir.Node], IntegerType | None] | None = None


RULES: dict[str, OpRule] = {}


def register(*op_types: str, rule: OpRule) -> None:
    """Enter a rule into the table."""
    for op_type in op_types:
        assert op_type not in RULES, op_type
        assert (rule.kind == "mac") == (rule.mac is not None), op_type
        RULES[op_type] = rule


def rule_of(node: ir.Node) -> OpRule:
    """The rule for a node; an operator without one is an error, never a guess."""
    rule = RULES.get(node.op_type)
    if rule is None or node.domain not in ("", "ai.onnx", g.CUSTOM_DOMAIN):
        domain = f"{node.domain}::" if node.domain else ""
        raise SiraError(
            f"operator {domain}{node.op_type} is not supported",
            where=f"node {g.label(node)}",
            expected="one of " + ", ".join(sorted(RULES)),
            found=node.op_type,
            remedy="rewrite the model without it, or cut the model in front of it",
        )
    return rule


Lookup = Callable[[ir.Value], Arg]
"""What is known of a tensor."""


def known(*values: Mapping[str, Arg]) -> Lookup:
    """What the first of ``values`` that has a tensor's name says of it."""

    def of(value: ir.Value) -> Arg:
        name = g.name(value)
        return next((v for v in values if name in v), values[-1])[name]

    return of


def arguments(node: ir.Node, of: Lookup) -> list[Arg | None]:
    """What the rules of a node take; None stands for an input left out."""
    return [None if v is None else of(v) for v in node.inputs]


def apply(node: ir.Node, of: Lookup) -> list[Arg]:
    """The outputs of a node by its rule, in the arithmetic of its operands."""
    return rule_of(node).evaluate(node, arguments(node, of))


def mac_of(node: ir.Node) -> Mac | None:
    """The node as a product with a matrix, or None for an operator that is none."""
    rule = rule_of(node)
    return rule.mac(node) if rule.mac else None


@contextmanager
def malformed(node: ir.Node) -> Iterator[None]:
    """Turn what a rule stumbles over in a malformed node into one line for the user."""
    try:
        yield
    except (IndexError, KeyError, TypeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise SiraError(
            "the node is malformed",
            where=g.describe(node),
            expected="inputs and attributes as its operator defines them",
            found=f"{type(error).__name__}: {text}",
            remedy="export the model again",
        ) from error


def same_shape(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    """Numpy broadcasting of all inputs, which covers every elementwise operator."""
    try:
        return [np.broadcast_shapes(*shapes)]
    except ValueError:
        raise SiraError(
            "shapes do not broadcast", where=g.describe(node), found=" and ".join(map(str, shapes))
        ) from None


def first_shape(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
    """Every output has the shape of the first input."""
    return [shapes[0]] * len(node.outputs)


def lifted(node: ir.Node, args: Args) -> list[Arg]:
    """The operands in the rank of the output, so that leading axes do not meet those of tensors."""
    rank = len(g.shape(node.outputs[0]))
    given = [(a, v) for a, v in zip(args, node.inputs, strict=True) if a is not None and v]
    return [a if isinstance(a, Constant) else _lift(a, len(g.shape(v)), rank) for a, v in given]


def _lift(x: Value, own: int, rank: int) -> Value:
    def each(a: Any) -> Any:
        lead = max(a.ndim - own, 0)
        return a.reshape(*a.shape[:lead], *(1,) * (rank - own), *a.shape[lead:]) if lead else a

    return x if own == rank else x.map(each)


def real(arg: Arg | None) -> Exact:
    """The exact numbers of a constant operand."""
    assert isinstance(arg, Constant), "a constant is needed here"
    return arg.real


def numbers(x: Arg) -> Interval | Exact:
    """A value as real numbers: exact ones stay exact, everything else becomes an interval."""
    match x:
        case Exact() | Interval():
            return x
        case ScaledInt():
            return x.interval
        case Constant():
            return x.real


def with_parameters(*indices: int) -> ShapeRule:
    """The shape of the first input, to which the parameters at ``indices`` must broadcast."""

    def shape_rule(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
        for i in indices:
            if i < len(shapes) and prod(shapes[i]) != 1:
                check_parameter(node, i, shapes[i], _broadcasts(shapes[i], shapes[0]), shapes[0])
        return [shapes[0]] * len(node.outputs)

    return shape_rule


def with_channel_parameters(*indices: int) -> ShapeRule:
    """The shape of the first input (N, C, ...), and vectors (C,) at ``indices``."""

    def shape_rule(node: ir.Node, shapes: list[Shape], constants: Constants) -> list[Shape]:
        channels = shapes[0][1:2] or shapes[0]
        for i in indices:
            check_parameter(node, i, shapes[i], shapes[i] == channels, channels)
        return [shapes[0]] * len(node.outputs)

    return shape_rule


def check_parameter(node: ir.Node, index: int, found: Shape, fits: bool, expected: Shape) -> None:
    """Refuse a parameter (input ``index``) whose shape does not fit."""
    if not fits:
        raise SiraError(
            "a parameter does not fit",
            where=f"{g.describe(node)}, input {index}",
            expected=f"shape {expected}, or one that broadcasts to it",
            found=str(found),
            remedy="export the model again",
        )


def _broadcasts(shape: Shape, target: Shape) -> bool:
    padded = (1,) * (len(target) - len(shape)) + shape
    return len(shape) <= len(target) and all(
        d in (1, t) for d, t in zip(padded, target, strict=True)
    )


def operand(x: Arg | None) -> Value:
    """An operand that is needed, as a value; a constant is one too."""
    assert x is not None
    return x.values if isinstance(x, Constant) else x


def curved(node: ir.Node, result: Any) -> Any:
    """The result of a function that is not affine: an interval gets its reason."""
    if isinstance(result, Interval):
        return result.because(f"{g.describe(node)} is not affine on the range of its input")
    return result


def sides(x: Arg) -> Ints:
    """1 where x is never negative, -1 where it is never positive, 0 where it may be both."""
    y = numbers(x)
    y = y.interval if isinstance(y, Exact) else y
    return np.where(y.lo >= 0, 1, np.where(y.hi <= 0, -1, 0)).astype(np.int64)


def rising(node: ir.Node, args: Args) -> Ints | None:
    """The slope of functions that rise everywhere."""
    return np.asarray(1)


def like(x: Interval | Exact, constant: Exact) -> Any:
    """A constant in the same arithmetic as ``x``."""
    return constant if isinstance(x, Exact) else constant.interval


def affine(x: Arg, factor: Exact | Interval, offset: Exact | Interval) -> Value:
    """``factor * x + offset`` for any value."""
    match x:
        case ScaledInt():
            return x.affine(factor, offset)
        case Exact():
            assert isinstance(factor, Exact) and isinstance(offset, Exact)
            return x * factor + offset
        case Constant():
            return affine(x.values, factor, offset)
        case Interval():
            f = factor.interval if isinstance(factor, Exact) else factor
            o = offset.interval if isinstance(offset, Exact) else offset
            return (x * f + o).because(x.reason)


def per_channel(constant: Constant, rank: int) -> Constant:
    """A vector (C,) in the layout of axis 1 of a tensor of this rank."""
    return constant.map(lambda a: np.reshape(a, (-1,) + (1,) * (rank - 2)) if np.size(a) > 1 else a)


def dynamic(args: Args) -> Arg:
    """The first operand that is not a constant, or the first if all are."""
    present = [a for a in args if a is not None]
    return next((a for a in present if not isinstance(a, Constant)), present[0])
