"""Windows that slide over a tensor: the one reader of their attributes, and their geometry.

Convolutions and pools differ in names and defaults of attributes and in what they do with padding.
Where the taps of a window lie is the same for all of them: along each spatial axis, tap k of output
o lies at place ``o * stride + k * dilation - before``. Positions whose taps read padding alike form
a border class, so that bounds need one sum a class, not one a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from math import prod
from typing import Any, Literal, cast, get_args

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sira import graph as g
from sira.errors import SiraError
from sira.numbers.scaled import Ints

Shape = tuple[int, ...]
AutoPad = Literal["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]

_MAX_POSITIONS = 2**26
"""Positions that a window may have; attributes that ask for more are nonsense."""


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a tensor with ``size`` elements, and the windows along it.

    Elements lie ``apart`` places from each other, the first at place 0. ``before`` and ``after``
    are the places of explicit padding. A negative ``dilation`` runs through a kernel backwards.
    """

    size: int
    kernel: int
    outputs: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0
    apart: int = 1

    @cached_property
    def _places(self) -> Ints:
        first = np.arange(self.outputs) * self.stride - self.before
        return np.asarray(first[:, None] + np.arange(self.kernel) * self.dilation)

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Which taps read an element (outputs, taps); the others read padding."""
        reads, rest = np.divmod(self._places, self.apart)
        return np.asarray((rest == 0) & (reads >= 0) & (reads < self.size))

    @cached_property
    def index(self) -> Ints:
        """The element that each tap reads (outputs, taps), -1 for padding."""
        return np.where(self.inside, self._places // self.apart, -1)

    @cached_property
    def positions(self) -> Ints:
        """As ``index``, but where a tap reads padding another element of the same window."""
        first = np.take_along_axis(self.index, self.inside.argmax(axis=1)[:, None], axis=1)
        return np.where(self.inside, self.index, first)

    @property
    def sizes(self) -> Ints:
        """Elements of each window (outputs,)."""
        return np.asarray(self.inside.sum(axis=1, dtype=np.int64))

    @property
    def padded(self) -> Ints:
        """Elements of each window and its places on explicit padding (outputs,)."""
        return np.asarray((self._places < self.size + self.after).sum(axis=1), np.int64)

    @property
    def overhang(self) -> int:
        """Places behind the last element that the last window of a forward kernel reaches."""
        last = (self.outputs - 1) * self.stride + (self.kernel - 1) * self.dilation - self.before
        return max(last - self.apart * (self.size - 1), 0)

    @cached_property
    def classes(self) -> tuple[NDArray[np.bool_], Ints]:
        """Patterns of taps that read input (classes, taps), and the class of each output."""
        patterns, member = np.unique(self.inside, axis=0, return_inverse=True)
        return patterns, member.reshape(-1)

    @property
    def turned(self) -> Axis:
        """The same windows with the taps in the opposite order."""
        reach = self.dilation * (self.kernel - 1)
        return replace(self, dilation=-self.dilation, before=self.before - reach)


@dataclass(frozen=True)
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
        return tuple(axis.outputs for axis in self.axes)

    @property
    def padded(self) -> bool:
        """Whether any tap ever reads padding."""
        return not all(axis.inside.all() for axis in self.axes)

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
            flat = both.reshape(flat.shape[0] * axis.outputs, -1)
        return flat


@dataclass(frozen=True)
class Names:
    """What an operator calls the attributes of its window."""

    kernel: str = "kernel_shape"
    strides: str = "strides"
    dilations: str = "dilations"
    pads: str = "pads"


@dataclass(frozen=True)
class Attributes:
    """The attributes of a window, one number (two pads) for each spatial axis."""

    kernel: Shape
    strides: Shape
    dilations: Shape
    pads: tuple[tuple[int, int], ...]
    auto_pad: AutoPad


def read(
    node: ir.Node, axes: int, kernel: Shape | None = None, names: Names | None = None
) -> Attributes:
    """The attributes of the node's window along that many spatial axes.

    ``kernel`` is the size of the weights for a node that has some. Raises `SiraError` where an
    attribute has the wrong type, length or sign.
    """
    names = names or Names()
    said = integers(node, names.kernel, axes, 1, kernel)
    if kernel is not None and said != kernel:
        raise _misfit(node, names.kernel, f"{list(kernel)} as the weights have", str(list(said)))
    pads = integers(node, names.pads, 2 * axes, 0, (0,) * (2 * axes))
    return Attributes(
        said,
        integers(node, names.strides, axes, 1, (1,) * axes),
        integers(node, names.dilations, axes, 1, (1,) * axes),
        tuple(zip(pads[:axes], pads[axes:], strict=True)),
        _auto_pad(node),
    )


def integers(
    node: ir.Node, name: str, count: int, least: int, default: Shape | None = None
) -> Shape:
    """The attribute ``name``: ``count`` integers that are no smaller than ``least``."""
    found = g.attribute(node, name)
    if default is not None and (found is None or np.size(found) == 0):
        return default
    good = isinstance(found, Sequence | np.ndarray) and len(found) == count
    if not good or not all(isinstance(v, int | np.integer) and v >= least for v in found):
        shown = list(found) if isinstance(found, Sequence | np.ndarray) else found
        raise _misfit(node, name, f"{count} integers of at least {least}", str(shown))
    return tuple(int(v) for v in found)


def integer(node: ir.Node, name: str, least: int, default: int) -> int:
    """The attribute ``name``, one integer that is no smaller than ``least``."""
    found = g.attribute(node, name, default)
    if not isinstance(found, int) or found < least:
        raise _misfit(node, name, f"an integer of at least {least}", str(found))
    return found


def _misfit(node: ir.Node, name: str, expected: str, found: str) -> SiraError:
    return SiraError(
        f"the attribute {name} does not fit",
        where=g.describe(node),
        expected=expected,
        found=found,
        remedy="export the model again",
    )


def _auto_pad(node: ir.Node) -> AutoPad:
    mode = g.attribute(node, "auto_pad", "NOTSET")
    text = mode.decode() if isinstance(mode, bytes) else str(mode)
    if text not in get_args(AutoPad):
        raise SiraError(
            "unknown auto_pad",
            where=g.describe(node),
            expected=" | ".join(get_args(AutoPad)),
            found=text,
        )
    return cast(AutoPad, text)


def convolution_window(node: ir.Node, size: Shape, kernel: Shape) -> Window:
    """The window of Conv for an input of spatial ``size``."""
    return slid(node, size, read(node, len(size), kernel))


def pooling_window(node: ir.Node, size: Shape) -> Window:
    """The window of MaxPool or AveragePool; each holds an element at least."""
    given = read(node, len(size))
    for n, kernel, stride, dilation in zip(
        size, given.kernel, given.strides, given.dilations, strict=True
    ):
        missing = (-(-n // stride) - 1) * stride + kernel - n
        if given.auto_pad.startswith("SAME") and (dilation != 1 or missing < 0):
            raise SiraError(
                f"auto_pad={given.auto_pad} has no agreed meaning for this window",
                where=g.describe(node),
                expected="dilation 1 and a kernel that is not smaller than the stride",
                found=f"kernel {kernel}, stride {stride}, dilation {dilation}",
                remedy="give the pads explicitly",
            )
    found = slid(node, size, given, bool(g.attribute(node, "ceil_mode", 0)))
    if not all(axis.sizes.all() for axis in found.axes):
        raise SiraError(
            "a window lies in the padding alone",
            where=g.describe(node),
            expected=f"windows that reach into {size}",
            found=f"kernel {given.kernel}, dilations {given.dilations}, pads {given.pads}",
        )
    return found


def slid(node: ir.Node, size: Shape, given: Attributes, ceil: bool = False) -> Window:
    """The window with these attributes over an input of spatial ``size``.

    ``ceil``: the last window may hang over, unless auto_pad gives the shape by itself.
    """
    axes = []
    for i, n in enumerate(size):
        stride, dilation = given.strides[i], given.dilations[i]
        span = dilation * (given.kernel[i] - 1) + 1
        before, after = given.pads[i]
        if given.auto_pad == "VALID":
            before, after = 0, 0
        elif given.auto_pad != "NOTSET":
            total = max((-(-n // stride) - 1) * stride + span - n, 0)
            before, after = _split(given.auto_pad, total)
        room = n + before + after - span
        outputs = room // stride + 1
        if ceil and given.auto_pad == "NOTSET":
            outputs = -(-room // stride) + 1
            if (outputs - 1) * stride >= n + before:
                outputs -= 1  # a window must not begin in the padding behind the tensor
        if outputs < 1:
            raise SiraError(
                "the kernel is larger than the padded input",
                where=g.describe(node),
                expected=f"at least {span} positions",
                found=str(n + before + after),
            )
        axes.append(Axis(n, given.kernel[i], outputs, stride, dilation, before, after))
    return _checked(node, axes)


def transposed_window(node: ir.Node, size: Shape, kernel: Shape) -> Window:
    """The window of ConvTranspose: taps that meet no input count as padding."""
    n, given = len(size), read(node, len(size), kernel)
    extra = integers(node, "output_padding", n, 0, (0,) * n)
    wanted = g.attribute(node, "output_shape")
    if wanted is not None:  # with or without batch and channels
        whole = n + 2 if np.size(wanted) == n + 2 else n
        wanted = integers(node, "output_shape", whole, 1)[whole - n :]
    axes = []
    for i in range(n):
        stride, dilation = given.strides[i], given.dilations[i]
        full = stride * (size[i] - 1) + extra[i] + dilation * (kernel[i] - 1) + 1
        if wanted is not None:
            outputs = wanted[i]
            begin, _ = _split(given.auto_pad, full - outputs)
        elif given.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            outputs = size[i] * stride
            begin, _ = _split(given.auto_pad, full - outputs)
        else:
            begin, end = given.pads[i] if given.auto_pad == "NOTSET" else (0, 0)
            outputs = full - begin - end
        if not 0 < outputs <= full:  # beyond that, executors disagree on where the zeros go
            raise SiraError(
                "the output does not fit",
                where=g.describe(node),
                expected=f"1..{full} positions, as far as the kernel reaches",
                found=str(outputs),
                remedy="use output_padding for a larger output, smaller pads for a smaller one",
            )
        axes.append(
            Axis(size[i], kernel[i], outputs, dilation=-dilation, before=-begin, apart=stride)
        )
    return _checked(node, axes)


def _checked(node: ir.Node, axes: list[Axis]) -> Window:
    tables = [axis.outputs * axis.kernel for axis in axes]
    if max(prod(axis.outputs for axis in axes), *tables) > _MAX_POSITIONS:
        raise SiraError(
            "the window has too many positions",
            where=g.describe(node),
            expected=f"up to {_MAX_POSITIONS}",
            found=" x ".join(str(axis.outputs) for axis in axes),
            remedy="export the model again with smaller pads",
        )
    return Window(tuple(axes))


def _split(mode: AutoPad, total: int) -> tuple[int, int]:
    """Padding at both ends; an odd element goes to the end for SAME_UPPER, else to the front."""
    less = total // 2
    return (less, total - less) if mode == "SAME_UPPER" else (total - less, less)
