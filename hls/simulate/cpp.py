"""Runs the C++ written for Vitis HLS, compiled with g++ against stand-ins of the vendor's headers.

``ap_int.h`` comes with the da4ml package, ``hls_stream.h`` and ``ap_axi_sdata.h`` are our own
(``hls/cpp/sim``). The shared object is kept in the cache folder under the hash of its sources.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from hls.cache import cache_folder, cached, contents, digest
from hls.dataflow import Dataflow, Ints
from hls.emit.cpp import LIBRARY
from hls.emit.rtl import stream_bytes
from hls.simulate.beats import pack_beats, unpack_beats
from hls.simulate.toolchain import compiler, compiler_version, in_parallel, run_tool
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


def compile_hls(directory: Path) -> Path:
    """Compile an emitted folder into a shared object, unless the cache has it; returns its path."""
    recipe = (compiler(), compiler_version(), *_FLAGS)
    headers = [*sorted(_SIMULATION.glob("*.h")), *sorted(ap_types().rglob("*.h"))]
    sources = [*sorted(directory.glob("*.?pp")), _SIMULATION / "simulate.cpp", *headers]
    library = f"hls/{digest([*recipe, *contents(sources)])}.so"
    folder = f"hls/prelude-{digest([*recipe, *contents(headers)])}"
    prelude = cached(f"{folder}/{_PRELUDE.name}", partial(shutil.copyfile, _PRELUDE))
    compiled = f"{folder}/{_PRELUDE.name}.gch"
    if not (cache_folder() / library).exists():
        # The first design does not wait for the compiled headers, which serve the next ones.
        ready = (cache_folder() / compiled).exists()
        beside = [] if ready else [partial(cached, compiled, partial(_compile_headers, prelude))]
        include = prelude if ready and not _limited(directory) else None
        in_parallel([partial(cached, library, partial(_compile, directory, include)), *beside])
    return cache_folder() / library


def _limited(directory: Path) -> bool:
    """Whether wide streams need another limit of ap_int.h than the one that is compiled."""
    return "#define AP_INT_MAX_W" in (directory / "accelerator.cpp").read_text()


def _include() -> list[str]:
    return [f"-I{_SIMULATION}", "-isystem", str(ap_types())]


def _compile_headers(prelude: Path, made: Path) -> None:
    """Compile the headers of all designs, which take half of the time of a small one."""
    command = [compiler(), *_FLAGS, *_include(), "-x", "c++-header", str(prelude), "-o", str(made)]
    if run_tool(command, made.parent).returncode:
        made.touch()  # the compiler of the design tells what is wrong with them


def _compile(directory: Path, prelude: Path | None, library: Path) -> None:
    include = [f"-I{directory.resolve()}", *_include()]
    include += [] if prelude is None else ["-include", str(prelude)]
    source = str(_SIMULATION / "simulate.cpp")
    command = [compiler(), *_FLAGS, *include, "-o", str(library), source]
    done = run_tool(command, library.parent)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        raise SiraError(
            "g++ could not compile the HLS C++",
            where=str(directory),
            found=(errors or [done.stderr.strip()])[0],
            remedy="the folder must be as it was written; compile the model again",
        )


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
    data = [
        pack_beats(inputs[name], stream, 8 * stream_bytes(stream))
        for name, stream in dataflow.inputs.items()
    ]
    data += [
        np.zeros((count * stream.beats, stream_bytes(stream)), np.uint8)
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
        name: unpack_beats(result, stream)
        for (name, stream), result in zip(dataflow.outputs.items(), results, strict=True)
    }


def simulate_hls(directory: Path, dataflow: Dataflow, frames: Ints) -> Ints:
    """`simulate_hls_ports` for a graph with one input and one output: (n, elements) to the same."""
    (name,) = dataflow.inputs
    (result,) = simulate_hls_ports(directory, dataflow, {name: frames}).values()
    return result
