"""Scaled-integer range analysis and a compiler from quantized networks to FPGA dataflow.

``sira.compile(model, sira.Options(...))`` builds hardware, ``sira.analyze(model)`` only derives
ranges. Both are loaded when they are first used, so that the analysis needs no hardware tool.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sira.errors import SiraError

if TYPE_CHECKING:
    from sira.driver.analyze import analyze
    from sira.driver.compile import Result, compile
    from sira.driver.options import Options

    __version__: str

_HOMES = {
    "Options": "sira.driver.options",
    "Result": "sira.driver.compile",
    "compile": "sira.driver.compile",
    "analyze": "sira.driver.analyze",
}

__all__ = ["Options", "Result", "SiraError", "__version__", "analyze", "compile"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "__version__":
        from sira.version import version  # slow for what is rarely asked for

        return version()
    raise AttributeError(f"module 'sira' has no attribute {name!r}")
