"""The dataflow graph: hardware layers, the streams between them, and how each is instantiated.

A layer is one flat frozen dataclass that satisfies `Layer`; it can execute itself on integers, say
how many cycles it takes and what it is built of, and name the module that implements it. All values
on streams are unsigned counts ``0 .. 2**bits - 1``; what they mean as real numbers is not known
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hls.inventory import Inventory
from hls.schedule import Schedule

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """A channels-last stream of ``elements`` counts a frame, ``lanes`` of them in each beat.

    Element ``e`` of a frame travels in beat ``e // lanes``, lane ``e % lanes``; lane 0 is in the
    low bits.
    """

    elements: int
    lanes: int
    bits: int

    def __post_init__(self) -> None:
        assert self.lanes >= 1 and self.bits >= 1 and self.elements % self.lanes == 0, self

    @property
    def beats(self) -> int:
        """Beats per frame."""
        return self.elements // self.lanes

    @property
    def width(self) -> int:
        """Bits per beat."""
        return self.lanes * self.bits


@dataclass(frozen=True)
class Memory:
    """A read-only memory, word 0 first, each word an unsigned integer of ``bits`` bits."""

    bits: int
    words: tuple[int, ...]


@dataclass(frozen=True)
class Instance:
    """A module with its parameters and memories.

    The module finds memory ``m`` in the file ``{MemoryPrefix}m.mem``, where the parameter
    ``MemoryPrefix`` is the instance's name and an underscore; ``shapes`` are the (words, bits) of
    each as the module declares them from its parameters. ``parts`` are the library modules that
    the module instantiates, innermost first.

    A parameter that is a tuple is a packed vector, 32 bits an element, element 0 in the low bits.
    Ports ``out0``, ``out1``, ... of a layer are one port ``out`` of the module, ``out0`` in the
    low bits of its valid, ready and data.
    """

    module: str
    parameters: Mapping[str, int | tuple[int, ...]]
    memories: Mapping[str, Memory] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Tools read a file that is too short or too wide without complaint, and logic vanishes.
        found = {name: (len(memory.words), memory.bits) for name, memory in self.memories.items()}
        assert found == self.shapes, f"{self.module}: memories {found}, expected {self.shapes}"


@dataclass(frozen=True)
class Kernel:
    """The C++ function of ``hls/cpp`` that implements a layer; its header has the same name.

    ``arguments`` are its template arguments by name; ``arrays`` are the constants that follow the
    streams in its argument list, by name, as (C type, values of one or two dimensions).
    """

    function: str
    arguments: Mapping[str, int | str]
    arrays: Mapping[str, tuple[str, Ints]] = field(default_factory=dict)


@dataclass(frozen=True)
class Resources:
    """FPGA resources; ``bram18`` counts 18 kbit block RAMs, ``lut`` includes LUT used as memory."""

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram18: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.lut + other.lut,
            self.ff + other.ff,
            self.dsp + other.dsp,
            self.bram18 + other.bram18,
        )

    def __mul__(self, times: int) -> Resources:
        return Resources(self.lut * times, self.ff * times, self.dsp * times, self.bram18 * times)


@dataclass(frozen=True)
class Matrix:
    """Constant weights (n, k) of a layer: every output is a sum of ``k`` products.

    The sum is an unsigned integer of ``accumulator_bits``.
    """

    n: int
    k: int
    accumulator_bits: int


WindowOrder = Literal["dense", "depthwise"]
"""How a layer reads the windows of an image: every tap with all channels of a block, ``lanes`` at
a time, or every ``lanes`` channels with all taps."""


class Layer(Protocol):
    """What every hardware layer offers. Streams are keyed by port prefix, e.g. ``in``, ``out``.

    `hls.layers.parts.folding.Defaults` has the answers that most layers share.
    """

    kind: ClassVar[str]
    """The short name of the layer's type in reports; it stays what it is."""

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> Mapping[str, Stream]: ...

    @property
    def outputs(self) -> Mapping[str, Stream]: ...

    @property
    def cycles(self) -> int:
        """Clock cycles per frame in steady state."""
        ...

    @property
    def dimensions(self) -> Mapping[str, int]:
        """The folding factors, which are fields of the layer, and the sizes that they must divide.

        A width converter has none, and a window generator none that could be asked for.
        """
        ...

    @property
    def products(self) -> int:
        """Products of a frame."""
        ...

    @property
    def matrix(self) -> Matrix | None:
        """The weights that the layer multiplies its input by, if any."""
        ...

    @property
    def window_order(self) -> WindowOrder | None:
        """How the layer reads the windows of a `WindowGenerator`; None if it reads no windows."""
        ...

    def folding(self, target: int, lanes: int, block: int | None = None) -> Mapping[str, int]:
        """The cheapest folding with which a frame takes at most ``target`` cycles.

        Where none does it is the fastest. ``lanes`` are those of the producer. Where that is a
        window generator, ``block`` are the channels of its blocks, and ``lanes`` those of the
        layer in front of it.
        """
        ...

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        """Counts of shape (frames, elements), one array for each input, to the same of outputs."""
        ...

    def instance(self) -> Instance: ...

    def kernel(self) -> Kernel: ...

    def schedule(self) -> Schedule: ...

    def inventory(self) -> Inventory:
        """What the layer is built of; `hls.device` prices it."""
        ...


