"""``sira-compile --analyze-only``: ranges in a table and in report.json, without hardware."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sira import graph as g
from sira.analysis import Ranges, analyze
from sira.datatypes import parse_inputs
from sira.driver_front import transform, write_stages
from sira.errors import SiraError
from sira.load import input_names, prepare, read
from sira.summary import mac_entries, tensor_entries


def analyze_only(arguments: argparse.Namespace) -> int:
    """Analyze the model, print the table, write report.json with ``layers`` and ``tensors``.

    Where the whole model can be written with integers, its stages and the certificate come too.
    """
    console = Console()
    if not console.is_terminal:  # a file or a pipe has room for long names
        console = Console(width=160)
    proto = read(arguments.model)
    inputs = parse_inputs(arguments.input, input_names(proto))
    model = prepare(proto, arguments.model)
    ranges: Ranges = analyze(model, inputs)
    spec = inputs.get(g.name(model.graph.inputs[0]))
    report: dict[str, Any] = {
        "model": Path(arguments.model).name,
        "layers": mac_entries(model, ranges, spec),
        "tensors": tensor_entries(model, ranges),
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    try:
        front = transform(proto, inputs, arguments.model)
        report["totals"] = {"constant_channels": front.constant_channels}
        write_stages(front, arguments.output)
        stages = f"stages and certificate: {arguments.output}"
    except SiraError as error:
        stages = f"no integer stages: {error}"
    path = arguments.output / "report.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    console.print(_tensors(report["tensors"]))
    console.print(_layers(report["layers"]))
    console.print(stages, soft_wrap=True, highlight=False, markup=False)
    console.print(f"report: {path}", soft_wrap=True, highlight=False)
    return 0


def _tensors(tensors: list[dict[str, Any]]) -> Table:
    table = Table("tensor", "shape", "integers", "bits", "scale", "why not integer", box=None)
    for t in tensors:
        integers = f"{t['lo']}..{t['hi']}" if t["integer"] else ""
        bits = "" if t["bits"] is None else str(t["bits"])
        shape = "x".join(map(str, t["shape"]))
        table.add_row(t["name"], shape, integers, bits, _scale(t["scale"]), t.get("reason", ""))
    return table


def _scale(scale: float | list[float] | None) -> str:
    if scale is None:
        return ""
    return f"{min(scale):.4g}..{max(scale):.4g}" if isinstance(scale, list) else f"{scale:.6g}"


def _layers(layers: list[dict[str, Any]]) -> Table:
    table = Table(
        "layer", "K x N", "accumulator", "window", "two's complement", "weights x datatype",
        "datatype", box=None,
    )  # fmt: skip
    for entry in layers:
        a = entry["accumulator"]
        if a is None:
            table.add_row(entry["name"], "", "no integers")
            continue
        table.add_row(
            entry["name"],
            f"{entry['k']} x {entry['n']}",
            f"{a['lo']}..{a['hi']}",
            str(max(a["bits_window"])),
            str(max(a["bits_twos_complement"])),
            str(a["bits_weights_datatype"]),
            str(a["bits_datatype"]),
        )
    return table
