"""Xilinx UltraScale+: Artix, Kintex, Virtex, Zynq, and the boards Kria and Alveo."""

from hls.device.base import Device, register
from hls.device.xilinx import cost, synthesis

register(
    Device(
        family="Xilinx UltraScale+",
        parts=r"x[aqc](zu|au|vu\d+p|ku\d+p|k\d|ck|u\d)",
        examples="xczu..., xcvu..p, xck...",
        cost=cost,
        synthesis=synthesis("xcup"),
    )
)
