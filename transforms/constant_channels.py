"""Constant channels: what can take only one value is not computed; the next layer holds it.

Between two dense layers (MatMul, or Conv of one group) every operator works channel by channel. A
channel that arrives as one value ``c`` is dropped from the columns of the first layer, from all
constants on the way and from the rows of the second, whose accumulators then miss ``c * w``: the
thresholds or the bias behind them take that up. A channel that nobody reads (its rows are all
zero) goes as well. One channel always stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira import provenance
from sira.analysis.ranges import Ranges
from sira.numbers.scaled import Ints
from sira.ops import mac_of
from sira.ops.quant import threshold_axis, threshold_layout
from transforms.builder import annotate, as_floats, float32, weights_type

_RESHAPES = ("Reshape", "Flatten")


def remove_constant_channels(model: ir.Model, ranges: Ranges) -> ir.Model:
    """Drop the channels of an integer ``model`` that are constant or that nobody reads.

    Tensors keep their names; their records in `sira.provenance` tell how they relate to those of
    the argument. ``ranges`` are those of ``model``.
    """
    result = model.clone()
    # From the last layer to the first: columns that go take the readers of earlier channels along.
    # Constants stay what they are, so that one sweep finds everything.
    for node in reversed(list(result.graph)):
        link = _link(node)
        if link is not None:
            _shrink(link, ranges)
    return result


def removed_channels(before: ir.Model, after: ir.Model) -> dict[str, list[int]]:
    """The channels that each quantized tensor of ``before`` has lost in ``after``."""
    shapes = {g.name(n.outputs[0]): g.shape(n.outputs[0]) for n in before.graph}
    removed = {}
    for node in after.graph:
        value = node.outputs[0]
        record = provenance.of(value)
        if node.op_type != "MultiThreshold" or record.channels is None:
            continue
        channels = shapes[g.name(value)][record.axis]
        removed[g.name(value)] = sorted(set(range(channels)) - set(record.channels.tolist()))
    return removed


@dataclass(frozen=True, eq=False)
class _Link:
    """Two dense layers and the nodes between them, channels along ``axis`` of ``rank``.

    ``owner`` (K,) is the channel that each row of the consumer's weights reads.
    """

    producer: ir.Node
    nodes: tuple[ir.Node, ...]
    consumer: ir.Node
    axis: int
    owner: Ints

    @property
    def last(self) -> ir.Value:
        """The last tensor that has one axis of channels."""
        between = [n for n in self.nodes if n.op_type not in _RESHAPES]
        return (between[-1] if between else self.producer).outputs[0]


def _link(producer: ir.Node) -> _Link | None:
    """The link that begins at a dense layer, if all on the way to the next one can shrink."""
    if not _dense(producer):
        return None
    value = producer.outputs[0]
    axis = _channel_axis(producer)
    channels = g.shape(value)[axis]
    nodes: list[ir.Node] = []
    while (node := _only_consumer(value)) is not None and not _dense(node):
        if not _per_channel(node, value, axis):
            return None
        nodes.append(node)
        value = node.outputs[0]
        if node.op_type in _RESHAPES:
            node = _only_consumer(value)
            break
    if node is None or not _dense(node) or node.inputs[0] is not value:
        return None
    owner = np.arange(channels)
    if nodes and nodes[-1].op_type in _RESHAPES:
        reshaped = nodes[-1].inputs[0]
        assert reshaped is not None
        shape = g.shape(reshaped)
        places = owner.reshape((channels,) + (1,) * (len(shape) - 1 - axis))
        owners = np.broadcast_to(places, shape).reshape(-1, g.shape(value)[-1])
        if node.op_type != "MatMul" or (owners != owners[0]).any():
            return None
        owner = owners[0]
    elif axis != (1 if node.op_type == "Conv" else len(g.shape(value)) - 1):
        return None
    return _Link(producer, tuple(nodes), node, axis, owner)


def _channel_axis(layer: ir.Node) -> int:
    """The axis of a dense layer's output along which its channels lie."""
    mac = mac_of(layer)
    assert mac is not None
    return len(g.shape(layer.outputs[0])) + mac.axis


def _dense(node: ir.Node) -> bool:
    """Whether each output channel reads all input channels through constant weights."""
    match node.op_type:
        case "MatMul":
            return _own_constant(node) and _array(node.inputs[1]).ndim == 2
        case "Conv":
            grouped = g.attribute(node, "group", 1) != 1
            return _own_constant(node) and len(node.inputs) == 2 and not grouped
        case _:
            return False


