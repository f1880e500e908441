"""Accumulator bits of every layer, by four bounds and as measured for the SIRA reference.

Run ``SIRA_MODELS=folder python tests/benchmarks/widths.py``; prints Markdown. The reference's
figures are those of its published implementation on the same files, measured once; it stopped
before it could tell those of most MobileNet layers.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from statistics import mean

from sira.analysis.ranges import analyze
from sira.analysis.summary import mac_entries
from sira.datatypes import InputSpec, parse_input
from sira.load import load

_MEAN = ("0.485", "0.456", "0.406")
_UINT8 = "UINT8,scale=1/255"

MODELS: dict[str, tuple[str, list[int | None]]] = {
    "TFC_1W1A": (_UINT8, [None] * 4),
    "TFC_2W2A": (_UINT8, [10, 7, 7, 7]),
    "CNV_w2a2": (_UINT8, [13, 10, 10, 11, 11, 12, 9, 10, 10]),
    "RN8_w3a3": (_UINT8, [17, 10, 10, 10, 11, 8, 11, 11, 9, 20]),
    "MNv1_w4a4": ("UINT8,scale=100/5763", [19, *[None] * 25, 15, 13]),
}


def spec_of(model: str) -> InputSpec:
    """What the host sends; MobileNet takes (x / 255 - mean) / 0.226 of each channel."""

    _, spec = parse_input(MODELS[model][0], [])
    if model != "MNv1_w4a4":
        return spec
    bias = tuple(-Fraction(m) / Fraction("0.226") for m in _MEAN)
    return InputSpec(spec.datatype, spec.scale, bias)


def main() -> None:
    folder = Path(os.environ["SIRA_MODELS"])
    print(
        "| model | layer | K x N | A2Q | full | SIRA | two's complement | window | window, mean |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, (_, reference) in MODELS.items():
        model = load(folder / f"{name}.onnx")
        spec = spec_of(name)
        ranges = analyze(model, {str(model.graph.inputs[0].name): spec})
        entries = mac_entries(model, ranges, spec)
        for i, (entry, sira_bits) in enumerate(zip(entries, reference, strict=True)):
            a = entry.accumulator
            cells = [
                name if i == 0 else "",
                entry.name.removeprefix("/").removesuffix("/Conv"),
                f"{entry.k} x {entry.n}",
                a.bits_datatype,
                a.bits_weights_datatype,
                "" if sira_bits is None else sira_bits,
                max(a.bits_twos_complement),
                max(a.bits_window),
                f"{mean(a.bits_window):.1f}",
            ]
            print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