@runtime_checkable
class WindowGenerator(Protocol):
    """A layer that makes the windows of an image, in the order and lanes that its reader wants."""

    @property
    def block_channels(self) -> int:
        """Channels of a block; the lanes divide them."""
        ...

    def following(self, reader: Layer, target: int) -> Layer:
        """The generator with the lanes that suit a folded ``reader`` of windows.

        Where the reader leaves a choice, a frame takes at most ``target`` cycles if it can.
        """
        ...


@dataclass(frozen=True)
class Port:
    """A port of a layer; the graph's own input and output have an empty layer name."""

    layer: str
    port: str

    def __str__(self) -> str:
        return f"{self.layer}.{self.port}" if self.layer else self.port


@dataclass(frozen=True)
class Edge:
    """A stream from one port to another through a FIFO of ``depth`` beats (at least 2)."""

    source: Port
    target: Port
    depth: int = 2


@dataclass(frozen=True)
class Dataflow:
    """Layers in topological order and the edges between them.

    The graph's ports are ``Port("", name)``; their streams are those of the layers they touch.
    """

    name: str
    layers: tuple[Layer, ...]
    edges: tuple[Edge, ...]

    def layer(self, name: str) -> Layer:
        """The layer called ``name``."""
        return next(layer for layer in self.layers if layer.name == name)

    def stream(self, edge: Edge) -> Stream:
        """The stream that travels over ``edge``."""
        if edge.source.layer:
            return self.layer(edge.source.layer).outputs[edge.source.port]
        return self.layer(edge.target.layer).inputs[edge.target.port]

    @property
    def inputs(self) -> dict[str, Stream]:
        """Streams that enter the graph, by port name."""
        return {e.source.port: self.stream(e) for e in self.edges if not e.source.layer}

    @property
    def outputs(self) -> dict[str, Stream]:
        """Streams that leave the graph, by port name."""
        return {e.target.port: self.stream(e) for e in self.edges if not e.target.layer}

    def execute(self, inputs: Mapping[str, Ints]) -> dict[Port, Ints]:
        """Run frames of counts (frames, elements) through; returns the values at every port.

        The result holds each layer's output ports and, under ``Port("", name)``, the outputs.
        """
        values = {Port("", name): np.asarray(value) for name, value in inputs.items()}
        sources = {edge.target: edge.source for edge in self.edges}
        for layer in self.layers:
            arguments = [values[sources[Port(layer.name, port)]] for port in layer.inputs]
            results = layer.execute(*arguments)
            values.update(
                {Port(layer.name, p): r for p, r in zip(layer.outputs, results, strict=True)}
            )
        for edge in self.edges:
            if not edge.target.layer:
                values[edge.target] = values[edge.source]
        return values
