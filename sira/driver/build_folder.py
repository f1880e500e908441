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

_OUTPUTS = (
    "stages",
    "certificate.json.gz",
    "rtl",
    "hls",
    "vivado",
    "metadata.json",
    "verification.npz",
    "report.md",
    "report.json",
)
"""What a build folder holds, the report last: a folder with a report is complete."""


@contextmanager
def build_folder(target: Path) -> Iterator[Path]:
    """A folder to write to, whose files appear in ``target`` when the block ends.

    Those of an earlier build go then. Where the block raises, ``target`` stays as it was.
    """
    if target.exists() and not target.is_dir():
        raise SiraError("not a folder", where=f"-o {target}", remedy="choose another name")
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
