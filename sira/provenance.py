"""Where the tensors of a rebuilt graph come from: recorded where they are made, read everywhere.

The transforms build a graph of integers anew, under names of their own; later they leave channels
out and move what is constant into the next layer. How a tensor relates to the graph it was built
from stands beside the tensor, and is never guessed from its name or its shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from sira import graph as g
from sira.numbers.scaled import Ints
from sira.ops import mac_of
from sira.ops.layout import permutation
from sira.ops.quant import threshold_axis

_RECORD = "sira.provenance"
_CHANNELS, _SHIFT = "sira.channels", "sira.shift"
"""Keys of a tensor's metadata in the file, for people: channels that are left, and the shift."""

_SAME = np.ones((), np.int64)

_OF_IMAGES = frozenset(
    (
        *("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"),
        *("DepthToSpace", "SpaceToDepth", "BatchNormalization"),
    )
)
"""Operators on (N, C, ...), besides those that multiply and accumulate."""


@dataclass(frozen=True, eq=False)
class Provenance:
    """What the integers of a tensor are to the graph that it was built from.

    ``origins`` has, by the name of an original tensor, the sign that turns integers of this tensor
    into those of the original one: ``sign * (integers + shift)``. Signs are broadcastable to the
    original tensor, and 0 where that is constant. The first origin is the tensor that the integers
    were made for, with sign 1. A step on the way to a tensor has none.

    ``axis`` is that of the channels, counted from the end. ``channels`` (C,) are the original
    channels that are left, ascending, or None for all of them; ``shift`` (C,) or (1,) is what is
    missing from the original integers.
    """

    origins: Mapping[str, Ints] = field(default_factory=dict)
    axis: int = -1
    channels: Ints | None = None
    shift: Ints = field(default_factory=lambda: np.zeros(1, np.int64))

    @property
    def origin(self) -> str | None:
        """The original tensor that the integers were made for."""
        return next(iter(self.origins), None)

    def origin_in(self, names: Mapping[str, object]) -> str | None:
        """The first origin that is among ``names``."""
        return next((name for name in self.origins if name in names), None)

    def sign(self, name: str) -> Ints:
        """The sign of origin ``name``, broadcastable to this tensor with the channels it has."""
        return self.left(self.origins[name])

    def left(self, original: Ints) -> Ints:
        """What an array that broadcasts to the original tensor has for the channels left here."""
        along = original.shape[self.axis] if original.ndim >= -self.axis else 1
        if self.channels is None or along == 1:
            return original
        return original.take(self.channels, self.axis)

    def restored(self, q: Ints, name: str) -> Ints:
        """Integers ``q`` (samples, *shape) of this tensor as those of the original ``name``."""
        return np.asarray(self.sign(name) * (q + self.column(self.shift)))

    def column(self, values: Ints) -> Ints:
        """One number for each channel (C,) or one for all (1,), laid along the channels' axis."""
        return values.reshape((-1,) + (1,) * (-self.axis - 1))


def of(value: ir.Value) -> Provenance:
    """The record of a tensor."""
    found: Provenance = value.meta.get(_RECORD, Provenance())
    return found


def record_origin(value: ir.Value, original: ir.Value, sign: Ints = _SAME) -> None:
    """Note that ``sign`` times the integers of ``value`` are those of ``original``."""
    known = of(value)
    if g.name(original) not in known.origins:
        value.meta[_RECORD] = replace(known, origins={**known.origins, g.name(original): sign})


def record_channels(value: ir.Value, kept: Ints, axis: int) -> None:
    """Note that of ``value`` only the channels ``kept`` are left along ``axis``; its shape follows.

    ``kept`` counts the channels that there were until now.
    """
    known, shape = of(value), list(g.shape(value))
    channels = kept if known.channels is None else known.channels[kept]
    shift = known.shift[kept] if known.shift.size > 1 else known.shift
    value.meta[_RECORD] = replace(
        known, axis=_from_end(value, axis), channels=channels, shift=shift
    )
    shape[axis] = len(kept)
    value.shape = ir.Shape(shape)
    value.metadata_props[_CHANNELS] = _text(channels)
    if _SHIFT in value.metadata_props:
        value.metadata_props[_SHIFT] = _text(shift)


def record_shift(value: ir.Value, shift: Ints, axis: int) -> None:
    """Note that ``shift`` (C,), along ``axis``, is missing from the integers of ``value``."""
    known = of(value)
    total = known.shift + shift
    value.meta[_RECORD] = replace(known, axis=_from_end(value, axis), shift=total)
    value.metadata_props[_SHIFT] = _text(total)


def _from_end(value: ir.Value, axis: int) -> int:
    return axis - len(g.shape(value)) if axis >= 0 else axis


def _text(numbers: Ints) -> str:
    return " ".join(str(int(n)) for n in numbers)


def channel_axis(value: ir.Value) -> int:
    """The axis of a tensor along which its channels lie, counted from the front.

    The operators in front of the tensor say so, or, where it comes from the graph's input alone,
    those behind it. Where none does, channels lie along axis 1 of three axes or more, else along
    the last.
    """
    rank = len(g.shape(value))
    axes, tensor = list(range(rank)), value  # axes of ``value`` by axis of the tensor in view
    while (node := tensor.producer()) is not None:
        if (found := _stated(node, tensor)) is not None:
            return axes[found]
        before = [v for v in g.dynamic_inputs(node) if len(g.shape(v)) == rank]
        if not before:
            return _usual(rank)
        if node.op_type == "Transpose":
            axes = [axes[i] for i in np.argsort(permutation(node, rank))]
        tensor = before[0]
    return _read_along(tensor, axes)


def _stated(node: ir.Node, tensor: ir.Value) -> int | None:
    """The axis of the channels of ``tensor``, which a node reads or makes, if the node says so."""
    rank = len(g.shape(tensor))
    if (mac := mac_of(node)) is not None and len(g.shape(node.outputs[0])) == rank:
        return rank + mac.axis
    if node.op_type in _OF_IMAGES and rank > 1:
        return 1
    rows = g.array(node.inputs[1]) if node.op_type == "MultiThreshold" else None
    return threshold_axis(node) if rows is not None and len(rows) > 1 else None


def _read_along(value: ir.Value, axes: list[int]) -> int:
    """The one of ``axes`` along which the readers of ``value`` find its channels."""
    rank = len(axes)
    seen, pending = set(), [(value, axes)]
    while pending:
        tensor, axes = pending.pop(0)
        for node in g.consumers(tensor):
            if node in seen:
                continue
            seen.add(node)
            if (found := _stated(node, tensor)) is not None:
                return axes[found]
            if len(g.shape(node.outputs[0])) != rank or node.op_type == "Reshape":
                continue
            order = permutation(node, rank) if node.op_type == "Transpose" else range(rank)
            pending.append((node.outputs[0], [axes[i] for i in order]))
    return _usual(rank)


def _usual(rank: int) -> int:
    return 1 if rank > 2 else max(rank - 1, 0)
