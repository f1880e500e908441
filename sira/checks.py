"""One comparison of integers with what they should be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sira.scaled import Ints


@dataclass(frozen=True)
class Check:
    """How many integers were compared and how many differed.

    ``oracle`` marks a comparison of golden integers with code that is not ours, rather than of the
    hardware with golden integers.
    """

    name: str
    compared: int
    mismatches: int
    oracle: bool = False
    detail: str = ""


def compare(name: str, found: Ints, wanted: Ints, oracle: bool = False) -> Check:
    """Compare arrays (samples, elements); the detail tells the first difference."""
    if found.shape != wanted.shape:
        text = f"shape {found.shape} for {wanted.shape}"
        return Check(name, wanted.size, wanted.size, oracle, text)
    wrong = found != wanted
    detail = ""
    if wrong.any():
        frame, element = (int(i[0]) for i in np.nonzero(wrong))
        detail = (
            f"first at sample {frame}, element {element}: "
            f"{found[frame, element]} for {wanted[frame, element]}"
        )
    return Check(name, wanted.size, int(wrong.sum()), oracle, detail)
