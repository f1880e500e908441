"""Which input each tap of a kernel meets at each output position: the geometry of convolutions.

Everything is said by one table a spatial axis, ``index[o, k]``: the input position that tap k reads
for output o, or -1 where it reads padding. Positions whose taps read padding alike form a border
class, so that bounds need one sum a class, not one a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.errors import SiraError
from sira.scaled import Ints


@dataclass(frozen=True, eq=False)
class Axis:
    """One spatial axis: ``index`` (outputs, taps) into the input, -1 for padding."""

    index: Ints
    size: int

    @property
    def outputs(self) -> int:
        return len(self.index)

    @property
    def taps(self) -> int:
        return int(self.index.shape[1])

    @cached_property
    def classes(self) -> tuple[NDArray[np.bool_], Ints]:
        """Patterns of taps that read input (classes, taps), and the class of each output."""
        patterns, member = np.unique(self.index >= 0, axis=0, return_inverse=True)
        return patterns, member.reshape(-1)

    @property
    def padded(self) -> bool:
        """Whether any tap ever reads padding."""
        return bool((self.index < 0).any())

    @property
    def has_interior(self) -> bool:
        """Whether some output reads no padding at all."""
        return bool((self.index >= 0).all(axis=1).any())


def convolution_axes(node: ir.Node, size: Sequence[int], kernel: Sequence[int]) -> list[Axis]:
    """The axes of Conv and of pooling operators for an input of spatial ``size``."""
    n = len(size)
    strides, dilations = (_ints(node, name, 1, n) for name in ("strides", "dilations"))
    begins, ends = _pads(node, size, kernel, strides, dilations)
    axes = []
    for i in range(n):
        span = (kernel[i] - 1) * dilations[i] + 1
        outputs = (size[i] + begins[i] + ends[i] - span) // strides[i] + 1
        if outputs < 1:
            raise SiraError(
                "the kernel is larger than the padded input",
                where=g.describe(node),
                expected=f"at least {span} positions",
                found=str(size[i] + begins[i] + ends[i]),
            )
        reads = (
            np.arange(outputs)[:, None] * strides[i]
            + np.arange(kernel[i]) * dilations[i]
            - begins[i]
        )
        axes.append(Axis(np.where((reads >= 0) & (reads < size[i]), reads, -1), size[i]))
    return axes


def transposed_axes(node: ir.Node, size: Sequence[int], kernel: Sequence[int]) -> list[Axis]:
    """The axes of ConvTranspose: taps that meet no input count as padding."""
    n = len(size)
    strides, dilations = (_ints(node, name, 1, n) for name in ("strides", "dilations"))
    extra = _ints(node, "output_padding", 0, n)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    full = [strides[i] * (size[i] - 1) + extra[i] + spans[i] for i in range(n)]
    wanted = g.attribute(node, "output_shape")
    mode = _mode(node)
    if wanted is not None or mode in ("SAME_UPPER", "SAME_LOWER"):
        outputs = (
            list(wanted)[-n:]
            if wanted is not None
            else [s * t for s, t in zip(size, strides, strict=True)]
        )
        begins = []
        for i in range(n):
            total = full[i] - outputs[i]
            begins.append(total // 2 if mode != "SAME_LOWER" else total - total // 2)
    else:
        pads = _ints(node, "pads", 0, 2 * n) if mode == "NOTSET" else [0] * (2 * n)
        begins = list(pads[:n])
        outputs = [full[i] - pads[i] - pads[n + i] for i in range(n)]
    axes = []
    for i in range(n):
        position = np.arange(outputs[i])[:, None] + begins[i] - np.arange(kernel[i]) * dilations[i]
        reads = position // strides[i]
        meets = (position % strides[i] == 0) & (reads >= 0) & (reads < size[i])
        axes.append(Axis(np.where(meets, reads, -1), size[i]))
    return axes


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


def _pads(
    node: ir.Node,
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[int], list[int]]:
    n, mode = len(size), _mode(node)
    if mode == "NOTSET":
        pads = _ints(node, "pads", 0, 2 * n)
        return list(pads[:n]), list(pads[n:])
    if mode == "VALID":
        return [0] * n, [0] * n
    begins, ends = [], []
    for i in range(n):
        outputs = -(-size[i] // strides[i])
        span = (kernel[i] - 1) * dilations[i] + 1
        total = max((outputs - 1) * strides[i] + span - size[i], 0)
        small, large = total // 2, total - total // 2
        begins.append(small if mode == "SAME_UPPER" else large)
        ends.append(large if mode == "SAME_UPPER" else small)
    return begins, ends


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
