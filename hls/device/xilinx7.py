"""Xilinx 7 series: Spartan-7, Artix-7, Kintex-7, Virtex-7, Zynq-7000."""

from hls.device.base import Device, register
from hls.device.xilinx import cost, synthesis

register(
    Device(
        family="Xilinx 7 series",
        parts=r"x[aqc]7",
        examples="xc7...",
        cost=cost,
        synthesis=synthesis("xc7"),
    )
)
