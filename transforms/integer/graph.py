"""The integer core of a graph, constructed from the ranges, region by region.

Range analysis says that a tensor is ``scale * q + bias``; here q itself is computed. Accumulators
multiply integers; what is affine on the way from one integer to the next is left out, as it only
changes scale and bias; what is not is left to the caller: a staircase of thresholds, or the
elementwise operators themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira import provenance
from sira.analysis.ranges import RANGE, Ranges
from sira.datatypes import smallest_type
from sira.errors import SiraError
from sira.numbers.exact import Exact, rational_gcd
from sira.numbers.scaled import Ints, ScaledInt
from sira.ops import Constant, rule_of
from sira.ops.decision import axis_of, decides, scores_of
from sira.ops.layout import permutation
from sira.ops.matmul import integer_mac
from sira.ops.products import IntegerMac
from transforms.builder import Builder, annotate, float32, weights_type, whole
from transforms.integer import combining as integer_ops

_MAX_MULTIPLE = 2**12
"""Scales of scores must be integer multiples up to this of a common one."""

_MAX_OFFSET = 2**40
"""Their biases may be up to this many times that common scale."""

_AFFINE = {"Add", "Sub", "Mul", "Div", "Neg", "BatchNormalization", "DequantizeLinear"}
_AFFINE |= {"Relu", "LeakyRelu", "PRelu"}
"""Operators that only change scale and bias where they keep integers; the last three do so where
their operand does not change its sign, and a Relu may also clip the integers."""


class IntegerGraph:
    """Builds the integers of the tensors of a canonical graph, each once.

    ``core(value)`` is the tensor of q. ``staircase`` builds the integers of a tensor that is no
    affine function of an integer. Where the host quantizes the input, the graph starts at that
    quantizer's output.
    """

    def __init__(
        self,
        model: ir.Model,
        ranges: Ranges,
        staircase: Callable[[IntegerGraph, ir.Value], ir.Value],
    ) -> None:
        self.model, self.ranges, self._staircase = model, ranges, staircase
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
        if isinstance(range_, ScaledInt) and not (
            node and decides(node) and keys(self, node) is None
        ):
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
        factor = self.b.constant(f"{g.name(value)}_sign", whole(sign))
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
        if kind == "mac" and node.op_type in ("MatMul", "Gemm"):
            return self._mac(node, value), one
        if kind == "layout":
            return self._layout(node, value), one
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
        if decides(node):
            return self._decision(node, value), one
        if (built := integer_ops.build(self, node, value)) is not None:
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

    def _mac(self, node: ir.Node, value: ir.Value) -> ir.Value:
        x = node.inputs[0]
        weights = self.ranges[node.inputs[1]]  # type: ignore[index]
        assert x is not None
        if not isinstance(weights, Constant) or len(weights.real_shape) != 2 or g.is_constant(x):
            raise SiraError(
                "only a computed tensor times one constant matrix can be written with integers",
                where=g.describe(node),
                expected="a computed first operand and constant weights (K, N)",
                remedy="transpose the product, or cut the model in front of it",
            )
        x_range = self.scaled(x)
        mac = integer_mac(x_range, weights)
        assert isinstance(mac, IntegerMac)
        u, sign = self.signed_core(x)
        rows = np.broadcast_to(sign, g.shape(x)).reshape(-1, g.shape(x)[-1])
        if (rows != rows[0]).any():  # along an axis that is not summed
            u, rows = self.core(x), np.ones_like(rows)
        matrix = mac.weights * rows[0][:, None]
        low, high = int(matrix.min()), int(matrix.max())
        w = self.b.constant(
            f"{g.name(value)}_weights", whole(matrix), weights_type(matrix, low, high)
        )
        return self.b.node("MatMul", [u, w], self.name(value), g.shape(value), name=node.name)

    def _layout(self, node: ir.Node, value: ir.Value) -> ir.Value:
        source = self.core(node.inputs[0])  # type: ignore[arg-type]
        name, shape = self.name(value), g.shape(value)
        if node.op_type in ("Identity", "Dropout", "Cast"):
            return source
        if node.op_type == "Transpose":
            attributes = {"perm": permutation(node, len(shape))}
            return self.b.node(
                "Transpose", [source], name, shape, name=node.name, attributes=attributes
            )
        target = self.b.constant(f"{name}_shape", np.asarray(shape, np.int64))
        return self.b.node("Reshape", [source, target], name, shape, name=node.name)

    def _decision(self, node: ir.Node, value: ir.Value) -> ir.Value:
        """ArgMax over integers ``scale * q + offset`` that are in the order of the real scores."""
        found = keys(self, node)
        assert found is not None
        scores, scale, offset = found
        name, shape = g.name(value), g.shape(scores)
        u = self.core(scores)
        a = self.b.constant(f"{name}_score_scale", whole(scale))
        b = self.b.constant(f"{name}_score_offset", whole(offset))
        aligned = self.b.node("Mul", [u, a], f"{name}_score_scaled", shape)
        aligned = self.b.node("Add", [aligned, b], f"{name}_score", shape)
        axis = axis_of(node, len(shape)) + len(shape)
        attributes = {"axis": axis, "keepdims": int(len(g.shape(value)) == len(shape))}
        index = self.b.node(
            "ArgMax",
            [aligned],
            f"{name}_index",
            g.shape(value),
            name=node.name,
            attributes=attributes,
            dtype=ir.DataType.INT64,
        )
        to = {"to": int(ir.DataType.FLOAT)}
        return self.b.node("Cast", [index], self.name(value), g.shape(value), attributes=to)


def is_affine(ranges: Ranges, node: ir.Node) -> bool:
    """Whether the node makes no more of its one integer operand than another scale and bias."""
    operands = g.dynamic_inputs(node)
    if len(set(operands)) != 1 or ranges.scaled(operands[0]) is None:
        return False
    if node.op_type not in _AFFINE or ranges.scaled(node.outputs[0]) is None:
        return ranges[operands[0]] is ranges[node.outputs[0]]
    square = node.op_type == "Mul" and node.inputs[0] is node.inputs[1]
    return not square and not integer_ops.clips(ranges, node)


def keys(graph: IntegerGraph, node: ir.Node) -> tuple[ir.Value, Ints, Ints] | None:
    """The scores that ArgMax or TopK decides over and (scale, offset) that order their integers.

    Softmax in front of the decision is passed over where it changes no order. With real scores
    ``s_c q + b_c`` and all s_c multiples m_c of one s, they are ordered like ``m_c q + b_c / s``;
    the fractions of ``b_c / s`` are replaced by their ranks. None where the scales are in no ratio
    of small integers: then the host decides.
    """
    value = scores_of(node)
    if node.op_type == "TopK" and (
        node.outputs[0].uses() or node.outputs[0] in graph.model.graph.outputs
    ):
        return None
    range_ = graph.ranges.scaled(value)
    if range_ is None or not isinstance(range_.scale, Exact) or not isinstance(range_.bias, Exact):
        return None
    base = rational_gcd(range_.scale.values)
    multiples = range_.scale.values / base
    offsets = range_.bias.values / base
    if any(m > _MAX_MULTIPLE for m in np.ravel(multiples)) or any(
        abs(m) > _MAX_OFFSET for m in np.ravel(offsets)
    ):
        return None
    floors = np.vectorize(lambda x: x.numerator // x.denominator, otypes=[np.int64])(offsets)
    rest = np.ravel(offsets - floors)
    ranks = {fraction: i for i, fraction in enumerate(sorted(set(rest.tolist())))}
    rank = np.array([ranks[fraction] for fraction in rest.tolist()]).reshape(np.shape(floors))
    scale = np.asarray(multiples, object).astype(np.int64) * len(ranks)
    return value, scale, floors * len(ranks) + rank
