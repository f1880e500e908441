"""One comparison of integers with what they should be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sira.numbers.scaled import Ints


@dataclass(frozen=True)
class Check:
    """How many integers were compared and how many differed.

    ``oracle`` marks a comparison of golden integers with code that is not ours, rather than of our
    integers with golden ones. ``ties`` names what differs by the rounding of float64 alone, which
    is no mismatch.
    """

    name: str
    compared: int
    mismatches: int
    oracle: bool = False
    detail: str = ""
    ties: tuple[str, ...] = ()


def mismatches(checks: Iterable[Check]) -> int:
    """Integers of ours that differ from golden ones."""
    return sum(c.mismatches for c in checks if not c.oracle)


def oracle_mismatches(checks: Iterable[Check]) -> int:
    """Golden integers that differ from an execution that is not ours."""
    return sum(c.mismatches for c in checks if c.oracle)


def passed(checks: Iterable[Check]) -> bool:
    """No integer differs."""
    return not any(c.mismatches for c in checks)


def compare(name: str, found: Ints, wanted: Ints, oracle: bool = False, first: int = 0) -> Check:
    """Compare arrays (samples, elements); the detail tells the first difference.

    ``first`` is the number of the first sample.
    """
    if found.shape != wanted.shape:
        text = f"shape {found.shape} for {wanted.shape}"
        return Check(name, wanted.size, wanted.size, oracle, text)
    wrong = found != wanted
    detail = ""
    if wrong.any():
        frame, element = (int(i[0]) for i in np.nonzero(wrong))
        detail = (
            f"first at sample {first + frame}, element {element}: "
            f"{found[frame, element]} for {wanted[frame, element]}"
        )
    return Check(name, wanted.size, int(wrong.sum()), oracle, detail)


def merged(parts: Sequence[Check]) -> Check:
    """One comparison that was made in parts."""
    return replace(
        parts[0],
        compared=sum(p.compared for p in parts),
        mismatches=sum(p.mismatches for p in parts),
        detail=next((p.detail for p in parts if p.detail), ""),
        ties=tuple(tie for p in parts for tie in p.ties),
    )
