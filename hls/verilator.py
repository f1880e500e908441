"""Co-simulation: compile SystemVerilog with Verilator and run whole batches of frames through it.

The model and a harness (``cpp/verilator_harness.cpp``) become one shared library, which is cached.
The memory files are read when a run starts, so a design with other weights needs no new build.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hls.dataflow import Dataflow, Ints, Layer, Stream
from hls.emit_rtl import axis_prefixes, stream_bytes
from hls.verilator_build import (
    cache_folder,
    run_tool,
    shared_library,
    verilator_binary,
    verilator_version,
)

__all__ = [
    "Interface",
    "Signals",
    "SimulationError",
    "SimulationResult",
    "Simulator",
    "axi_interface",
    "build",
    "cache_folder",
    "compile_model",
    "layer_interface",
    "lint",
    "pack_beats",
    "unpack_beats",
    "verilator_binary",
    "verilator_version",
]


class SimulationError(Exception):
    """The simulated hardware broke the stream protocol or stopped."""


@dataclass(frozen=True)
class Signals:
    """The signals of one stream, its shape, and the bits of the data signal."""

    data: str
    valid: str
    ready: str
    last: str
    bits: int
    stream: Stream


@dataclass(frozen=True)
class Interface:
    """How a module is driven: clock, active-low reset, and streams by port name.

    ``has_last`` says whether the streams mark the last beat of a frame; ``idle_limit`` is how many
    cycles without a transfer count as a deadlock.
    """

    top: str
    clock: str
    reset: str
    has_last: bool
    sinks: Mapping[str, Signals]
    sources: Mapping[str, Signals]
    idle_limit: int


def axi_interface(dataflow: Dataflow) -> Interface:
    """The interface of an emitted accelerator."""
    sinks, sources = axis_prefixes(dataflow)

    def signals(prefix: str, stream: Stream) -> Signals:
        data, valid, ready, last = (f"{prefix}_t{n}" for n in ("data", "valid", "ready", "last"))
        return Signals(data, valid, ready, last, 8 * stream_bytes(stream), stream)

    return Interface(
        "accelerator",
        "ap_clk",
        "ap_rst_n",
        True,
        {port: signals(sinks[port], stream) for port, stream in dataflow.inputs.items()},
        {port: signals(sources[port], stream) for port, stream in dataflow.outputs.items()},
        _idle_limit(dataflow.layers),
    )


def layer_interface(layer: Layer, top: str) -> Interface:
    """The interface of a layer's own module (or of a netlist of it), called ``top``."""

    def signals(port: str, stream: Stream, forward: str, backward: str) -> Signals:
        return Signals(
            f"{port}_data_{forward}",
            f"{port}_valid_{forward}",
            f"{port}_ready_{backward}",
            "none",
            bits=stream.width,
            stream=stream,
        )

    return Interface(
        top,
        "clk_i",
        "rst_ni",
        False,
        {port: signals(port, stream, "i", "o") for port, stream in layer.inputs.items()},
        {port: signals(port, stream, "o", "i") for port, stream in layer.outputs.items()},
        _idle_limit([layer]),
    )


def _idle_limit(layers: Sequence[Layer]) -> int:
    """Far more than a frame takes from input to output, nine pauses in ten cycles included."""
    return 10_000 + 20 * sum(layer.cycles for layer in layers)


@dataclass(frozen=True)
class SimulationResult:
    """What came out of a run.

    ``ports`` holds the frames (n, elements) of each output; ``completed`` the cycle in which each
    frame's last beat was taken, the first beat taken in being cycle 1; ``cycles`` the cycle of the
    last beat of all.
    """

    ports: Mapping[str, Ints]
    completed: Mapping[str, Ints]
    cycles: int

    @property
    def outputs(self) -> Ints:
        """The frames (n, elements) of the only output."""
        (frames,) = self.ports.values()
        return frames

    @property
    def first_cycles(self) -> int:
        """Cycles from the first beat in to the last beat of the first frame out: the latency."""
        return max(int(done[0]) for done in self.completed.values())

    @property
    def cycles_per_frame(self) -> float | None:
        """Mean distance of frames in the later half of the run, where the pipeline is full.

        None for fewer than two frames: there is no distance.
        """
        if any(len(done) < 2 for done in self.completed.values()):
            return None
        return max(_distance(done) for done in self.completed.values())


