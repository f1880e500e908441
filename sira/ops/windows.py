"""Which input each tap of a kernel meets at each output position: the geometry of convolutions.

Everything is said by one table a spatial axis, ``index[o, k]``: the input position that tap k reads
for output o, or -1 where it reads padding. Positions whose taps read padding alike form a border
class, so that bounds need one sum a class, not one a position.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.scaled import Ints

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Axis:
    """One spatial axis: ``index`` (outputs, taps) into the input's ``size``, -1 for padding."""

    index: Ints
    size: int

    @cached_property
    def classes(self) -> tuple[NDArray[np.bool_], Ints]:
        """Patterns of taps that read input (classes, taps), and the class of each output."""
        patterns, member = np.unique(self.index >= 0, axis=0, return_inverse=True)
        return patterns, member.reshape(-1)


@dataclass(frozen=True, eq=False)
class Window:
    """A kernel that slides over all spatial axes; positions and taps are in row-major order."""

    axes: tuple[Axis, ...]

    @property
    def size(self) -> Shape:
        """The spatial shape of the input."""
        return tuple(axis.size for axis in self.axes)

    @property
    def outputs(self) -> Shape:
        """The spatial shape of the output."""
        return tuple(len(axis.index) for axis in self.axes)

    @property
    def padded(self) -> bool:
        """Whether any tap ever reads padding."""
        return any(bool((axis.index < 0).any()) for axis in self.axes)

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """For each border class, which taps read input: (classes, taps)."""
        return reduce(np.kron, (axis.classes[0] for axis in self.axes)).astype(bool)

    @cached_property
    def members(self) -> Ints:
        """The border class of each position."""
        members = np.zeros(1, np.int64)
        for axis in self.axes:
            patterns, member = axis.classes
            members = (members[:, None] * len(patterns) + member).reshape(-1)
        return members

    def patches(self, x: NDArray[Any]) -> NDArray[Any]:
        """What each tap reads at each position: (..., *size) -> (..., positions, taps)."""
        lead = x.shape[: x.ndim - len(self.axes)]
        flat = np.concatenate([x.reshape(*lead, -1), np.zeros((*lead, 1), x.dtype)], axis=-1)
        return np.take(flat, self._flat_index, axis=-1)  # -1 reads the zero at the end

    @cached_property
    def _flat_index(self) -> Ints:
        """(positions, taps) into the flattened input, -1 for padding."""
        flat = np.zeros((1, 1), np.int64)
        for axis in self.axes:
            outer, inner = flat[:, None, :, None], axis.index[None, :, None, :]
            both = np.where((outer < 0) | (inner < 0), -1, outer * axis.size + inner)
            flat = both.reshape(flat.shape[0] * len(axis.index), -1)
        return flat


def convolution_window(node: ir.Node, size: Shape, kernel: Shape) -> Window:
    """The window of Conv for an input of spatial ``size``."""
    n, mode = len(size), _mode(node)
    strides, dilations = _ints(node, "strides", 1, n), _ints(node, "dilations", 1, n)
    pads = _ints(node, "pads", 0, 2 * n)
    axes = []
    for i in range(n):
        span = dilations[i] * (kernel[i] - 1) + 1
        match mode:
            case "NOTSET":
                begin, end = pads[i], pads[n + i]
            case "VALID":
                begin, end = 0, 0
            case _:
                outputs = -(-size[i] // strides[i])
                begin, end = _split(mode, max((outputs - 1) * strides[i] + span - size[i], 0))
        room = size[i] + begin + end
        if room < span:
            raise SiraError(
                "the kernel is larger than the padded input",
                where=g.describe(node),
                expected=f"at least {span} positions",
                found=str(room),
            )
        first = np.arange((room - span) // strides[i] + 1) * strides[i] - begin
        reads = first[:, None] + np.arange(kernel[i]) * dilations[i]
        axes.append(_axis(reads, reads >= 0, size[i]))
    return Window(tuple(axes))


def transposed_window(node: ir.Node, size: Shape, kernel: Shape) -> Window:
    """The window of ConvTranspose: taps that meet no input count as padding."""
    n, mode = len(size), _mode(node)
    strides, dilations = _ints(node, "strides", 1, n), _ints(node, "dilations", 1, n)
    pads, extra = _ints(node, "pads", 0, 2 * n), _ints(node, "output_padding", 0, n)
    wanted = g.attribute(node, "output_shape")
    axes = []
    for i in range(n):
        full = strides[i] * (size[i] - 1) + extra[i] + dilations[i] * (kernel[i] - 1) + 1
        if wanted is not None:
            outputs = int(wanted[len(wanted) - n + i])
            begin, _ = _split(mode, full - outputs)
        elif mode in ("SAME_UPPER", "SAME_LOWER"):
            outputs = size[i] * strides[i]
            begin, _ = _split(mode, full - outputs)
        else:
            begin, end = (pads[i], pads[n + i]) if mode == "NOTSET" else (0, 0)
            outputs = full - begin - end
        if not 0 < outputs <= full:  # beyond that, executors disagree on where the zeros go
            raise SiraError(
                "the output does not fit",
                where=g.describe(node),
                expected=f"1..{full} positions, as far as the kernel reaches",
                found=str(outputs),
                remedy="use output_padding for a larger output, smaller pads for a smaller one",
            )
        position = np.arange(outputs)[:, None] + begin - np.arange(kernel[i]) * dilations[i]
        reads = position // strides[i]
        axes.append(_axis(reads, (position % strides[i] == 0) & (reads >= 0), size[i]))
    return Window(tuple(axes))


def _axis(reads: Ints, valid: NDArray[np.bool_], size: int) -> Axis:
    return Axis(np.where(valid & (reads < size), reads, -1), size)


def _split(mode: str, total: int) -> tuple[int, int]:
    """Padding at both ends; an odd element goes to the end for SAME_UPPER, else to the front."""
    less = total // 2
    return (less, total - less) if mode == "SAME_UPPER" else (total - less, less)


def _mode(node: ir.Node) -> str:
    mode = g.attribute(node, "auto_pad", "NOTSET")
    text = mode.decode() if isinstance(mode, bytes) else str(mode)
    if text not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise SiraError(
            "unknown auto_pad",
            where=g.describe(node),
            expected="NOTSET | VALID | SAME_UPPER | SAME_LOWER",
            found=text,
        )
    return text


def _ints(node: ir.Node, name: str, default: int, count: int) -> list[int]:
    values = g.attribute(node, name)
    found = [default] * count if not values else [int(v) for v in values]
    if len(found) != count:
        raise SiraError(
            f"attribute {name} has the wrong length",
            where=g.describe(node),
            expected=f"{count} numbers",
            found=str(found),
        )
    return found
