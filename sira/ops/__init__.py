"""One module per family of operators; importing this package fills the table of rules."""

from importlib import import_module
from pkgutil import iter_modules

from sira.ops.base import (
    RULES,
    Arg,
    Constant,
    Mac,
    OpRule,
    apply,
    arguments,
    known,
    mac_of,
    malformed,
    rule_of,
)

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "RULES",
    "Arg",
    "Constant",
    "Mac",
    "OpRule",
    "apply",
    "arguments",
    "known",
    "mac_of",
    "malformed",
    "rule_of",
]
