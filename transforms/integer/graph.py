"""The integer core of a graph, constructed from the ranges, region by region.

Range analysis says that a tensor is ``scale * q + bias``; here q itself is computed. Accumulators
multiply integers; what is affine on the way from one integer to the next is left out, as it only
changes scale and bias; what is not is left to the caller: a staircase of thresholds, or the
elementwise operators themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira import provenance
from sira.analysis.ranges import RANGE, Ranges
from sira.datatypes import smallest_type
from sira.errors import SiraError
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops import Constant, rule_of
from transforms.builder import Builder, annotate, as_floats, float32
from transforms.integer.affine import is_affine


@dataclass(frozen=True)
class Rule:
    """How one operator is written with integers.

    ``build`` gives the integers of an output, or None where the operator has none of its own.
    ``by_host`` says whether the host computes the operator, although its result is integer.
    """

    build: Callable[[IntegerGraph, ir.Node, ir.Value], ir.Value | None]
    by_host: Callable[[IntegerGraph, ir.Node], bool] = lambda graph, node: False


Rules = dict[str, Rule]
"""The rules by op type."""


class IntegerGraph:
    """Builds the integers of the tensors of a canonical graph, each once.

    ``core(value)`` is the tensor of q. ``rules`` is the table of operators whose integers are made
    from those of their operands; ``staircase`` builds the integers of a tensor that is no affine
    function of an integer. Where the host quantizes the input, the graph starts at that quantizer's
    output.
    """

    def __init__(
        self,
        model: ir.Model,
        ranges: Ranges,
        rules: Rules,
        staircase: Callable[[IntegerGraph, ir.Value], ir.Value],
    ) -> None:
        self.model, self.ranges = model, ranges
        self._rules, self._staircase = rules, staircase
        self.b = Builder(model)
        self._cores: dict[ir.Value, tuple[ir.Value, Ints]] = {}
        self._reals: dict[ir.Value, ir.Value] = {}
        self._outputs = set(model.graph.outputs)
        for value in self._outputs:
            self.b.unique(g.name(value))

    def finish(self, metadata: dict[str, str] | None = None) -> ir.Model:
        """The whole graph: the integers, and behind them the real numbers of every output."""
        outputs = [self.real(v) for v in self.model.graph.outputs]
        for value, output in zip(self.model.graph.outputs, outputs, strict=True):
            output.name = value.name
        return self.b.finish(outputs, metadata)

    def name(self, value: ir.Value) -> str:
        """The name for the integers of ``value``: its own unless that names an output."""
        return f"{g.name(value)}_integers" if value in self._outputs else g.name(value)

    def real(self, value: ir.Value) -> ir.Value:
        """The real numbers of ``value`` in float32: what the host computes behind the hardware."""
        if value not in self._reals:
            self._reals[value] = self._real(value)
        return self._reals[value]

    def _real(self, value: ir.Value) -> ir.Value:
        node, range_, name = value.producer(), self.ranges[value], g.name(value)
        constant = self.ranges[value]
        if isinstance(constant, Constant):
            return self.b.constant(name, float32(constant.real.interval.lo))
        rule = self._rules.get(node.op_type) if node else None
        if isinstance(range_, ScaledInt) and not (node and rule and rule.by_host(self, node)):
            result = self.core(value)
            shape = g.shape(value)
            scale = self.b.constant(f"{name}_scale", float32(range_.scale_float))
            bias = self.b.constant(f"{name}_bias", float32(range_.bias_float))
            scaled = self.b.node("Mul", [result, scale], f"{name}_scaled", shape)
            return self.b.node("Add", [scaled, bias], f"{name}_real", shape)
        if node is None:
            raise SiraError(
                "the model neither quantizes nor annotates its input",
                where=f"input {name}",
                expected="a quantizer behind it, or a declaration of what the host sends",
                remedy=f"declare it, for example with --input {name}=UINT8,scale=1/255",
            )
        inputs = [None if v is None else self._operand(v) for v in node.inputs]
        outputs = self.b.copy(node, inputs)
        self._reals.update(zip(node.outputs, outputs, strict=True))
        return self._reals[value]

    def _operand(self, value: ir.Value) -> ir.Value:
        contents = g.array(value)
        return self.real(value) if contents is None else self.b.constant(g.name(value), contents)

    def core(self, value: ir.Value) -> ir.Value:
        """The integers of ``value``; a sign that differs from the source's is multiplied in."""
        source, sign = self.signed_core(value)
        if (sign == 1).all():
            return source
        shape = g.shape(value)
        factor = self.b.constant(f"{g.name(value)}_sign", as_floats(sign))
        return self.b.node("Mul", [source, factor], f"{g.name(value)}_flipped", shape)

    def signed_core(self, value: ir.Value) -> tuple[ir.Value, Ints]:
        """A tensor u and signs in -1, 0, 1 such that the integers of ``value`` are sign * u."""
        if value not in self._cores:
            u, sign = self._build(value)
            provenance.record_origin(u, value, sign)
            self._cores[value] = u, sign
        return self._cores[value]

    def trace(self, nodes: Sequence[ir.Node]) -> None:
        """Record what the first of ``nodes``, a chain, make of integers by affine functions alone.

        They have no integers of their own in the new graph.
        """
        for node in nodes:
            if not is_affine(self.ranges, node):
                break
            self.signed_core(node.outputs[0])

    def _build(self, value: ir.Value) -> tuple[ir.Value, Ints]:
        node, one = value.producer(), np.asarray(1)
        range_ = self.scaled(value)
        if node is None:
            return self.host_input(value), one
        kind = rule_of(node).kind
        if kind == "elementwise":
            inputs = g.dynamic_inputs(node)
            source = inputs[0]
            if len(set(inputs)) == 1 and self.ranges.scaled(source) is not None:
                if self.ranges[source] is range_:  # the operator changes nothing on this range
                    return self.signed_core(source)
                if is_affine(self.ranges, node):
                    u, sign = self.signed_core(source)
                    slope = rule_of(node).slope
                    assert slope is not None
                    own = slope(node, self.ranges.arguments(node))
                    assert own is not None
                    return u, sign * own
        rule = self._rules.get(node.op_type)
        if rule is not None and (built := rule.build(self, node, value)) is not None:
            return built, one
        if kind not in ("elementwise", "quantizer"):
            raise SiraError(
                f"{node.op_type} has no hardware",
                where=g.describe(node),
                expected="dense layers, elementwise functions of one tensor, quantizers",
                found=node.op_type,
                remedy="cut the model in front of it",
            )
        return self._staircase(self, value), one

    def scaled(self, value: ir.Value) -> ScaledInt:
        """The integer range of a tensor that must have one."""
        range_ = self.ranges.scaled(value)
        if range_ is None:
            reason = getattr(self.ranges[value], "reason", "")
            node = value.producer()
            raise SiraError(
                f"tensor {g.name(value)} has no integers",
                where=g.describe(node) if node else f"input {g.name(value)}",
                expected="scale * q + bias with an integer q",
                found=reason,
                remedy="quantize it, or declare the input with --input",
            )
        return range_

    def host_input(self, value: ir.Value) -> ir.Value:
        """An input of the integer graph: integers that the host sends."""
        range_ = self.scaled(value)
        name = f"{g.name(value)}_integers" if value.is_graph_output() else g.name(value)
        result = self.b.input(name, g.shape(value))
        lo, hi = int(range_.lo.min()), int(range_.hi.max())
        annotate(result, smallest_type(lo, hi))
        result.metadata_props[RANGE] = f"{lo} {hi}"  # the type may hold more
        return result

    def quantized_by_host(self, source: ir.Value) -> bool:
        """Whether ``source`` is a graph input of undeclared type: the host quantizes it."""
        return source.producer() is None and self.ranges.scaled(source) is None
