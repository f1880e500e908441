"""The schema of ``metadata.json``, as types: how a host talks to the design."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from sira.schema.report import Integers, Numbers


class StreamFormat(Struct, frozen=True):
    """A stream at the border of the design.

    ``elements`` a frame travel in ``beats``, ``lanes`` of them in a beat, ``bits`` wide each, lane
    0 in the low bits; TDATA has ``tdata_bytes``.
    """

    elements: int
    lanes: int
    bits: int
    beats: int
    tdata_bytes: int


class IntegerRange(Struct, frozen=True):
    """Integers lo..hi."""

    lo: int
    hi: int


class HostOperator(Struct, frozen=True):
    """An operator that the host applies: its ONNX type, attributes, and constants by name."""

    op_type: str
    attributes: dict[str, int | float | str]
    constants: dict[str, list[Any]]


class HostQuantizer(Struct, frozen=True):
    """The operators between the model's input and the integers that the host sends."""

    operators: list[HostOperator]


class _HostPort(Struct, frozen=True):
    """A tensor at the border of the design.

    ``shape`` is transposed to the order ``axes``, the last one fastest; ``meaning`` says how the
    counts on the wire give the tensor's reals.
    """

    name: str
    tensor: str
    shape: list[int]
    axes: list[int]
    layout: str
    stream: StreamFormat
    count_offset: Integers
    count_factor: Integers


class HostInput(_HostPort, frozen=True):
    """What the host sends, and how it makes that of the model's input (null: it is the input)."""

    integer: IntegerRange
    scale: Numbers
    bias: Numbers
    meaning: str
    host_quantizer: HostQuantizer | None


class HostOutput(_HostPort, frozen=True):
    """What the host receives; scale and bias are null where the tensor has no integers."""

    scale: Numbers | None
    bias: Numbers | None
    meaning: str


class Metadata(Struct, frozen=True):
    """``metadata.json``: how a host talks to the design.

    ``host_operators`` are the types of the operators behind the outputs that are left to the host.
    """

    schema_version: Literal[1]
    input: HostInput
    outputs: list[HostOutput]
    host_operators: list[str]
