"""Names that are not taken yet."""

from __future__ import annotations

from collections.abc import Container
from itertools import chain, count


def free_name(name: str, taken: Container[str]) -> str:
    """``name``, or the first of ``name_2``, ``name_3``, ... that is not in ``taken``."""
    names = chain([name], (f"{name}_{number}" for number in count(2)))
    return next(found for found in names if found not in taken)
