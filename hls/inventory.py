"""What hardware is built of, apart from any device; a device (`hls.device`) prices it.

Quantities that were fitted to synthesis and have no structure are `Logic`, in the lookup tables of
six inputs of the devices for which they were fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Adders:
    """``count`` adders of ``bits``; or subtractors, or comparators that are built like them."""

    bits: int
    count: int = 1


@dataclass(frozen=True)
class Comparators:
    """``count`` comparators of two counts of ``bits``.

    With ``words``, each compares a count with one of that many constants. The constants of all are
    the words of one memory, which each comparator reads at an address of its own.
    """

    bits: int
    count: int = 1
    words: int | None = None


@dataclass(frozen=True)
class Maxima:
    """``count`` times the larger of two counts of ``bits``: a comparator and a choice."""

    bits: int
    count: int = 1


@dataclass(frozen=True)
class Multiplexers:
    """``bits`` multiplexers of one bit that choose among ``ways``."""

    bits: int
    ways: int = 2


@dataclass(frozen=True)
class Multipliers:
    """``count`` products of a number of ``left_bits`` and one of ``right_bits``."""

    left_bits: int
    right_bits: int
    count: int = 1


@dataclass(frozen=True)
class MultiplyAdds:
    """``count`` products as of `Multipliers`, each with a sum of ``sum_bits`` behind it."""

    left_bits: int
    right_bits: int
    sum_bits: int
    count: int = 1


@dataclass(frozen=True)
class Rom:
    """A memory of ``words`` constants of ``bits`` that is read into a register.

    One word is no memory, and has no register. A ``distributed`` one is never block RAM.
    """

    words: int
    bits: int
    distributed: bool = False


@dataclass(frozen=True)
class Ram:
    """A memory of ``words`` of ``bits`` with one port to write and one to read, into a register.

    A ``distributed`` one is never block RAM, and is read without a register.
    """

    words: int
    bits: int
    distributed: bool = False


@dataclass(frozen=True)
class Queue:
    """A memory of ``words`` of ``bits`` that is read in the order in which it is written.

    With it come its two addresses, the number of words, and the register into which it is read.
    """

    words: int
    bits: int


@dataclass(frozen=True)
class Counters:
    """Counters of ``bits`` in all, each bit with ``functions`` functions that decide over it.

    One function counts; more compare with an end, or add something else than one.
    """

    bits: int
    functions: int | Fraction = 1


@dataclass(frozen=True)
class Registers:
    """Flip-flops for ``bits``."""

    bits: int


@dataclass(frozen=True)
class Logic:
    """Small control, named for what it is: ``lut`` functions of six inputs, ``ff`` flip-flops."""

    what: str
    lut: int
    ff: int = 0


Item = (
    Adders
    | Comparators
    | Maxima
    | Multiplexers
    | Multipliers
    | MultiplyAdds
    | Rom
    | Ram
    | Queue
    | Counters
    | Registers
    | Logic
)

Inventory = tuple[Item, ...]
