"""Scaled-integer range analysis and a compiler from quantized networks to FPGA dataflow.

``sira.compile(model, sira.Options(...))`` builds hardware, ``sira.analyze(model)`` only derives
ranges. Both are loaded when they are first used, so that the analysis needs no hardware tool.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sira.errors import SiraError

if TYPE_CHECKING:
    from sira.driver import Result, compile
    from sira.driver_options import Options
    from sira.frontdoor import analyze

_HOMES = {
    "Options": "sira.driver_options",
    "Result": "sira.driver",
    "compile": "sira.driver",
    "analyze": "sira.frontdoor",
}

__all__ = ["Options", "Result", "SiraError", "analyze", "compile"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sira' has no attribute {name!r}")
