"""A tail as a lookup table, executed in Python: a candidate that the compiler does not have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hls.dataflow import Ints, Stream
from hls.inventory import Logic
from hls.lower.tails import TailFunction


@dataclass(frozen=True, eq=False)
class LookupTable:
    """Channel c of a count u is ``table[c, u]``."""

    name: str
    table: Ints
    input_bits: int
    output_bits: int
    vectors: int
    lut: int

    @property
    def inputs(self):
        return {"in": Stream(self.vectors * len(self.table), 1, self.input_bits)}

    @property
    def outputs(self):
        return {"out": Stream(self.vectors * len(self.table), 1, self.output_bits)}

    @property
    def cycles(self):
        return self.vectors * len(self.table)

    def execute(self, frames):
        counts = frames.reshape(-1, len(self.table))
        return (self.table[np.arange(len(self.table)), counts].reshape(frames.shape),)

    def inventory(self):
        return (Logic("table", self.lut),)


def lookup_table(tail: TailFunction, lut: int = 1) -> LookupTable:
    """Every entry by counting thresholds, one after the other."""
    top = 2**tail.input_bits - 1
    table = np.zeros((tail.channels, top + 1), np.int64)
    for c, u in np.ndindex(*table.shape):
        rows = c if len(tail.thresholds) > 1 else 0
        falls = tail.falling[c if len(tail.falling) > 1 else 0]
        table[c, u] = sum((top - u if falls else u) >= t for t in tail.thresholds[rows].tolist())
    bits = tail.thresholds.shape[1].bit_length()
    return LookupTable(tail.name, table, tail.input_bits, bits, tail.vectors, lut)
