"""Start values of accumulators: one for each output, or for each border class and output.

Where real 0 is not on the lattice of the counts, padded lanes carry some other count and the start
value takes their contribution back: it depends on which taps of a window lie outside the image,
that is, on the class of the pixel's row and of its column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hls.dataflow import Ints, Memory
from hls.inventory import Counters, Inventory, Rom
from hls.layers.parts.cpp_constants import sized
from hls.layers.parts.memories import distinct_columns, pack_words


@dataclass(frozen=True, eq=False)
class StartValues:
    """``values`` (classes, N), and the classes of the rows and of the columns of an image.

    Vector (row, column) has class rows[row] * column_count + columns[column]. Without classes,
    ``values`` is (1, N) and the image one pixel.
    """

    values: Ints
    rows: tuple[int, ...] = (0,)
    columns: tuple[int, ...] = (0,)

    @property
    def counts(self) -> tuple[int, int]:
        """How many classes rows and columns have."""
        return max(self.rows) + 1, max(self.columns) + 1

    def of_vectors(self) -> Ints:
        """Start values of each vector of a frame, (rows * columns, N)."""
        rows, columns = np.array(self.rows), np.array(self.columns)
        classes = rows[:, None] * self.counts[1] + columns
        values: Ints = self.values[classes.ravel()]
        return values

    def compact(self) -> StartValues:
        """Classes numbered in the order in which they appear, those that never appear left out.

        The counters of the hardware then begin with class 0 after a reset.
        """
        rows, columns = list(dict.fromkeys(self.rows)), list(dict.fromkeys(self.columns))
        used = np.array(rows)[:, None] * self.counts[1] + np.array(columns)
        return StartValues(
            self.values[used.ravel()],
            tuple(rows.index(row) for row in self.rows),
            tuple(columns.index(column) for column in self.columns),
        )

    def instance(
        self, pe: int, bits: int
    ) -> tuple[dict[str, int], dict[str, Memory], dict[str, tuple[int, int]]]:
        """Parameters, memories and the memories' shapes of start_values.sv.

        The values must be 0 .. 2**bits - 1. Memory ``start`` is addressed {row class, column class,
        group of outputs}, each rounded up to a power of two where there are classes; the gaps
        repeat the words before them, which costs less logic than zeros.
        """
        compact = self.compact()
        rows, columns = compact.counts
        values = compact.values.reshape(rows, columns, -1, pe)
        memories: dict[str, Memory] = {}
        shapes: dict[str, tuple[int, int]] = {}
        if rows * columns > 1:
            for axis in range(3):
                size = values.shape[axis]
                indices = np.minimum(np.arange(1 << (size - 1).bit_length()), size - 1)
                values = values.take(indices, axis)
        words = values.reshape(-1, pe)
        memories["start"], shapes["start"] = pack_words(words, bits), (len(words), pe * bits)
        sizes = {
            "ImageRows": len(self.rows),
            "ImageColumns": len(self.columns),
            "RowClasses": rows,
            "ColumnClasses": columns,
        }
        for name, count, classes in (
            ("row_classes", rows, compact.rows),
            ("column_classes", columns, compact.columns),
        ):
            if count > 1:
                width = (count - 1).bit_length()
                memories[name] = pack_words(np.array(classes)[:, None], width)
                shapes[name] = (len(classes), width)
        return sizes if rows * columns > 1 else {}, memories, shapes

    def inventory(self, pe: int, bits: int) -> Inventory:
        """A memory with its register, and the counters and memories of the classes."""
        compact = self.compact()
        rows, columns = compact.counts
        words = rows * columns * self.values.shape[1] // pe
        if words == 1:
            return ()
        found: Inventory = (Rom(words, distinct_columns(words, pe * bits)),)
        for count, line in ((rows, compact.rows), (columns, compact.columns)):
            if count > 1:
                found += (
                    Counters((len(line) - 1).bit_length(), 2),
                    Rom(len(line), (count - 1).bit_length(), distributed=True),
                )
        return found

    def kernel(self, pe: int) -> Mapping[str, tuple[str, Ints]]:
        """The arrays of a kernel: ``start`` (classes * N / pe, pe), and in ``row_starts`` and
        ``column_starts`` what a pixel's row and column add to the index of its first word."""
        folds = self.values.shape[1] // pe
        return {
            "start": sized(self.values.reshape(-1, pe)),
            "row_starts": sized(np.array([self.rows]) * self.counts[1] * folds),
            "column_starts": sized(np.array([self.columns]) * folds),
        }


def check_start(
    name: str,
    start: Ints,
    outputs: int,
    vectors: int,
    rows: tuple[int, ...],
    columns: tuple[int, ...],
) -> None:
    """Assert that ``start`` is (outputs,), or (classes, outputs) with classes for all vectors."""
    if not rows and not columns:
        assert start.shape == (outputs,), (name, start.shape, outputs)
        return
    assert len(rows) * len(columns) == vectors, (name, len(rows), len(columns), vectors)
    assert min(rows) >= 0 and min(columns) >= 0, name
    classes = (max(rows) + 1) * (max(columns) + 1)
    assert start.shape == (classes, outputs), (name, start.shape, classes, outputs)


def start_values(
    start: Ints, added: Ints, modulus: int, rows: tuple[int, ...], columns: tuple[int, ...]
) -> StartValues:
    """``start`` (N,) or (classes, N) plus ``added`` (N,), modulo ``modulus`` (at most 2**62)."""
    values = (np.atleast_2d(start).astype(object) + added) % modulus
    return StartValues(values.astype(np.int64), tuple(rows) or (0,), tuple(columns) or (0,))
