"""The cache of what takes long to make: compiled models and syntheses.

An entry is a file or a folder whose name is a hash of everything that it was made from, tools and
options included. So entries are never wrong, only unused, and nothing is ever changed in place.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import FileLock

from sira.errors import SiraError


def digest(parts: Iterable[bytes | str]) -> str:
    """A hash of a list of contents, short enough for a file name; a text counts as its UTF-8."""
    whole = hashlib.sha256()
    for part in parts:
        contents = part.encode() if isinstance(part, str) else part
        whole.update(hashlib.sha256(contents).digest())
    return whole.hexdigest()[:32]


def contents(files: Iterable[Path]) -> list[bytes | str]:
    """Names and contents of files, for `digest`."""
    return [part for file in files for part in (file.name, file.read_bytes())]


def cached(entry: str, make: Callable[[Path], None]) -> Path:
    """The file or folder ``entry`` of the cache, a relative path; made where it is missing.

    ``make`` gets a path to write to. What it wrote appears in the cache in one piece. Who needs the
    same at the same time, in this process or in another one, waits and finds it made.
    """
    target = cache_folder() / entry
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    locks = cache_folder() / "locks"
    locks.mkdir(exist_ok=True)
    with FileLock(locks / f"{digest([entry])}.lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as scratch:
                made = Path(scratch) / target.name
                make(made)
                made.replace(target)
    return target


def cache_folder() -> Path:
    """Where entries are kept: ``$SIRA_CACHE``, else ``sira`` in the user's cache folder.

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
