"""Co-simulation: compile SystemVerilog with Verilator and run whole batches of frames through it.

The model and a harness (``cpp/verilator_harness.cpp``) become a shared library, which is cached. A
large design becomes one for each layer and one for the top, see `hls.simulate.verilator_layers`.
The memory files are read when a run starts, so a design with other weights needs no new build.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from hls.dataflow import Dataflow, Ints, Layer, Stream
from hls.device import default_device
from hls.emit.rtl import axis_prefixes, identifiers, stream_bytes
from hls.simulate.beats import pack_beats, unpack_beats
from hls.simulate.toolchain import VerilatedModel, elaborate, run_verilator, shared_libraries
from hls.simulate.verilator_call import Beats, LayerLibrary, RunStatus, simulate
from hls.simulate.verilator_layers import layer_models, link_memories, top_model


class SimulationError(Exception):
    """The simulated hardware broke the stream protocol or stopped."""


_LUT_OF_A_MODEL = 1000
"""LUTs, at the prices of `default_device`, that take as long to build as a model in itself; two
models are built at a time."""


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
    last beat of all; ``seconds`` how long the run took.
    """

    ports: Mapping[str, Ints]
    completed: Mapping[str, Ints]
    cycles: int
    seconds: float = field(compare=False)

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
    """A compiled model; ``memories`` is the folder its memory files are read from.

    ``layers`` are the libraries of the layers that have one of their own, by module name, in the
    order of their stubs in the model.
    """

    library: Path
    interface: Interface
    memories: Path
    layers: Mapping[str, Path] = field(default_factory=dict)

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
        beat is marked wrongly, surplus beats come out, nothing moves any more, or the model stops
        by itself, as it does at a malformed memory file.
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
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="sira-") as scratch:
            layers = []
            for name, library in self.layers.items():
                folder = Path(scratch) / name
                folder.mkdir()
                link_memories(self.memories, name, folder)
                layers.append(LayerLibrary(name, library, folder))
            outcome = simulate(
                self.library,
                self.memories,
                [Beats(beats[p], s.stream.beats) for p, s in sinks.items()],
                [Beats(results[p], s.stream.beats, completed[p]) for p, s in sources.items()],
                layers,
                seed=seed,
                stall_in=stall_in,
                stall_out=stall_out,
                reset_after=reset_after or 0,
                idle_limit=self.interface.idle_limit,
                drain=1_000 + self.interface.idle_limit // 20,
            )
        if outcome.status != 0:
            port = list(sources)[outcome.failed_source]
            raise SimulationError(_failure(outcome, port, sources[port].stream))
        return SimulationResult(
            {p: unpack_beats(results[p], s.stream) for p, s in sources.items()},
            completed,
            outcome.cycles,
            time.perf_counter() - start,
        )


def _failure(outcome: RunStatus, port: str, stream: Stream) -> str:
    what = {
        1: f"nothing moved any more: deadlock, or beats are missing; output {port!r} waits for",
        2: f"data changed while the output was stalled: {port!r},",
        3: f"valid fell while the output was stalled: {port!r},",
        4: f"the mark of a frame's last beat is wrong: {port!r},",
        5: f"surplus beat: {port!r},",
        6: f"the simulation stopped: {outcome.message}",
    }[outcome.status]
    if outcome.status == 6:
        return what
    frame, beat = divmod(outcome.failed_beat, stream.beats)
    return f"{what} frame {frame}, beat {beat} of {stream.beats}"


def build(
    rtl: Path,
    dataflow: Dataflow,
    *,
    flags: Sequence[str] = (),
    models: Literal["auto", "one", "layers"] = "auto",
) -> Simulator:
    """Compile an accelerator emitted into the folder ``rtl``.

    It becomes ``one`` model, or one for each of its ``layers``; both do the same in every cycle.
    ``auto`` takes what is built sooner. ``flags`` are further options for Verilator.
    """
    interface = axi_interface(dataflow)
    sources = sorted(rtl.glob("*.sv"))
    if models == "one":
        return compile_model(sources, interface, rtl, flags=flags)
    names = list(identifiers([layer.name for layer in dataflow.layers]).values())
    layers = layer_models(rtl, names, flags)
    if models == "auto":
        different = len({layer.digest() for layer in layers})
        price = default_device().price
        luts = sum(price(layer.inventory()).lut for layer in dataflow.layers)
        if luts < _LUT_OF_A_MODEL * different:
            return compile_model(sources, interface, rtl, flags=flags)
    header = _interface_header(interface, len(names))
    top = top_model(rtl, names, header, interface.top, flags)
    check = partial(elaborate, sources, interface.top, flags)
    library, *others = shared_libraries([top, *layers], [check])
    return Simulator(library, interface, rtl, dict(zip(names, others, strict=True)))


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
    header = _interface_header(interface)
    (library,) = shared_libraries([VerilatedModel(texts, "verilator_harness.cpp", header, options)])
    return Simulator(library, interface, memories)


def lint(rtl: Path, top: str = "accelerator") -> None:
    """Raise `SimulationError` with the messages if ``verilator --lint-only -Wall`` has any."""
    sources = sorted(path.name for path in rtl.glob("*.sv"))
    done = run_verilator(["--lint-only", "-Wall", "--top-module", top, *sources], rtl)
    if done.returncode or done.stderr.strip():
        raise SimulationError(f"verilator -Wall: {done.stderr.strip()}")


def _interface_header(interface: Interface, layers: int = 0) -> str:
    """``interface.h`` of the harness, for a model with stubs of ``layers`` layers."""

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
        f"#define LAYER_COUNT {layers}",
        " ".join(["#define LAYERS(X)", *(f"X({i})" for i in range(layers))]),
    ]
    return "\n".join(lines) + "\n"