def _per_channel(node: ir.Node, value: ir.Value, axis: int) -> bool:
    """Whether a reader of ``value`` keeps channels apart, so that some of them can be left out."""
    if node.inputs[0] is not value:
        return False
    shape, out = g.shape(value), g.shape(node.outputs[0])
    match node.op_type:
        case "Mul" | "Add":
            return _own_constant(node) and shape == out
        case "MultiThreshold":
            one_row = len(_array(node.inputs[1])) == 1
            return _own_constant(node) and (one_row or axis == threshold_axis(node))
        case "MaxPool" | "GlobalMaxPool":
            return axis == 1 and len(node.outputs) == 1
        case "Conv":
            depthwise = g.attribute(node, "group", 1) == shape[1] == out[1]
            return axis == 1 and depthwise and _own_constant(node) and len(node.inputs) == 2
        case "Reshape":
            return _own_constant(node)
        case "Flatten":
            return True
        case _:
            return False


def _own_constant(node: ir.Node) -> bool:
    """Whether the second operand is a constant that no other node reads."""
    operand = node.inputs[1]
    return operand is not None and g.array(operand) is not None and len(operand.uses()) == 1


def _only_consumer(value: ir.Value) -> ir.Node | None:
    readers = list(g.consumers(value))
    return readers[0] if len(readers) == 1 and not value.is_graph_output() else None


def _shrink(link: _Link, ranges: Ranges) -> None:
    """Drop the channels of a link that are constant or unread."""
    channels = g.shape(link.last)[link.axis]
    constant, values = _constants(link, ranges, channels)
    weights = _number(link.consumer)
    matrix = weights if link.consumer.op_type == "MatMul" else np.moveaxis(weights, 1, 0)
    by_row = matrix.reshape(len(matrix), -1) != 0
    unread = np.ones(channels, bool)
    np.logical_and.at(unread, link.owner, ~by_row.any(axis=1))
    absorbers = list(_absorb(link.consumer))
    if _padded(link.consumer) or None in absorbers:
        constant &= values == 0
    dead = constant | unread
    if dead.all():
        dead[0] = False
    if not dead.any():
        return
    shift = _contribution(link, matrix, np.where(dead & constant, values, 0))
    if shift.any():
        for absorb in absorbers:
            assert absorb is not None
            absorb(shift)
    kept, rows = np.flatnonzero(~dead), np.flatnonzero(~dead[link.owner])
    _take_weights(link.producer, kept, output=True)
    provenance.record_channels(link.producer.outputs[0], kept, link.axis)
    for node in link.nodes:
        _take_node(node, kept, rows, link.axis)
    _take_weights(link.consumer, rows, output=False)


def _constants(link: _Link, ranges: Ranges, channels: int) -> tuple[NDArray[np.bool_], Ints]:
    """Which channels arrive as one value at the consumer, and that value."""
    found = ranges.scaled(link.last)
    if found is None:
        return np.zeros(channels, bool), np.zeros(channels, np.int64)
    shape = g.shape(link.last)
    others = tuple(i for i in range(len(shape)) if i != link.axis)
    real = found.scale_float * found.lo + found.bias_float
    point = (found.lo == found.hi) & (np.rint(real) == real)
    low, high = (f(np.broadcast_to(real, shape), axis=others) for f in (np.min, np.max))
    constant = np.broadcast_to(point, shape).all(axis=others) & (low == high)
    return constant, np.where(constant, low, 0).astype(np.int64)


def _contribution(link: _Link, matrix: Ints, values: Ints) -> Ints:
    """What the channels of ``values`` add to each accumulator (N,) of the consumer."""
    per_row = values[link.owner].reshape((-1,) + (1,) * (matrix.ndim - 1))
    total: Ints = (per_row * matrix).sum(axis=0)
    return total if link.consumer.op_type == "MatMul" else total.reshape(len(total), -1).sum(axis=1)


def _padded(node: ir.Node) -> bool:
    """Whether some positions of the output miss a constant of the input."""
    auto = g.attribute(node, "auto_pad", "NOTSET")
    return any(g.attribute(node, "pads", ())) or auto not in ("NOTSET", "VALID")


Absorb = Callable[[NDArray[Any]], None]


def _absorb(layer: ir.Node) -> Iterator[Absorb | None]:
    """For each reader of a layer, how it makes up for accumulators that are too small by a shift.

    None for a reader that cannot.
    """
    value, axis = layer.outputs[0], _channel_axis(layer)
    yield lambda shift: provenance.record_shift(value, shift, axis)
    if value.is_graph_output():
        yield None
    for node in g.consumers(value):
        yield _absorber(node, value, axis)


