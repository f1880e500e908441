"""The report as Markdown, for people."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from sira.schema.report import Cost, LayerEntry, Numbers, Report, TensorEntry, VerificationEntry


def _simulated_cycles(verification: VerificationEntry | None) -> str:
    """Of one sample there is the latency alone."""
    if verification is None or not verification.cycles_first:
        return ""
    each, first = verification.cycles_per_sample, verification.cycles_first
    steady = "" if each is None else f"{each:g} cycles a frame, "
    speed = f"{verification.samples_per_second:.3g} frames a second of simulation"
    return f"; simulated: {steady}{first} to the first output, at {speed}"


def markdown(report: Report) -> str:
    """The report for people."""
    lines = [f"# {report.model}", ""]
    t, v = report.totals, report.verification
    saved = t.accumulator_bits_weights_datatype - t.accumulator_bits_window
    lines += [
        f"- {t.cycles_predicted:g} cycles a frame, {t.cycles_first_predicted} to the first "
        f"output, as the layers' schedules predict; slowest layer: `{t.bottleneck}`"
        + _simulated_cycles(v),
        f"- FIFOs: {t.fifo_bits} bits; {t.deadlock}",
        f"- accumulators: {t.accumulator_bits_window} bits over all channels, "
        f"{t.accumulator_bits} as built, {t.accumulator_bits_weights_datatype} from exact "
        f"weights and datatypes ({saved} saved), {t.accumulator_bits_datatype} from datatypes",
    ]
    if t.constant_channels:
        found = (f"{len(c)} of `{name}`" for name, c in t.constant_channels.items())
        lines.append(f"- channels removed as constant or unread: {', '.join(found)}")
    if v is None:
        lines.append("- **not verified**: co-simulation was skipped")
    else:
        lines.append(
            f"- verified with {v.tool} on {v.samples} samples: {v.mismatches} mismatches, "
            f"{v.oracle_mismatches} oracle mismatches, {v.thresholds_checked} thresholds "
            f"checked, float32 agrees on {v.float32_agree} samples and ties on "
            f"{v.float32_ties}"
        )
        if v.accuracy is not None and v.accuracy_original is not None:
            lines.append(
                f"- accuracy {100 * v.accuracy:.2f} %, of the original model "
                f"{100 * v.accuracy_original:.2f} %"
            )
    lines += ["", "## Layers", "", _layer_table(report.layers), "", "## Resources", ""]
    lines += [_resource_table(report), "", "## Tensors", "", _tensor_table(report.tensors), ""]
    lines += [
        "Estimates come from formulas fitted to yosys; synthesis figures are yosys counts, not "
        "Vivado's, of every layer alone and of all FIFOs, and the sum of both; a small design was "
        "synthesised in one piece, too. The scripts in `vivado/` were not run with the vendor's "
        "tools; the check of their syntax and call order with stand-in commands: "
        + ", ".join(f"`{script}` {found.check}" for script, found in report.vivado.scripts.items())
        + ".",
        "",
    ]
    return "\n".join(lines)


def _table(header: list[str], rows: list[list[Any]]) -> str:
    def line(cells: list[Any]) -> str:
        return "| " + " | ".join("" if c is None else str(c) for c in cells) + " |"

    return "\n".join([line(header), "|" + "---|" * len(header), *(line(row) for row in rows)])


def _layer_table(layers: list[LayerEntry]) -> str:
    rows = []
    for entry in layers:
        a = entry.accumulator
        rows.append(
            [
                f"`{entry.name}`",
                entry.kind,
                f"{entry.k} x {entry.n}" if entry.k else entry.n,
                entry.weight_bits,
                f"{entry.input.lo}..{entry.input.hi}",
                f"{a.lo}..{a.hi}" if a else None,
                a.bits if a else None,
                max(a.bits_window) if a else None,
                max(a.bits_twos_complement) if a else None,
                a.bits_weights_datatype if a else None,
                a.bits_datatype if a else None,
                ", ".join(f"{k} {v}" for k, v in entry.folding.items() if v),
                entry.cycles,
            ]
        )
    header = [
        "layer",
        "kind",
        "K x N",
        "weight bits",
        "input",
        "accumulator",
        "register",
        "window",
        "two's complement",
        "weights x datatype",
        "datatype",
        "folding",
        "cycles",
    ]
    return _table(header, rows)


def _resource_table(report: Report) -> str:
    rows = []
    for entry in report.layers:
        estimate, synthesis = entry.resources.estimate, entry.resources.synthesis
        depth = None if synthesis is None else synthesis.logic_depth
        rows.append([f"`{entry.name}`", *_costs(estimate), *_costs(synthesis), depth])
    total = report.totals.resources
    layers, fifos, whole = total.estimate, total.estimate_fifos, total.synthesis_whole_design
    both = [a + b for a, b in zip(_counts(layers), _counts(fifos), strict=True)]
    depth = None if total.synthesis_fifos is None else total.synthesis_fifos.logic_depth
    rows += [
        ["sum of layers", *_costs(layers), *_costs(total.synthesis_sum_of_layers), None],
        ["FIFOs", *_costs(fifos), *_costs(total.synthesis_fifos), depth],
        ["layers and FIFOs", *both, *_costs(total.synthesis_sum), None],
    ]
    if whole is not None:
        rows.append(["in one piece", *_costs(None), *_costs(whole), whole.logic_depth])
    header = [
        "layer",
        "LUT est.",
        "FF est.",
        "DSP est.",
        "BRAM18 est.",
        "LUT",
        "FF",
        "DSP",
        "BRAM18",
        "logic depth",
    ]
    return _table(header, rows)


def _counts(cost: Cost) -> list[int]:
    return [cost.lut, cost.ff, cost.dsp, cost.bram18]


def _costs(cost: Cost | None) -> list[int] | list[None]:
    """The cells of a cost, empty where there is none."""
    return [None] * 4 if cost is None else _counts(cost)


def _tensor_table(tensors: list[TensorEntry]) -> str:
    rows = [
        [
            f"`{t.name}`",
            "x".join(map(str, t.shape)),
            f"{t.lo}..{t.hi}" if t.integer else None,
            t.bits,
            _numbers(t.scale),
            _numbers(t.bias),
            None if t.reason is UNSET else t.reason,
        ]
        for t in tensors
    ]
    return _table(["tensor", "shape", "integers", "bits", "scale", "bias", "why not integer"], rows)


def _numbers(value: Numbers | None) -> str | None:
    if isinstance(value, list):
        return f"{min(value):.6g}..{max(value):.6g}"
    return None if value is None else f"{value:.6g}"
