"""The report's figures against arithmetic of the test's own, and what people read of them."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, log2
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import astuple
from onnx_models import Net, integers

from hls.dataflow import Ints, Resources
from hls.device import default_device
from hls.emit.vivado import TclCheck
from hls.fifos.sizing import size_fifos
from hls.implement.yosys import DesignSynthesis, SynthesisResult
from hls.layers.matrix_vector import MatrixVector
from hls.layers.thresholding import Thresholding
from hls.lower.lower import Lowered
from hls.report.data import fifo_reports, layer_reports, tcl_report, totals
from hls.report.markdown import markdown
from sira.analysis.summary import tensor_entries
from sira.driver.hardware import build_dataflow, recorded
from sira.driver.options import Options
from sira.model_file import read
from sira.schema.report import SCHEMA_VERSION, Report, VivadoEntry
from transforms.stages import Stages, transform

MODELS = Path(__file__).parents[2] / "models"
RNG = np.random.default_rng(4)
DEVICE = default_device()
NAMES = ("digits_mlp_w2a2", "digits_mlp_w1a1", "digits_mlp_w4a4")


@pytest.fixture(scope="module", params=NAMES)
def front(request: pytest.FixtureRequest) -> Stages:
    return transform(read(MODELS / f"{request.param}.onnx"), {}, request.param)


def signed_bits(lo: int, hi: int) -> int:
    return next(b for b in range(1, 64) if -(2 ** (b - 1)) <= lo and hi < 2 ** (b - 1))


def window_bits(lo: int, hi: int) -> int:
    return next(b for b in range(64) if hi - lo < 2**b)


def reachable(lowered: Lowered) -> dict[str, tuple[Ints, Ints]]:
    """Smallest and largest sum of every matrix-vector layer, per channel, without wrapping."""
    top = 2 ** lowered.dataflow.inputs["in"].bits - 1
    elements = lowered.dataflow.inputs["in"].elements
    low, high = np.zeros(elements, np.int64), np.full(elements, top)
    found = {}
    for layer in lowered.dataflow.layers:
        match layer:
            case MatrixVector():
                products = np.stack([layer.weights * low, layer.weights * high])
                low = layer.start + products.min(axis=0).sum(axis=1)
                high = layer.start + products.max(axis=0).sum(axis=1)
                found[layer.name] = (low, high)
            case Thresholding():
                turned = 2**layer.input_bits - 1
                ends = np.stack([np.where(layer.falling, turned - u, u) for u in (low, high)])[
                    :, :, None
                ]
                counts = (ends >= layer.thresholds).sum(axis=2)
                low, high = counts.min(axis=0), counts.max(axis=0)
    return found


def test_accumulators_against_extremes_of_the_counts(front: Stages) -> None:
    lowered = build_dataflow(front, Options())
    entries = layer_reports(lowered, front.integer.ranges, front.bounds, {}, DEVICE)
    assert [e.name for e in entries] == [layer.name for layer in lowered.dataflow.layers]
    extremes = reachable(lowered)
    assert len(extremes) == 3
    for entry in entries:
        if (a := entry.accumulator) is None:
            continue
        low, high = extremes[entry.name]
        assert (low == 0).all()  # counts start at the channel's own minimum
        spans, los = high.tolist(), a.offset
        his = [lo + span for lo, span in zip(los, spans, strict=True)]
        assert entry.n == len(los)
        assert (a.lo, a.hi) == (min(los), max(his))
        assert a.bits_window == [window_bits(0, span) for span in spans]
        pairs = list(zip(los, his, strict=True))
        assert a.bits_twos_complement == [signed_bits(*pair) for pair in pairs]
        assert a.bits == max(a.bits_window)
        assert max(a.bits_window) <= max(a.bits_twos_complement)
        assert max(a.bits_twos_complement) <= a.bits_weights_datatype <= a.bits_datatype


@pytest.mark.parametrize("bias", [0, Fraction(7, 4)])
@pytest.mark.parametrize("zero", [False, True])
def test_accumulators_of_convolutions(bias: Fraction, zero: bool) -> None:
    """Bounds of a channel are those of all its positions, as the register holds them."""
    net = Net((1, 2, 4, 4))
    kernel = np.zeros((3, 2, 3, 3)) if zero else RNG.integers(-7, 8, (3, 2, 3, 3)) * 0.25
    net.quant(net.node("Conv", "x", net.quant(kernel, 0.25), pads=[1] * 4), 1.5)
    front = transform(net.proto(), {"x": integers(-3, 4, 0.5, bias)}, "net")
    lowered = build_dataflow(front, Options())
    entries = layer_reports(lowered, front.integer.ranges, front.bounds, {}, DEVICE)
    found = [entry for entry in entries if entry.accumulator]
    (mac,) = (la for la in lowered.dataflow.layers if isinstance(la, MatrixVector))
    tops = 7 * np.maximum(mac.weights, 0).sum(axis=1) + np.atleast_2d(mac.start).max(axis=0)
    assert [entry.name for entry in found] == [mac.name]
    (a,) = (entry.accumulator for entry in found)
    assert a.bits == mac.accumulator_bits == max(1, *a.bits_window)
    spans = [b.bit_length() for b in tops.tolist()]  # of all taps: an upper bound at a border
    assert all(window <= span for window, span in zip(a.bits_window, spans, strict=True))
    assert zero or bias or a.bits_window == spans


@pytest.mark.parametrize("name, weight_bits, input_bits, signed", [
    ("digits_mlp_w2a2", [2, 2, 2], [4, 2, 2], [0, 1, 1]),
    ("digits_mlp_w1a1", [1, 1, 1], [1, 1, 1], [1, 1, 1]),
    ("digits_mlp_w4a4", [4, 4, 4], [4, 4, 4], [0, 0, 0]),
])  # fmt: skip
def test_datatype_bound_is_that_of_a2q(
    name: str, weight_bits: list[int], input_bits: list[int], signed: list[int]
) -> None:
    front = transform(read(MODELS / f"{name}.onnx"), {}, name)
    lowered = build_dataflow(front, Options())
    entries = layer_reports(lowered, front.integer.ranges, front.bounds, {}, DEVICE)
    found = [entry for entry in entries if entry.kind == "matrix_vector"]
    assert [entry.weight_bits for entry in found] == weight_bits
    for entry, w, n, s in zip(found, weight_bits, input_bits, signed, strict=True):
        alpha = log2(entry.k) + w + n - 1 - s
        assert entry.accumulator.bits_datatype == ceil(alpha + log2(1 + 2**-alpha) + 1)


def test_tensors_hold_integers_or_a_reason(front: Stages) -> None:
    entries = tensor_entries(front.loaded.model, front.loaded.ranges)
    assert len({entry.name for entry in entries}) == len(entries)
    assert sum(entry.integer for entry in entries) >= 6
    for entry in entries:
        if entry.integer:
            assert entry.bits <= window_bits(entry.lo, entry.hi)
            assert np.all(np.asarray(entry.scale) > 0)
        else:
            assert entry.reason
            assert entry.scale is None


def report(front: Stages, synthesis: bool) -> Report:
    lowered = build_dataflow(front, Options())

    def result(number: int) -> SynthesisResult:
        resources = Resources(100 + number, 50 + number, number, 1)
        return SynthesisResult(resources, 0, 0, 7, "yosys", Path(), {})

    layers = lowered.dataflow.layers
    results = {la.name: result(i) for i, la in enumerate(layers)} if synthesis else {}
    found = DesignSynthesis(results, result(700), result(900)) if synthesis else None
    entries = layer_reports(lowered, front.integer.ranges, front.bounds, results, DEVICE)
    sizing = size_fifos(lowered.dataflow)
    sums = totals(sizing, entries, found, {}, DEVICE)
    fifos = fifo_reports(sizing)
    assert len(fifos) == len(lowered.dataflow.edges)
    assert sums.fifo_bits == sum(f.depth * f.width for f in fifos) > 0
    assert sums.cycles_predicted == sums.cycles
    return Report(
        schema_version=SCHEMA_VERSION,
        model="a model",
        layers=entries,
        tensors=tensor_entries(front.loaded.model, front.loaded.ranges),
        totals=sums,
        fifos=fifos,
        verification=None,
        vivado=VivadoEntry(False, tcl_report({"a.tcl": TclCheck(ran=False)})),
        seconds={},
        versions={},
        options=recorded(Options(), lowered.dataflow),
    )


def rows(text: str, start: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(f"| {start} ")
    ]


def test_totals_are_sums(front: Stages) -> None:
    made = report(front, synthesis=True)
    t = made.totals
    count = len(made.layers)
    summed = t.resources.synthesis_sum_of_layers
    assert summed.lut == 100 * count + count * (count - 1) // 2
    assert summed.bram18 == count
    assert t.resources.synthesis_fifos.lut == 800
    assert t.resources.synthesis_sum.lut == summed.lut + 800
    assert t.resources.synthesis_whole_design.lut == 1000
    for kind in ("lut", "ff", "dsp", "bram18"):
        estimates = [getattr(entry.resources.estimate, kind) for entry in made.layers]
        assert getattr(t.resources.estimate, kind) == sum(estimates)
    assert t.resources.estimate_fifos.ff == sum(2 * fifo.width + 2 for fifo in made.fifos)
    accumulators = [e.accumulator for e in made.layers if e.accumulator]
    assert t.accumulator_bits_window == sum(sum(a.bits_window) for a in accumulators)
    assert t.accumulator_bits == sum(a.bits * len(a.offset) for a in accumulators)
    assert t.cycles == max(entry.cycles for entry in made.layers)


def test_markdown_shows_every_layer_and_tensor(front: Stages) -> None:
    made = report(front, synthesis=True)
    text = markdown(made)
    assert text.startswith("# a model\n")
    assert "**not verified**" in text
    assert "`a.tcl` not run" in text
    assert "were not run with the vendor's tools" in text
    for entry in made.layers:
        table, resources = rows(text, f"`{entry.name}`")[:2]
        assert table[-1] == str(entry.cycles)
        if entry.accumulator:
            assert table[6] == str(entry.accumulator.bits)
        synthesis = entry.resources.synthesis
        assert resources[5:] == [str(v) for v in astuple(synthesis) if v != "yosys"]
    for tensor in made.tensors:
        assert rows(text, f"`{tensor.name}`"), tensor.name
    fifos, summed, whole = (
        rows(text, name)[0] for name in ("FIFOs", "layers and FIFOs", "in one piece")
    )
    assert (fifos[5], whole[5]) == ("800", "1000")
    assert summed[5] == str(made.totals.resources.synthesis_sum.lut)
    assert "of every layer alone and of all FIFOs, and the sum of both" in text


def test_markdown_leaves_out_what_was_not_synthesised(front: Stages) -> None:
    text = markdown(report(front, synthesis=False))
    (layers,), (fifos,) = rows(text, "sum of layers"), rows(text, "FIFOs")
    (summed,) = rows(text, "layers and FIFOs")
    assert [int(n) for n in summed[1:5]] == [
        int(a) + int(b) for a, b in zip(layers[1:5], fifos[1:5], strict=True)
    ]
    assert summed[5:] == layers[5:] == fifos[5:] == [""] * 5
    assert not rows(text, "in one piece")
