"""The windows of a pooling operator, one axis at a time.

Pooling is separable: the sum, or the largest element, of a window is taken along one axis after
the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.scaled import Ints
from sira.ops.base import Shape


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows along one axis: where their elements are, and how many of them.

    ``positions`` (windows, kernel): places on the tensor; where the window hangs over its end,
    ``inside`` is false and the place is that of another element of the same window.
    ``padded`` (windows,): elements that are on the tensor or its explicit padding.
    """

    positions: Ints
    inside: NDArray[np.bool_]
    padded: Ints

    @property
    def count(self) -> int:
        return len(self.positions)

    @property
    def kernel(self) -> int:
        return int(self.positions.shape[1])

    @property
    def sizes(self) -> Ints:
        """Elements on the tensor (windows,)."""
        return np.asarray(self.inside.sum(axis=1, dtype=np.int64))


@dataclass(frozen=True)
class _Axis:
    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    ceil: bool

    @property
    def extent(self) -> int:
        """Places from a window's first element to its last."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def windows(self) -> Windows:
        room = self.size + self.before + self.after - self.extent
        count = (-(-room // self.stride) if self.ceil else room // self.stride) + 1
        if self.ceil and (count - 1) * self.stride >= self.size + self.before:
            count -= 1  # a window must not begin in the padding behind the tensor
        starts = np.arange(max(count, 0)) * self.stride - self.before
        places = starts[:, None] + np.arange(self.kernel) * self.dilation
        inside = (places >= 0) & (places < self.size)
        first = np.take_along_axis(places, inside.argmax(axis=1)[:, None], axis=1)
        return Windows(
            np.where(inside, places, first),
            inside,
            np.asarray((places < self.size + self.after).sum(axis=1), np.int64),
        )


def windows_of(node: ir.Node, spatial: Shape) -> list[Windows]:
    """The windows of a MaxPool or AveragePool along each spatial axis."""
    n = len(spatial)
    kernel = _ints(node, "kernel_shape", n, None)
    strides, dilations = _ints(node, "strides", n, 1), _ints(node, "dilations", n, 1)
    pads = _ints(node, "pads", 2 * n, 0)
    auto_pad = g.attribute(node, "auto_pad", "NOTSET")
    ceil = bool(g.attribute(node, "ceil_mode", 0))
    if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise SiraError(
            "not a pooling window",
            where=g.describe(node),
            expected="positive kernel, strides and dilations, pads that are not negative",
            found=f"{kernel}, {strides}, {dilations}, {pads}",
        )
    axes = []
    for i, size in enumerate(spatial):
        before, after = pads[i], pads[n + i]
        if auto_pad != "NOTSET":
            before, after = _auto(node, auto_pad, size, kernel[i], strides[i], dilations[i])
        rounded_up = ceil and auto_pad == "NOTSET"  # SAME and VALID give the shape themselves
        axes.append(_Axis(size, kernel[i], strides[i], dilations[i], before, after, rounded_up))
    found = [axis.windows for axis in axes]
    if any(not w.count or not w.sizes.all() for w in found):
        raise SiraError(
            "a window lies in the padding alone, or there is none",
            where=g.describe(node),
            expected=f"windows that fit into {spatial}",
            found=f"kernel {kernel}, dilations {dilations}, pads {pads}",
        )
    return found


def _auto(
    node: ir.Node, auto_pad: str, size: int, kernel: int, stride: int, dilation: int
) -> tuple[int, int]:
    """Padding before and after, by name."""
    match auto_pad:
        case "VALID":
            return 0, 0
        case "SAME_UPPER" | "SAME_LOWER":
            missing = (-(-size // stride) - 1) * stride + kernel - size
            if dilation != 1 or missing < 0:
                raise SiraError(
                    f"auto_pad={auto_pad} has no agreed meaning for this window",
                    where=g.describe(node),
                    expected="dilation 1 and a kernel that is not smaller than the stride",
                    found=f"kernel {kernel}, stride {stride}, dilation {dilation}",
                    remedy="give the pads explicitly",
                )
            less, more = missing // 2, missing - missing // 2
            return (less, more) if auto_pad == "SAME_UPPER" else (more, less)
        case other:
            raise SiraError(
                "unknown auto_pad",
                where=g.describe(node),
                expected="NOTSET, SAME_UPPER, SAME_LOWER or VALID",
                found=str(other),
            )


def _ints(node: ir.Node, name: str, length: int, default: int | None) -> list[int]:
    found = g.attribute(node, name)
    if found is None and default is not None:
        return [default] * length
    if found is None or len(found) != length:
        raise SiraError(
            f"{name} does not fit the input",
            where=g.describe(node),
            expected=f"{length} integers",
            found="none" if found is None else str(list(found)),
        )
    return [int(v) for v in found]


def plain_windows(size: int, kernel: int, stride: int) -> Windows:
    """Windows that lie on the axis from its beginning, without padding."""
    return _Axis(size, kernel, stride, 1, 0, 0, ceil=False).windows