def _distance(completed: Ints) -> float:
    half = len(completed) // 2
    start = min(half, len(completed) - 2)
    return float(completed[-1] - completed[start]) / (len(completed) - 1 - start)


@dataclass(frozen=True)
class Simulator:
    """A compiled model; ``memories`` is the folder its memory files are read from."""

    library: Path
    interface: Interface
    memories: Path
    _function: object = field(repr=False, compare=False)

    def run(
        self,
        frames: Ints | Mapping[str, Ints],
        *,
        seed: int = 0,
        stall_in: float = 0.0,
        stall_out: float = 0.0,
        reset_after: int | None = None,
        drop_beat: int | None = None,
    ) -> SimulationResult:
        """Run ``frames`` (n, elements), one array or one for each input, as fast as they go.

        ``stall_in`` and ``stall_out`` are the probabilities that a side pauses in a cycle; ``seed``
        decides the pauses and the values of registers that have no reset. After ``reset_after``
        beats have been taken in, the design is reset once and all frames are sent afresh.
        ``drop_beat`` leaves that beat of the first input out, to see that it is noticed.
        The working directory changes for a moment: not for several threads at once.

        Raises `SimulationError` when data changes or valid falls while stalled, a frame's last
        beat is marked wrongly, surplus beats come out, or nothing moves any more.
        """
        sinks, sources = self.interface.sinks, self.interface.sources
        if not isinstance(frames, Mapping):
            assert len(sinks) == 1, f"one array, but inputs {sorted(sinks)}"
            frames = dict.fromkeys(sinks, frames)
        count = len(next(iter(frames.values())))
        beats = {port: pack_beats(frames[port], s.stream, s.bits) for port, s in sinks.items()}
        if drop_beat is not None:
            first = next(iter(beats))
            beats[first] = np.delete(beats[first], drop_beat, axis=0)
        results = {
            port: np.zeros((count * s.stream.beats, (s.bits + 7) // 8), dtype=np.uint8)
            for port, s in sources.items()
        }
        completed = {port: np.zeros(count, dtype=np.int64) for port in sources}
        request = _Request(
            folder=os.fsencode(self.memories.resolve()),
            seed=seed,
            stall_in=stall_in,
            stall_out=stall_out,
            reset_after=reset_after or 0,
            idle_limit=self.interface.idle_limit,
            drain=1_000 + self.interface.idle_limit // 20,
            sinks=_streams([(beats[p], s, None) for p, s in sinks.items()]),
            sources=_streams([(results[p], s, completed[p]) for p, s in sources.items()]),
        )
        assert callable(self._function)
        status = self._function(ctypes.byref(request))
        if status != 0:
            port = list(sources)[request.failed_source]
            raise SimulationError(_failure(status, port, request.failed_beat, sources[port].stream))
        return SimulationResult(
            {p: unpack_beats(results[p], s.stream) for p, s in sources.items()},
            completed,
            int(request.cycles),
        )


def _failure(status: int, port: str, beat: int, stream: Stream) -> str:
    what = {
        1: "nothing moved any more: deadlock, or beats are missing; output {port} waits for",
        2: "data changed while the output was stalled: {port},",
        3: "valid fell while the output was stalled: {port},",
        4: "the mark of a frame's last beat is wrong: {port},",
        5: "surplus beat: {port},",
    }[status].format(port=repr(port))
    return f"{what} frame {beat // stream.beats}, beat {beat % stream.beats} of {stream.beats}"


def build(rtl: Path, dataflow: Dataflow, *, flags: Sequence[str] = ()) -> Simulator:
    """Compile an accelerator emitted into the folder ``rtl``."""
    return compile_model(sorted(rtl.glob("*.sv")), axi_interface(dataflow), rtl, flags=flags)


def compile_model(
    sources: Sequence[Path],
    interface: Interface,
    memories: Path,
    *,
    flags: Sequence[str] = (),
) -> Simulator:
    """Compile any Verilog ``sources`` with an interface; memory files are read from ``memories``.

    ``flags`` are further options for Verilator.
    """
    texts = {path.name: path.read_bytes() for path in sources}
    assert len(texts) == len(sources), "two sources of one name"
    options = ("--top-module", interface.top, *flags)
    library = shared_library(texts, _interface_header(interface), options)
    function = ctypes.CDLL(str(library)).simulate
    return Simulator(library, interface, memories, function)


def lint(rtl: Path, top: str = "accelerator") -> None:
    """Raise `SimulationError` with the messages if ``verilator --lint-only -Wall`` has any."""
    sources = sorted(path.name for path in rtl.glob("*.sv"))
    command = [str(verilator_binary()), "--lint-only", "-Wall", "--top-module", top, *sources]
    done = run_tool(command, rtl)
    if done.returncode or done.stderr.strip():
        raise SimulationError(f"verilator -Wall: {done.stderr.strip()}")


# ---- Beats -------------------------------------------------------------------------------------


def pack_beats(frames: Ints, stream: Stream, bits: int) -> NDArray[np.uint8]:
    """Counts (n, elements) as beats (n * beats, bytes), little-endian, of ``bits`` a beat."""
    assert frames.ndim == 2 and frames.shape[1] == stream.elements, (frames.shape, stream)
    assert frames.size == 0 or (frames.min() >= 0 and int(frames.max()) < 1 << stream.bits), stream
    lanes = frames.astype(np.uint64).reshape(-1, stream.lanes, 1)
    ones = (lanes >> np.arange(stream.bits, dtype=np.uint64)) & np.uint64(1)
    padded = np.zeros((len(lanes), (bits + 7) // 8 * 8), dtype=np.uint8)
    padded[:, : stream.width] = ones.reshape(len(lanes), stream.width)
    return np.packbits(padded, axis=1, bitorder="little")


def unpack_beats(beats: NDArray[np.uint8], stream: Stream) -> Ints:
    """The reverse of `pack_beats`."""
    ones = np.unpackbits(beats, axis=1, bitorder="little")[:, : stream.width]
    lanes = ones.reshape(-1, stream.elements, stream.bits).astype(np.int64)
    values: Ints = (lanes << np.arange(stream.bits)).sum(axis=2)
    return values


# ---- The shared library ------------------------------------------------------------------------


class _Stream(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("beats", ctypes.c_uint64),
        ("frame_beats", ctypes.c_uint64),
        ("completed", ctypes.c_void_p),
    )


class _Request(ctypes.Structure):
    _fields_ = (
        ("folder", ctypes.c_char_p),
        ("seed", ctypes.c_uint64),
        ("stall_in", ctypes.c_double),
        ("stall_out", ctypes.c_double),
        ("reset_after", ctypes.c_uint64),
        ("idle_limit", ctypes.c_uint64),
        ("drain", ctypes.c_uint64),
        ("sinks", ctypes.POINTER(_Stream)),
        ("sources", ctypes.POINTER(_Stream)),
        ("cycles", ctypes.c_uint64),
        ("failed_source", ctypes.c_uint64),
        ("failed_beat", ctypes.c_uint64),
    )


def _streams(
    ports: Sequence[tuple[NDArray[np.uint8], Signals, Ints | None]],
) -> ctypes.Array[_Stream]:
    streams = (_Stream * len(ports))()
    for entry, (beats, signals, completed) in zip(streams, ports, strict=True):
        entry.data = beats.ctypes.data
        entry.beats = len(beats)
        entry.frame_beats = signals.stream.beats
        entry.completed = None if completed is None else completed.ctypes.data
    return streams


def _interface_header(interface: Interface) -> str:
    def streams(macro: str, ports: Mapping[str, Signals]) -> list[str]:
        entries = [
            f"  X({i}, {s.data}, {s.valid}, {s.ready}, {s.last}, {s.bits})"
            for i, s in enumerate(ports.values())
        ]
        count = f"#define {macro[:-1]}_COUNT {len(ports)}"
        return [count, " \\\n".join([f"#define {macro}(X)", *entries])]

    lines = [
        f"#define CLOCK {interface.clock}",
        f"#define RESET_N {interface.reset}",
        f"#define HAS_LAST {int(interface.has_last)}",
        *streams("SINKS", interface.sinks),
        *streams("SOURCES", interface.sources),
    ]
    return "\n".join(lines) + "\n"
