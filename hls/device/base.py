"""The record of a device family, and the table of those that are known."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hls.dataflow import Resources
from hls.inventory import Inventory, Item
from sira.errors import SiraError


@dataclass(frozen=True)
class Synthesis:
    """How Yosys synthesises for a family, and how its cells are counted.

    ``command`` lacks nothing but the top module. ``technology`` is that of Yosys' ``stat``, None
    where ``stat`` does not know the family. ``path_ends`` are patterns of the cells between which
    the longest path is sought. ``cells`` are the resources that each cell takes by the regular
    expression of its name, ``memory_luts`` the LUTs that a memory cell takes. A cell that matches
    ``memories`` must be one of the latter, and ``carries`` are the cells of carry chains.
    ``models`` is the file of simulation models among those that come with Yosys.
    """

    command: str
    technology: str | None
    path_ends: tuple[str, ...]
    cells: Mapping[str, Resources]
    memory_luts: Mapping[str, int]
    memories: str
    carries: str
    models: str


@dataclass(frozen=True)
class Device:
    """A family of FPGAs: its parts, what hardware costs on it, and how it is synthesised.

    ``parts`` is a regular expression that the beginning of a part's name in lower case matches,
    ``examples`` says the same to a user. ``cost`` are the resources of an item of an inventory.
    """

    family: str
    parts: str
    examples: str
    cost: Callable[[Item], Resources]
    synthesis: Synthesis

    def price(self, inventory: Inventory) -> Resources:
        """What all items take together."""
        return sum(map(self.cost, inventory), Resources())


DEVICES: dict[str, Device] = {}
"""The known families, by name."""


def register(device: Device) -> None:
    """Add a family to those that are found by part."""
    DEVICES[device.family] = device


def find_device(part: str) -> Device | None:
    """The family that a part belongs to, or None where it belongs to none that is known."""
    found = (device for device in DEVICES.values() if re.match(device.parts, part.lower()))
    return next(found, None)


def device_of(part: str) -> Device:
    """The family that a part belongs to; `SiraError` where it belongs to none that is known."""
    device = find_device(part)
    if device is None:
        known = sorted(f"{device.family} ({device.examples})" for device in DEVICES.values())
        raise SiraError(
            "unknown FPGA family",
            where=part,
            expected=f"a part of {' or '.join(known)}",
            remedy="change `--part`, or use `--synth none`",
        )
    return device


def default_device() -> Device:
    """The family whose prices are a measure of size where no known part is given."""
    return DEVICES["Xilinx 7 series"]


def estimated_device(part: str) -> Device:
    """The family whose prices estimate what hardware costs on a part: its own, or the default.

    So a design can be emitted for any part; only synthesis needs to know the family.
    """
    return find_device(part) or default_device()
