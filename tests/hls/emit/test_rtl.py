"""The emitted files: deterministic, checked, lint-clean, and read by three front-ends."""

import subprocess
import sys

import numpy as np
import pytest
from layer_examples import example_layers

from hls.dataflow import Instance, Memory
from hls.emit.rtl import LIBRARY, emit_rtl, identifiers, memory_text
from hls.layers.argmax import ArgMax
from hls.layers.concat import Concat
from hls.layers.depth_to_space import DepthToSpace
from hls.layers.depthwise_vector import DepthwiseVector
from hls.layers.elementwise import Elementwise
from hls.layers.fork import Fork
from hls.layers.global_pooling import GlobalPooling
from hls.layers.matrix_vector import MatrixVector
from hls.layers.pooling import Pooling
from hls.layers.slice import Slice
from hls.layers.sliding_window import SlidingWindow
from hls.layers.thresholding import Thresholding
from hls.layers.upsample import Upsample
from hls.layers.width_converter import WidthConverter
from hls.layers.zero_insertion import ZeroInsertion
from hls.simulate.verilator import SimulationError, lint


def layers():
    """Those named here, and of every other kind the first that its own test checks."""
    named = named_layers()
    kinds = {layer.kind for layer in named}
    return [*named, *(tested[0] for kind, tested in example_layers().items() if kind not in kinds)]


def named_layers():
    """All product variants, and names that are no identifiers."""
    generator = np.random.default_rng(0)
    starts = np.zeros(4, dtype=np.int64)

    def vector_unit(name, weights, input_bits, pe, simd):
        return MatrixVector(name, weights, starts, input_bits, 9, pe, simd)

    steps = np.sort(generator.integers(0, 65, (4, 6)), axis=1)
    bordered = MatrixVector(
        "borders", generator.integers(-8, 8, (4, 6)), np.zeros((6, 4)), 4, 9, 1, 3, 9,
        groups=2, row_classes=(0, 1, 2), column_classes=(0, 1, 1),
    )  # fmt: skip
    return [
        vector_unit("/model/fc.0/MatMul", generator.integers(-8, 8, (4, 6)), 4, 2, 3),
        vector_unit("module", generator.choice([-1, 1], (4, 6)), 1, 1, 6),
        vector_unit("Module", generator.integers(-1, 2, (4, 6)), 2, 4, 2),
        vector_unit("edge_0_fifo", generator.integers(-128, 128, (4, 6)), 1, 4, 6),
        MatrixVector("narrow sum", generator.integers(-128, 128, (4, 6)), starts, 4, 2, 2, 6),
        MatrixVector("one", np.array([[3]]), np.array([1]), 2, 4, 1, 1, levels_per_stage=3),
        bordered,
        DepthwiseVector("depthwise", generator.integers(-8, 8, (4, 9)), starts, 4, 9, 2, 3),
        DepthwiseVector("average", np.ones((4, 9)), np.zeros((2, 4)), 4, 9, 4, 3, (0,), (0, 1, 1)),
        GlobalPooling("global average", "sum", 6, 9, 3, 2),
        GlobalPooling("global maximum", "max", 2, 1, 3, 2),
        Thresholding("steps*/", steps, np.arange(4) < 2, 4, 6, 2),
        Thresholding("deep", np.sort(generator.integers(0, 512, (4, 99)), 1), [True], 4, 9, 1),
        WidthConverter("0", 12, 2, 6, 3),
        WidthConverter("narrow", 12, 6, 3, 3),
        WidthConverter("same", 12, 6, 6, 3),
        ArgMax("top\n1", np.array([1, 2, 3]), np.array([5, -2, 0]), 4, 3),
        ArgMax("plain", np.ones(10, dtype=int), np.zeros(10, dtype=int), 4, 1),
        Fork("fork", 6, 2, 3, 3),
        Elementwise("add", 4, 3, 4, 0, np.ones(1), np.ones(1), np.zeros(1), 5, 2),
        Elementwise("gate", 4, 3, 4, 5, np.arange(4), np.array([-99]), np.arange(4), 9, 2),
        Pooling("largest", "max", 4, 9, 3, 2, 4),
        Pooling("total", "sum", 4, 1, 3, 2, 4),
        Concat("concat", (2, 4, 2), (3, 9, 1), 2, 3),
        Slice("crop", (4, 5, 6), (1, 0, 2), (4, 5, 6), (1, 2, 1), 3, 2),
        SlidingWindow("window", (4, 5, 4), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1, 2, 3, 2),
        SlidingWindow("window 2", (5, 4, 2), (2, 2), (2, 2), (1, 1), (0, 1, 1, 0), 7, 1, 3, 1),
        ZeroInsertion("zero_insertion", (2, 3, 4), (1, 2), 5, 9, 4),
        Upsample("nearest", (2, 3, 4), (2, 3), 3, 2),
        DepthToSpace("dcr", (2, 3, 8), 2, "DCR", 3, 2),
        DepthToSpace("crd", (2, 3, 8), 2, "CRD", 3, 2),
    ]


