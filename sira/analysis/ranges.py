"""Scaled-integer range analysis: one walk over the graph, one rule a node.

SIRA, arXiv:2508.21493. The same walk evaluates the network exactly on data
(`sira.verification.golden`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.analysis.composite import refine
from sira.datatypes import InputSpec, parse_datatype
from sira.errors import SiraError
from sira.load import annotation
from sira.numbers.exact import Exact
from sira.numbers.interval import Interval
from sira.numbers.scaled import ScaledInt, Value
from sira.ops import Arg, Constant, arguments, known, malformed, rule_of

RANGE = "sira.range"
"""Key of an input's metadata: "lo hi", the integers that the host sends."""


@dataclass(frozen=True, eq=False)
class Ranges:
    """What is known of every tensor: ``values`` by name, constants included."""

    values: Mapping[str, Arg]

    def __getitem__(self, value: ir.Value | str) -> Arg:
        return self.values[value if isinstance(value, str) else g.name(value)]

    def scaled(self, value: ir.Value) -> ScaledInt | None:
        """The integer range of a computed tensor, or None where it has no integer core."""
        found = self[value]
        return found if isinstance(found, ScaledInt) else None

    def is_whole(self, value: ir.Value) -> bool:
        """Whether the real numbers of a computed tensor are integers themselves."""
        found = self.values.get(g.name(value))
        return isinstance(found, ScaledInt) and found.is_whole

    def arguments(self, node: ir.Node) -> list[Arg | None]:
        """What the rules of ``node`` take."""
        return arguments(node, self.__getitem__)


@dataclass(frozen=True, eq=False)
class Analyzed:
    """A graph and its ranges."""

    model: ir.Model
    ranges: Ranges

    @property
    def input(self) -> ir.Value:
        """The graph's input."""
        (value,) = self.model.graph.inputs
        return value


def whole_tensors(graph: Analyzed) -> list[ir.Value]:
    """Tensors that are computed from integers alone, and are integers themselves, in order.

    The host's real numbers lie behind them.
    """
    found = set(graph.model.graph.inputs)
    for node in graph.model.graph:
        if found.issuperset(g.dynamic_inputs(node)):
            found.update(v for v in node.outputs if graph.ranges.is_whole(v))
    return [v for node in graph.model.graph for v in node.outputs if v in found]


def analyze(model: ir.Model, inputs: Mapping[str, InputSpec] | None = None) -> Ranges:
    """Derive range, scale and bias of every tensor.

    ``inputs`` declares what the host sends; without a declaration an input's annotation counts,
    and an input that the model itself quantizes may be any real number.
    """
    names = [g.name(v) for v in model.graph.inputs]
    for name in inputs or {}:
        if name not in names:
            raise SiraError(
                "no such input", where=f"--input {name}=...", expected=" | ".join(names), found=name
            )
    ranges: dict[str, Arg] = constants(model.graph)
    for value in model.graph.inputs:
        ranges[g.name(value)] = input_range(value, (inputs or {}).get(g.name(value)))
    for node in model.graph:
        results = evaluate_node(node, arguments(node, known(ranges)))
        if rule_of(node).kind == "elementwise":
            results = [refine(node, ranges, r) for r in results]
        for output, result in zip(node.outputs, results, strict=False):
            ranges[g.name(output)] = result
    return Ranges(ranges)


def evaluate_node(node: ir.Node, args: list[Arg | None]) -> list[Arg]:
    """Apply the rule of a node; what only constants flow into stays a constant."""
    rule = rule_of(node)
    if any(not isinstance(a, Constant | None) for a in args[rule.operands :]):
        raise SiraError(
            "a parameter is computed from the input",
            where=g.describe(node),
            expected="constants behind the first operand",
            found=", ".join(g.name(v) for v in g.dynamic_inputs(node)),
            remedy="export the model with static quantization",
        )
    with malformed(node):
        results = rule.evaluate(node, args)
    if all(a is None or isinstance(a, Constant) for a in args):
        return [_as_constant(node, r) for r in results]
    return [_with_reason(node, r, args) for r in results]


def constants(graph: ir.Graph) -> dict[str, Arg]:
    """The initializers."""
    return {
        name: Constant(_plain(value.const_value.numpy()))
        for name, value in graph.initializers.items()
        if value.const_value is not None
    }


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Types of 4 bits, which numpy does not know, as int8."""
    return array.astype(np.int8) if array.dtype.name in ("int4", "uint4") else array


def input_range(value: ir.Value, spec: InputSpec | None) -> Value:
    """The range of a graph input: declared, annotated, or all real numbers."""
    where = f"input {g.name(value)}"
    if spec is None and RANGE in value.metadata_props:
        lo, hi = map(int, value.metadata_props[RANGE].split())
        return ScaledInt.integers(lo, hi)
    if spec is None and (text := annotation(value)) and text != "FLOAT32":
        spec = InputSpec(parse_datatype(text, where))
    if spec is not None:
        return spec.range(g.shape(value), where)
    return Interval.everything().because(f"{where} is not declared, so it may be any number")


def _as_constant(node: ir.Node, result: Arg) -> Arg:
    if isinstance(result, Constant):
        return result
    if isinstance(result, ScaledInt) and result.is_point:
        return Constant(quantized=result)
    raise SiraError(
        "cannot compute a constant exactly",
        where=g.describe(node),
        remedy="quantize the constant last, or store its value as an initializer",
    )


def _with_reason(node: ir.Node, result: Arg, args: list[Arg | None]) -> Arg:
    """An interval says where the integers were lost first."""
    if isinstance(result, Interval):
        for a in args:
            if isinstance(a, Interval) and a.reason:
                return Interval(result.lo, result.hi, a.reason)
        return result.because(f"{g.describe(node)} is not an integer operation")
    assert not isinstance(result, Exact)
    return result
