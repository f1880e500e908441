"""The build folder: made beside its place, and moved there when it is complete."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sira.errors import SiraError
from sira.schema.report import Report, read_report

SAMPLES = "verification.npz"
"""The file of the samples that the build was verified with."""

_OUTPUTS = (
    "stages",
    "certificate.json.gz",
    "rtl",
    "hls",
    "vivado",
    "metadata.json",
    SAMPLES,
    "report.md",
    "report.json",
)
"""What a build folder holds, the report last: a folder with a report is complete."""


def check_place(target: Path) -> None:
    """Raises `SiraError` where something else than a folder lies at ``target``."""
    if target.exists() and not target.is_dir():
        raise SiraError("not a folder", where=f"-o {target}", remedy="choose another name")


def check_file_place(file: Path, option: str) -> None:
    """Raises `SiraError` where ``file``, which ``option`` names, cannot be made."""
    if not file.resolve().parent.is_dir():
        raise SiraError("no such folder", where=f"{option} {file}", remedy="create it first")
    if file.is_dir():
        raise SiraError("a folder, not a file", where=f"{option} {file}")


@contextmanager
def build_folder(target: Path) -> Iterator[Path]:
    """A folder to write to, whose files appear in ``target`` when the block ends.

    Those of an earlier build go then. Where the block raises, ``target`` stays as it was.
    """
    check_place(target)
    parent = target.resolve().parent
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".sira-", dir=parent))
    except OSError as error:
        raise SiraError("cannot be written", where=f"-o {target}", found=str(error)) from error
    try:
        yield work
        _publish(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        with suppress(OSError):  # they hold somebody else's files by now
            for folder in missing:
                folder.rmdir()
        raise
    work.rmdir()


def _publish(work: Path, target: Path) -> None:
    """Move the finished files into place; those of an earlier build go, the report first."""
    target.mkdir(parents=True, exist_ok=True)
    for name in reversed(_OUTPUTS):
        old = target / name
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for name in _OUTPUTS:
        if (work / name).exists():
            (work / name).rename(target / name)


def write_json(path: Path, contents: Any) -> None:
    """A file that people may read, too."""
    path.write_text(json.dumps(contents, indent=1, sort_keys=False) + "\n")


def read_build(directory: Path) -> Report:
    """The report of a compilation in ``directory``, which must hold the samples, too."""
    path, samples = directory / "report.json", directory / SAMPLES
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise SiraError(
            "not a build folder",
            where=str(directory),
            expected="the report.json of sira-compile",
            found=str(error),
            remedy="run sira-compile first",
        ) from error
    report = read_report(contents, str(path))
    if not samples.is_file():
        raise SiraError(
            "no samples to verify with",
            where=str(samples),
            expected="a folder compiled with --verify N, N > 0",
            remedy="compile the model again",
        )
    return report
