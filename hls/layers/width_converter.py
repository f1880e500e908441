"""The width converter: the same elements with more or fewer lanes in a beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from hls.dataflow import Instance, Ints, Kernel, Stream
from hls.inventory import Inventory, Logic, Multiplexers, Registers
from hls.layers.parts.folding import Defaults
from hls.schedule import Phase, Process, Schedule


@dataclass(frozen=True)
class WidthConverter(Defaults):
    """Passes ``elements`` counts of ``bits`` on, regrouped from input to output lanes a beat.

    One of the two divides the other; the narrow side carries a beat in every cycle.
    """

    kind: ClassVar[str] = "width_converter"

    name: str
    elements: int
    input_lanes: int
    output_lanes: int
    bits: int

    def __post_init__(self) -> None:
        wide = max(self.input_lanes, self.output_lanes)
        assert wide % min(self.input_lanes, self.output_lanes) == 0, self
        assert self.elements % wide == 0, self

    @property
    def inputs(self) -> Mapping[str, Stream]:
        return {"in": Stream(self.elements, self.input_lanes, self.bits)}

    @property
    def outputs(self) -> Mapping[str, Stream]:
        return {"out": Stream(self.elements, self.output_lanes, self.bits)}

    @property
    def cycles(self) -> int:
        return self.elements // min(self.input_lanes, self.output_lanes)

    def execute(self, *inputs: Ints) -> tuple[Ints, ...]:
        return inputs

    def instance(self) -> Instance:
        parameters = {
            "Bits": self.bits,
            "InputLanes": self.input_lanes,
            "OutputLanes": self.output_lanes,
        }
        return Instance("stream_width_converter", parameters)

    def kernel(self) -> Kernel:
        return Kernel(
            "width_converter",
            {
                "Elements": self.elements,
                "InputLanes": self.input_lanes,
                "OutputLanes": self.output_lanes,
                "Bits": self.bits,
            },
            {},
        )

    def schedule(self) -> Schedule:
        ratio = max(self.input_lanes, self.output_lanes) // min(self.input_lanes, self.output_lanes)
        take, give = {"in": 1}, {"out": 1}
        if ratio == 1:
            phases: tuple[Phase, ...] = (Phase(1, take, give),)
        elif self.input_lanes < self.output_lanes:
            phases = (Phase(ratio - 1, take), Phase(1, take, give))
        else:
            phases = (Phase(1, take, give), Phase(ratio - 1, gives=give))
        return Schedule((Process(phases, int(ratio > 1)),))

    def inventory(self) -> Inventory:
        """One register of the wide side, and the counter.

        To narrow, a choice (shift or load) for each bit of all beats but one, and the control; to
        widen, the control alone. Fitted to Yosys counts: within 3 LUTs and exact in FF over the 5
        layers of tests/benchmarks/fit_estimates.py.
        """
        wide = max(self.input_lanes, self.output_lanes) * self.bits
        narrow = min(self.input_lanes, self.output_lanes) * self.bits
        if wide == narrow:
            return ()
        narrows, steps = self.input_lanes > self.output_lanes, (wide // narrow - 1).bit_length()
        control = steps * (1 + narrows) + 5
        return (
            Registers(wide),
            Multiplexers(wide - narrow if narrows else 0),
            Logic("counter and control", control, (wide // narrow).bit_length()),
        )
