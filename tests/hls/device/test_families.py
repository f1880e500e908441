"""The families of FPGAs that are known, and one that only this test knows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hls.implement.yosys
from hls.dataflow import Dataflow, Edge, Port, Resources
from hls.device import DEVICES, Device, default_device, device_of, estimated_device, find_device
from hls.fifos.cost import fifo
from hls.implement.yosys import synthesize
from hls.inventory import (
    Adders,
    Comparators,
    Counters,
    Item,
    Logic,
    Maxima,
    Multiplexers,
    Multipliers,
    MultiplyAdds,
    Queue,
    Ram,
    Registers,
    Rom,
)
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding
from sira.errors import SiraError

SERIES_7, ULTRASCALE = "Xilinx 7 series", "Xilinx UltraScale+"
PARTS = [
    ("xc7z020clg400-1", SERIES_7),
    ("XC7A100T-1CSG324", SERIES_7),
    ("xa7s6cpga196-2I", SERIES_7),
    ("xczu7ev-ffvc1156-2-e", ULTRASCALE),
    ("xcvu9p-flga2104-2-i", ULTRASCALE),
    ("xcau25p-sfvb784-2-e", ULTRASCALE),
    ("xck26-sfvc784-2LV-c", ULTRASCALE),
    ("xcu250-figd2104-2L-e", ULTRASCALE),
]


@pytest.mark.parametrize("part, family", PARTS)
def test_family_of_a_part(part: str, family: str) -> None:
    assert device_of(part).family == family


@pytest.mark.parametrize("part", [part for part, _ in PARTS])
def test_no_two_families_claim_a_part(part: str) -> None:
    assert sum(bool(re.match(d.parts, part.lower())) for d in DEVICES.values()) == 1


@pytest.mark.parametrize("part", ["nobody-25f", "xcku040-ffva1156-2-e", "5csema5f31c6", ""])
def test_an_unknown_part(part: str) -> None:
    """The error names all families, however many there are."""
    with pytest.raises(SiraError, match="unknown FPGA family") as error:
        device_of(part)
    text = str(error.value)
    assert text.endswith("; change `--part`, or use `--synth none`")
    assert "a part of " in text and "Xilinx 7 series (xc7...)" in text
    assert all(f"{device.family} ({device.examples})" in text for device in DEVICES.values())
    assert find_device(part) is None
    assert estimated_device(part) is default_device()


@pytest.mark.parametrize("family, name", [(SERIES_7, "xc7"), (ULTRASCALE, "xcup")])
def test_the_script_of_a_family(family: str, name: str) -> None:
    """The cache of syntheses depends on every character."""
    script = hls.implement.yosys._script(["a.sv", "top.sv"], "top", DEVICES[family].synthesis)
    assert script == [
        "read_slang -j 1 --top top a.sv top.sv",
        "design -save read",
        "memory_collect",
        "write_json memories.json",
        "design -load read",
        f"synth_xilinx -family {name} -noiopad -noclkbuf -flatten -top top",
        "tee -q -o stat.json stat -json -tech xilinx",
        "tee -q -o depth.txt ltp -noff * t:FD* %d t:SRL* %d t:RAM* %d t:DSP* %d",
        "write_verilog -noattr netlist.v",
    ]


# What each item takes, from the shapes of LUTs (6 inputs, 64 bits), block RAMs (18 kbit, up to 36
# bits wide) and LUT RAMs (32 x 14 or 64 x 7 in eight).
ITEMS: list[tuple[Item, Resources]] = [
    (Adders(9, 3), Resources(lut=27)),
    (Comparators(6, 2), Resources(lut=8)),
    (Comparators(6, 2, 1), Resources(lut=6)),
    (Comparators(6, 2, 16), Resources(lut=12)),
    (Comparators(6, 2, 64), Resources(lut=2 * (4 + 6))),
    (Comparators(6, 2, 128), Resources(lut=2 * (4 + 12), ff=12)),
    (Comparators(18, 1, 1024), Resources(lut=12, bram18=1)),
    (Maxima(8, 2), Resources(lut=24)),
    (Multiplexers(5), Resources(lut=5)),
    (Multiplexers(5, 4), Resources(lut=5)),
    (Multiplexers(5, 5), Resources(lut=10)),
    (Multipliers(8, 8, 3), Resources(dsp=3)),
    (Multipliers(3, 3, 2), Resources(lut=24)),
    (MultiplyAdds(8, 6, 16, 2), Resources(lut=24, dsp=2)),
    (Rom(1, 500), Resources()),
    (Rom(64, 9), Resources(lut=9, ff=9)),
    (Rom(65, 9), Resources(lut=18, ff=9)),
    (Rom(1024, 18), Resources(bram18=1)),
    (Rom(1024, 18, distributed=True), Resources(lut=16 * 18, ff=18)),
    (Ram(32, 14), Resources(lut=8, ff=14)),
    (Ram(64, 7), Resources(lut=8, ff=7)),
    (Ram(512, 36), Resources(bram18=1)),
    (Ram(16384, 2), Resources(bram18=2)),
    (Ram(64, 15, distributed=True), Resources(lut=32)),
    (Queue(32, 14), Resources(lut=8 + 17, ff=14 + 17)),
    (Queue(1024, 18), Resources(lut=24, ff=32, bram18=1)),
    (Counters(10, 2), Resources(lut=20, ff=10)),
    (Registers(7), Resources(ff=7)),
    (Logic("control", 5, 2), Resources(lut=5, ff=2)),
]  # fmt: skip


@pytest.mark.parametrize("family", [SERIES_7, ULTRASCALE])
@pytest.mark.parametrize("item, resources", ITEMS)
def test_price_of_an_item(item: Item, resources: Resources, family: str) -> None:
    device = DEVICES[family]
    assert device.price((item,)) == device.cost(item) == resources


def test_a_price_is_the_sum_over_the_items() -> None:
    inventory = (Adders(9, 3), Rom(1024, 18), Registers(7), Multipliers(8, 8))
    assert default_device().price(inventory) == Resources(lut=27, ff=7, dsp=1, bram18=1)
    assert default_device().price(()) == Resources()


# ---- A family that is nowhere but here ---------------------------------------------------------


def toy_cost(item: Item) -> Resources:
    """Every flip-flop is free, every memory block RAM, and anything else a LUT."""
    match item:
        case Registers():
            return Resources()
        case Rom() | Ram() | Queue():
            return Resources(bram18=1)
        case _:
            return Resources(lut=1)


TOY = replace(
    default_device(),
    family="Toy",
    parts="toy-",
    examples="toy-...",
    cost=toy_cost,
    synthesis=replace(
        default_device().synthesis,
        command="synth -flatten",
        technology=None,
        path_ends=("$_*DFF*",),
        cells={r"\$_(AND|OR|NOT|XOR|NAND|NOR|XNOR|ANDNOT|ORNOT|MUX)_": Resources(lut=1),
               r"\$_.*DFF.*_": Resources(ff=1)},
        memory_luts={},
        memories="TOYRAM",
    ),
)  # fmt: skip


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setitem(DEVICES, TOY.family, TOY)
    return device_of("toy-1")


def test_a_family_of_ones_own_prices_a_design(toy: Device) -> None:
    weights = np.arange(-16, 16).reshape(4, 8)
    unit = MatrixVector("unit", weights, np.zeros(4, int), 3, 10, 2, 2)
    steps = Thresholding("steps", np.arange(1, 29).reshape(4, 7), [False], 4, 10, 2)
    ends = [("", "x", "unit", "in"), ("unit", "out", "steps", "in"), ("steps", "out", "", "y")]
    edges = tuple(Edge(Port(a, b), Port(c, d), 33) for a, b, c, d in ends)
    design = Dataflow("design", (unit, steps), edges)
    # weights, replay buffer and start values; sums, accumulators, control and that of the replay
    assert toy.price(unit.inventory()) == Resources(lut=4, bram18=3)
    assert toy.price(steps.inventory()) == Resources(lut=4)
    queues = [toy.price(fifo(design.stream(edge).width, edge.depth)) for edge in design.edges]
    assert queues == [Resources(bram18=1)] * 3


def test_a_family_of_ones_own_is_synthesised(toy: Device, tmp_path: Path) -> None:
    (tmp_path / "register.sv").write_text(
        "module register (input logic clk_i, input logic [3:0] a_i, b_i, output logic [3:0] y_o);\n"
        "  always_ff @(posedge clk_i) y_o <= a_i & b_i;\n"
        "endmodule\n"
    )
    result = synthesize(tmp_path, "register", "toy-1", tmp_path / "work")
    assert result.resources == Resources(lut=4, ff=4)
    assert result.carry == 0
