"""How an integer tensor travels as a stream of counts: its order, its offset, its factor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from hls.dataflow import Ints, Port
from sira.errors import SiraError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The order of a tensor's elements in a stream: of shape ``sizes``, transposed by ``order``.

    ``sizes`` holds the tensor's elements in row-major order; it is the tensor's shape, or that of
    an earlier tensor where a Reshape came in between (a Flatten behind a convolution). The last
    axis of ``order`` is that of the channels.
    """

    sizes: Shape
    order: tuple[int, ...]

    @staticmethod
    def channels_at(shape: Shape, axis: int) -> Layout:
        """The layout of a tensor whose channels lie along ``axis``."""
        rest = [i for i in range(len(shape)) if i != axis]
        return Layout(shape, (*rest, axis))

    @property
    def streamed(self) -> Shape:
        """The sizes in the order of the stream."""
        return tuple(self.sizes[i] for i in self.order)

    @property
    def channels(self) -> int:
        return self.streamed[-1] if self.order else 1

    @property
    def elements(self) -> int:
        return prod(self.sizes)

    def _moving(self) -> tuple[int, ...]:
        """The order of the axes that have more than one element."""
        return tuple(i for i in self.order if self.sizes[i] != 1)

    @property
    def in_order(self) -> bool:
        """Whether the stream has the elements in row-major order."""
        moving = self._moving()
        return moving == tuple(sorted(moving))

    def same_as(self, other: Layout) -> bool:
        """Whether both put the elements in one order, and the channels on one axis."""
        return self.sizes == other.sizes and self._moving() == other._moving()

    def positions(self) -> Ints:
        """For each element of the stream, its place in the tensor in row-major order."""
        places = np.arange(self.elements).reshape(self.sizes)
        return places.transpose(self.order).reshape(-1)

    def to_stream(self, values: Ints) -> Ints:
        """Tensors (samples, ...) as streams (samples, elements)."""
        shaped = values.reshape(len(values), *self.sizes)
        axes = (0, *(i + 1 for i in self.order))
        return shaped.transpose(axes).reshape(len(values), -1)

    def to_tensor(self, values: Ints) -> Ints:
        """Streams (samples, elements) as tensors (samples, *sizes)."""
        shaped = values.reshape(len(values), *self.streamed)
        return shaped.transpose(0, *(i + 1 for i in np.argsort(self.order)))

    def reshaped(self, shape: Shape) -> Layout:
        """The layout of the same elements as a tensor of ``shape``; as they were where only a
        layer that looks at all of a position's elements can tell."""
        if shape == self.sizes:
            return self
        moving = self._moving()
        before = [d for d in self.sizes if d != 1]
        after = [i for i, d in enumerate(shape) if d != 1]
        if before == [shape[i] for i in after]:  # only axes of size 1 come and go
            ranks = {axis: after[rank] for rank, axis in enumerate(sorted(moving))}
            rest = [i for i in range(len(shape)) if shape[i] == 1]
            return Layout(shape, (*rest, *(ranks[i] for i in moving)))
        if self.in_order and shape and shape[-1] == self.channels:
            return Layout(shape, tuple(range(len(shape))))
        return self

    def transposed(self, permutation: tuple[int, ...]) -> Layout:
        """The layout of the tensor with its axes permuted as ONNX's Transpose does."""
        sizes = tuple(self.sizes[i] for i in permutation)
        return Layout(sizes, tuple(permutation.index(i) for i in self.order))


@dataclass(frozen=True, eq=False)
class Wire:
    """Where an integer tensor leaves the hardware: ``q = factor * count + offset``.

    ``factor`` and ``offset`` are int64 (C,) along the channels of ``layout``, or (1,). ``bits`` is
    the width of a count. ``channels`` are those of the tensor of the canonical graph that exist in
    hardware, along ``axis`` of that tensor; None: all of them. ``layout`` is that of what exists.
    """

    port: Port
    bits: int
    layout: Layout
    offset: Ints
    factor: Ints
    channels: Ints | None = None
    axis: int = -1

    def __post_init__(self) -> None:
        for values in (self.offset, self.factor):
            assert values.shape in ((1,), (self.layout.channels,)), (values.shape, self.layout)

    @property
    def plain(self) -> bool:
        """Whether the integers are the counts plus offsets."""
        return bool((self.factor == 1).all())

    def counts(self, integers: Ints) -> Ints:
        """Golden integers (samples, *shape) as the counts (samples, elements) that must travel."""
        if self.channels is not None:
            integers = np.take(integers, self.channels, axis=self.axis)
        q = self.layout.to_stream(integers).reshape(len(integers), -1, self.layout.channels)
        counts, rest = np.divmod(q - self.offset, self.factor)
        assert not rest.any(), f"{self.port}: not on the lattice of the counts"
        return counts.reshape(len(integers), -1)

    def integers(self, counts: Ints) -> Ints:
        """Counts (samples, elements) as integers (samples, *sizes of the layout)."""
        q = counts.reshape(len(counts), -1, self.layout.channels) * self.factor + self.offset
        return self.layout.to_tensor(q.reshape(len(counts), -1))

    def reshaped(self, shape: Shape) -> Wire:
        """The same stream as a tensor of ``shape``, as far as its order of elements allows."""
        layout = self.layout.reshaped(shape)
        uniform = self.offset.size == self.factor.size == 1
        if layout.sizes != shape and uniform and layout.in_order and shape:
            layout = Layout(shape, tuple(range(len(shape))))  # any axis may be the channels'
        return self.with_layout(layout)

    def with_layout(self, layout: Layout) -> Wire:
        """The same stream seen as another tensor; its channels may be spread over more of it."""
        if layout.channels == self.layout.channels:
            return replace(self, layout=layout)
        values = (self.offset, self.factor)
        offset, factor = (v[:1] if (v == v[0]).all() else v for v in values)
        if offset.size == factor.size == 1:
            return replace(self, layout=layout, offset=offset, factor=factor)
        if layout.channels % self.layout.channels:
            raise SiraError(
                "what were channels are positions behind a Reshape or Transpose",
                where=f"stream {self.port}",
                expected=f"one scale and offset for {layout.sizes}",
                found=f"others for each of {self.layout.channels} channels of {self.layout.sizes}",
                remedy="quantize in front of it, with one scale for all channels",
            )
        offset, factor = (np.resize(v, layout.channels) for v in values)
        return replace(self, layout=layout, offset=offset, factor=factor)