@pytest.fixture(scope="module")
def emitted(tmp_path_factory, independent):
    """Folder and returned paths of a design with one layer of each kind."""
    folder = tmp_path_factory.mktemp("rtl")
    return folder, emit_rtl(independent(layers(), depth=3), folder)


def test_two_runs_give_the_same_bytes(emitted, independent, tmp_path):
    folder, paths = emitted
    again = emit_rtl(independent(layers(), depth=3), tmp_path)
    assert [path.name for path in again] == [path.name for path in paths]
    for first, second in zip(paths, again, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert sorted(folder.iterdir()) == sorted(paths)


def test_lint_is_clean(emitted):
    lint(emitted[0])


def test_lint_reports_warnings(tmp_path):
    (tmp_path / "bad.sv").write_text("module bad (input logic a, output logic [1:0] b);\n"
                                     "  assign b = a;\nendmodule\n")  # fmt: skip
    with pytest.raises(SimulationError, match="WIDTHEXPAND"):
        lint(tmp_path, "bad")


@pytest.mark.parametrize("reader", ["read_verilog -sv", "read_slang --top accelerator"])
def test_yosys_reads_it(emitted, reader):
    folder, paths = emitted
    sources = " ".join(path.name for path in paths if path.suffix == ".sv")
    script = f"{reader} {sources}; hierarchy -check -top accelerator; proc; check -assert"
    program = (
        "import sys; from pyosys import libyosys as ys; design = ys.Design()\n"
        "for command in sys.argv[1].split(';'): ys.run_pass(command.strip(), design)\n"
        "print('read to the end')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, script], cwd=folder, capture_output=True, text=True
    )
    assert "read to the end" in done.stdout, done.stdout[-1000:] + done.stderr[-1000:]


def test_every_library_file_is_used_by_some_layer(emitted):
    folder, paths = emitted
    names = identifiers([layer.name for layer in layers()]).values()
    printed = {"accelerator.sv", *(f"{name}.sv" for name in names)}
    library = {path.name for path in LIBRARY.glob("*.sv")}
    assert {path.name for path in paths if path.suffix == ".sv"} == library | printed
    assert not library & printed
    assert all((folder / name).read_bytes() == (LIBRARY / name).read_bytes() for name in library)


def test_identifiers():
    names = ["/model/fc.0", "model_fc_0", "module", "0", "s_axis_x", "Ünicode", "", "accelerator"]
    names += ["thresholding", "Stream FIFO"]  # the library's modules
    assert list(identifiers(names).values()) == [
        "model_fc_0",
        "model_fc_0_2",
        "module_2",
        "layer_0",
        "layer_s_axis_x",
        "nicode",
        "layer",
        "accelerator_2",
        "thresholding_2",
        "stream_fifo_2",
    ]


def test_memory_text():
    assert memory_text(Memory(6, (0x2A, 3))) == "2a\n03\n"
    with pytest.raises(AssertionError, match="too wide"):
        memory_text(Memory(4, (16,)))


def test_a_short_memory_is_refused():
    with pytest.raises(AssertionError, match=r"unit: memories .*'weights': \(1, 2\)"):
        Instance("unit", {}, {"weights": Memory(2, (1,))}, {"weights": (2, 2)})


def test_top_has_axi_streams_padded_to_bytes(chain, tmp_path):
    emit_rtl(chain([WidthConverter("wc", 6, 1, 3, 5)]), tmp_path)
    top = (tmp_path / "accelerator.sv").read_text()
    assert "input  logic [7:0] s_axis_tdata" in top
    assert "output logic [15:0] m_axis_tdata" in top


def test_a_layer_is_a_module_with_the_fifos_of_its_inputs(chain, tmp_path):
    """The top has the FIFO of its output alone."""
    layers = [WidthConverter("first", 6, 1, 3, 5), WidthConverter("second", 6, 3, 1, 5)]
    emit_rtl(chain(layers, depth=7), tmp_path)
    top, first, second = (
        (tmp_path / f"{name}.sv").read_text() for name in ("accelerator", "first", "second")
    )
    assert "first u_first (" in top and "second u_second (" in top
    for text, width in ((first, 5), (second, 15), (top, 5)):
        assert text.count("stream_fifo #(") == 1
        assert f".Width({width}),\n    .Depth(7)" in text
    assert "stream_width_converter #(" in first and "stream_width_converter #(" not in top
