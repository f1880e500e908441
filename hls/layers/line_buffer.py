"""What the layers around `line_buffer.sv` share: its writer and its cost."""

from __future__ import annotations

from hls.dataflow import Resources
from hls.schedule import Phase, Process


def writing(pixel_beats: int) -> Process:
    """The writer: a pixel claims room (``free``) with its first beat, is ``filled`` by its last."""
    claim, fill = {"in": 1, "free": 1}, {"filled": 1}
    if pixel_beats == 1:
        return Process((Phase(1, claim, fill),))
    return Process((Phase(1, claim), Phase(pixel_beats - 2, {"in": 1}), Phase(1, {"in": 1}, fill)))


def line_buffer_cost(words: int, bits: int) -> Resources:
    """The memory as LUTRAM or block RAM, a register of its word, addresses and counts."""
    shapes = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
    blocks = min(-(-bits // width) * -(-words // depth) for width, depth in shapes)
    lut = 8 * -(-bits // 14) * -(-words // 32)
    if lut > 64 * blocks:
        return Resources(lut=60, ff=40, bram18=blocks)
    return Resources(lut=lut + 60, ff=bits + 40)
