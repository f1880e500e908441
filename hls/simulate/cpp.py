"""Runs the C++ written for Vitis HLS, compiled with g++ against stand-ins of the vendor's headers.

``ap_int.h`` comes with the da4ml package, ``hls_stream.h`` and ``ap_axi_sdata.h`` are our own
(``hls/cpp/sim``). The shared object is kept in the cache folder under the hash of its sources.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hls.dataflow import Dataflow, Ints, Stream
from hls.emit.cpp import LIBRARY
from hls.emit.rtl import stream_bytes
from hls.simulate.toolchain import cache_folder, compiler, in_parallel, missing
from hls.simulate.verilator import SimulationError
from sira.errors import SiraError

_SIMULATION = LIBRARY / "sim"
_PRELUDE = _SIMULATION / "prelude.h"
# For one second more of compile time than -O0, -O1 runs 15 times as fast; -O2 gains nothing more.
# Hidden symbols keep several simulations apart that live in one process.
_FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-w")
_MESSAGE_BYTES = 256


def ap_types() -> Path:
    """The folder of ``ap_int.h``."""
    package = importlib.util.find_spec("da4ml")
    if package is None or package.origin is None:
        raise SiraError(
            "ap_int.h was not found",
            expected="the Python package da4ml, which ships it",
            remedy="run `pip install da4ml`",
        )
    return Path(package.origin).parent / "codegen/hls/source/ap_types/include"


def _content_hash(files: list[Path], *words: str) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:32]


def compile_hls(directory: Path) -> Path:
    """Compile an emitted folder into a shared object, unless the cache has it; returns its path."""
    version = subprocess.run([compiler(), "--version"], capture_output=True, text=True).stdout
    recipe = (compiler(), version, *_FLAGS)
    headers = [*sorted(_SIMULATION.glob("*.h")), *sorted(ap_types().rglob("*.h"))]
    sources = [*sorted(directory.glob("*.?pp")), _SIMULATION / "simulate.cpp", *headers]
    library = cache_folder() / "hls" / f"{_content_hash(sources, *recipe)}.so"
    if not library.exists():
        prelude = library.with_name(f"prelude-{_content_hash(headers, *recipe)}") / _PRELUDE.name
        # The first design does not wait for the compiled headers, which serve the next ones.
        beside = [] if _compiled(prelude).exists() else [partial(_compile_headers, prelude)]
        in_parallel([partial(_compile, directory, library, prelude), *beside])
    return library


def _compiled(header: Path) -> Path:
    return header.with_name(f"{header.name}.gch")


def _compile_headers(prelude: Path) -> None:
    """Compile the headers of all designs, which take half of the time of a small one."""
    target = _compiled(prelude)
    with missing(target) as needed, tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        if needed:
            shutil.copyfile(_PRELUDE, prelude)
            output = Path(scratch) / target.name
            include = [f"-I{_SIMULATION}", "-isystem", str(ap_types())]
            command = [compiler(), *_FLAGS, *include, "-x", "c++-header", str(prelude)]
            # A fault of the headers is told by the compiler of the design.
            if not subprocess.run([*command, "-o", output], capture_output=True).returncode:
                output.replace(target)


def _compile(directory: Path, library: Path, prelude: Path) -> None:
    """Compile a folder, with the compiled headers where there are some."""
    # Wide streams need another limit of ap_int.h than the one that was compiled.
    limited = "#define AP_INT_MAX_W" in (directory / "accelerator.cpp").read_text()
    with missing(library) as needed, tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        if not needed:
            return
        include = [f"-I{directory}", f"-I{_SIMULATION}", "-isystem", str(ap_types())]
        if _compiled(prelude).exists() and not limited:
            include += ["-include", str(prelude)]
        # Compile under another name: a second process must never load half a file.
        output = Path(scratch) / library.name
        source = str(_SIMULATION / "simulate.cpp")
        done = subprocess.run(
            [compiler(), *_FLAGS, *include, "-o", str(output), source],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            raise SiraError(
                "g++ could not compile the HLS C++",
                where=str(directory),
                found=(errors or [done.stderr.strip()])[0],
                remedy="the folder must be as it was written; compile the model again",
            )
        output.replace(library)


def _pack(values: Ints, stream: Stream) -> NDArray[np.uint8]:
    """Frames of counts (n, elements) as TDATA: (n, beats, bytes)."""
    assert values.shape[1] == stream.elements, (values.shape, stream)
    assert values.min(initial=0) >= 0 and values.max(initial=0) < 1 << stream.bits, stream
    bits = (values[..., None] >> np.arange(stream.bits)) & 1
    beats = bits.reshape(len(values), stream.beats, stream.width).astype(np.uint8)
    return np.packbits(beats, axis=2, bitorder="little")


def _unpack(data: NDArray[np.uint8], stream: Stream) -> Ints:
    """The opposite of `_pack`."""
    bits = np.unpackbits(data, axis=2, count=stream.width, bitorder="little").astype(np.int64)
    lanes = bits.reshape(len(data), stream.elements, stream.bits)
    values: Ints = np.sum(lanes << np.arange(stream.bits), axis=2)
    return values


def simulate_hls_ports(
    directory: Path, dataflow: Dataflow, inputs: Mapping[str, Ints]
) -> dict[str, Ints]:
    """Run frames of counts (n, elements), by input port, through the emitted folder's C++.

    The emitted ``directory`` must be that of ``dataflow``. Returns the counts by output port.
    Raises `SimulationError` if a layer takes or gives a wrong number of beats, or marks the last
    wrongly, and `SiraError` if there is no compiler or it refuses the sources.
    """
    library = ctypes.CDLL(str(compile_hls(directory)))
    count = len(next(iter(inputs.values())))
    data = [_pack(inputs[name], stream) for name, stream in dataflow.inputs.items()]
    data += [
        np.zeros((count, stream.beats, stream_bytes(stream)), np.uint8)
        for stream in dataflow.outputs.values()
    ]
    beats = [s.beats for s in (*dataflow.inputs.values(), *dataflow.outputs.values())]
    message = ctypes.create_string_buffer(_MESSAGE_BYTES)
    failed = library.simulate(
        ctypes.c_long(count),
        ctypes.c_int(len(dataflow.inputs)),
        (ctypes.c_long * len(beats))(*beats),
        (ctypes.c_void_p * len(data))(*(array.ctypes.data for array in data)),
        message,
        ctypes.c_int(_MESSAGE_BYTES),
    )
    if failed:
        raise SimulationError(f"the HLS C++ stopped: {message.value.decode()}")
    results = data[len(dataflow.inputs) :]
    return {
        name: _unpack(result, stream)
        for (name, stream), result in zip(dataflow.outputs.items(), results, strict=True)
    }


def simulate_hls(directory: Path, dataflow: Dataflow, frames: Ints) -> Ints:
    """`simulate_hls_ports` for a graph with one input and one output: (n, elements) to the same."""
    (name,) = dataflow.inputs
    (result,) = simulate_hls_ports(directory, dataflow, {name: frames}).values()
    return result