def _absorber(node: ir.Node, value: ir.Value, axis: int) -> Absorb | None:
    """How ``node``, or what follows it, makes up for a shift of ``value``."""
    if not _per_channel(node, value, axis):
        return None
    out = node.outputs[0]
    shape = g.shape(out)
    match node.op_type:
        case "Add":
            column = (-1,) + (1,) * (len(shape) - 1 - axis)
            return lambda shift: _set(node, _number(node) + shift.reshape(column))
        case "MultiThreshold" if _number(node).dtype == np.int64:
            return lambda shift: _lower_thresholds(node, shift, axis)
        case "Mul":
            factor, pool = _number(node).reshape(-1), False
            if factor.size not in (1, shape[axis]):
                return None
            real = factor.dtype != np.int64  # of these only a bias behind it may be rounded
            if real and any(n.op_type != "Add" for n in g.consumers(out)):
                return None
        case "MaxPool" | "GlobalMaxPool":
            factor, pool = np.ones(1, np.int64), True
        case _:
            return None
    following = [_absorber(n, out, axis) for n in g.consumers(out)]
    if out.is_graph_output() or None in following:
        return None

    def absorb(shift: NDArray[Any]) -> None:
        if pool or provenance.of(out).origins:
            provenance.record_shift(out, shift * factor, axis)
        for after in following:
            assert after is not None
            after(shift * factor)

    return absorb


def _lower_thresholds(node: ir.Node, shift: NDArray[Any], axis: int) -> None:
    """``q + shift >= t`` as ``q >= t - shift``."""
    thresholds = _number(node)
    if (shift == shift[0]).all():
        shift = shift[:1]
    elif len(thresholds) == 1:  # one row for all has not said where channels lie
        layout = threshold_layout(len(g.shape(node.outputs[0])), axis)
        if layout is not None:
            node.attributes["data_layout"] = ir.AttrString("data_layout", layout)
    _set(node, thresholds - shift[:, None])


def _take_node(node: ir.Node, kept: Ints, rows: Ints, axis: int) -> None:
    """A node between two layers for the ``kept`` channels, ``rows`` behind a reshape."""
    out = node.outputs[0]
    match node.op_type:
        case "Mul" | "Add":
            _set(node, _take(_number(node), kept, axis - len(g.shape(out))))
        case "MultiThreshold":
            _set(node, _take(_number(node), kept, -2))
        case "Conv":
            _take_weights(node, kept, output=True)
            node.attributes["group"] = ir.AttrInt64("group", len(kept))
        case "Reshape":
            _set(node, np.asarray([*g.shape(out)[:-1], len(rows)], np.int64), index=True)
    if node.op_type in _RESHAPES:
        provenance.record_channels(out, rows, -1)
    else:
        provenance.record_channels(out, kept, axis)


def _take(array: NDArray[Any], kept: Ints, axis: int) -> NDArray[Any]:
    """The ``kept`` entries along an axis; an array that has none there holds for all channels."""
    if axis < -array.ndim or array.shape[axis] == 1:
        return array
    return np.take(array, kept, axis=axis)


def _take_weights(node: ir.Node, kept: Ints, *, output: bool) -> None:
    """The weights of some output or input channels."""
    weights = np.take(_number(node), kept, axis=int(output == (node.op_type == "MatMul")))
    _set(node, weights)
    operand = node.inputs[1]
    assert operand is not None
    if operand.meta:  # the datatype of the weights that are left
        annotate(operand, weights_type(weights, int(weights.min()), int(weights.max())))


def _set(node: ir.Node, array: NDArray[Any], *, index: bool = False) -> None:
    """New contents for the second operand: exact where whole, else rounded once to float32."""
    constant = node.inputs[1]
    assert constant is not None and constant.name is not None
    if not index:
        array = as_floats(array) if array.dtype == np.int64 else float32(array)
    tensor = ir.Tensor(np.ascontiguousarray(array), name=constant.name)
    constant.const_value = tensor
    constant.shape = ir.Shape(array.shape)
    constant.dtype = tensor.dtype


def _array(value: ir.Value | None) -> NDArray[Any]:
    found = g.array(value)
    assert found is not None
    return found


def _number(node: ir.Node) -> NDArray[Any]:
    """The second operand in int64 where it is whole, else in float64."""
    array = _array(node.inputs[1])
    integers = array.astype(np.int64)
    return integers if np.array_equal(integers, array) else array.astype(np.float64)
