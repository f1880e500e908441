"""The version of the installed distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

DISTRIBUTION = "sira-compile"
"""The name on package indexes, where ``sira`` is somebody else's."""


def version() -> str:
    """The version, "unknown" for files that are not installed."""
    try:
        return version_of(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
