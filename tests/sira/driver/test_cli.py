"""The command lines: what they print, their exit status, and what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import Net

import sira
from sira.driver.cli import main, verify_main

MODELS = Path(__file__).parents[2] / "models"
DIGITS = MODELS / "digits_mlp_w2a2.onnx"


def dense(net: Net, x: str, k: int, n: int) -> str:
    weights = np.random.default_rng(0).normal(size=(k, n))
    return net.node("MatMul", x, net.quant(weights, 0.1, 4))


def saved(net: Net | onnx.ModelProto, path: Path) -> Path:
    onnx.save(net.proto() if isinstance(net, Net) else net, str(path))
    return path


def layer(shape: tuple[int | str, ...] = (1, 8), quantized: bool = True) -> Net:
    """One dense layer, ``MatMul_2`` (``MatMul_1`` where the input is not quantized)."""
    net = Net(shape)
    dense(net, net.quant("x", 0.1, 4) if quantized else "x", 8, 4)
    return net


@pytest.fixture
def fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Run sira-compile, which must exit with status 2, leave nothing behind and print one line."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        status = main([*map(str, arguments), "-o", "out/build"])
        captured = capsys.readouterr()
        assert status == 2
        assert captured.out == ""
        assert sorted(tmp_path.rglob("*")) == before
        line, end = captured.err.split("\n")
        assert end == ""
        return line

    return run


def test_missing_file(fails: Callable[..., str]) -> None:
    assert fails("none.onnx") == "error: none.onnx: no such file; check the path of the model"


@pytest.mark.parametrize("contents", [b"hello", bytes(range(256)), DIGITS.read_bytes()[:5000]])
def test_what_is_not_onnx_or_truncated(
    fails: Callable[..., str], tmp_path: Path, contents: bytes
) -> None:
    (tmp_path / "bad.onnx").write_bytes(contents)
    assert fails("bad.onnx") == (
        "error: bad.onnx: cannot be read as ONNX, expected a complete .onnx file, found "
        f"{len(contents)} bytes that do not parse (DecodeError); export the model again"
    )


def test_file_that_may_not_be_read(
    fails: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "secret.onnx").write_bytes(DIGITS.read_bytes())
    monkeypatch.setattr(Path, "open", refused)
    line = fails("secret.onnx")
    assert line == "error: secret.onnx: cannot be opened, found Permission denied"


def test_empty_file(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    assert fails("empty.onnx") == (
        "error: empty.onnx: not an ONNX model, or one without nodes, expected a graph of nodes, "
        "found 0 bytes without any node; export the model again"
    )


def test_float_model(fails: Callable[..., str], tmp_path: Path) -> None:
    net = Net((1, 8))
    net.node("Relu", net.node("MatMul", "x", np.ones((8, 4), np.float32)))
    assert fails(saved(net, tmp_path / "float.onnx")) == (
        "error: float.onnx: the model has no quantizers, expected Quant, BipolarQuant, "
        "QuantizeLinear or MultiThreshold nodes, found MatMul, Relu; quantize the model first, "
        "for example with Brevitas"
    )


def test_unsupported_operator(fails: Callable[..., str], tmp_path: Path) -> None:
    net = layer()
    net.quant(net.node("Det", net.nodes[-1].output[0]), 0.1, 2)
    line = fails(saved(net, tmp_path / "det.onnx"))
    assert line.startswith("error: node Det_3: operator Det is not supported, expected one of ")
    assert line.endswith("found Det; rewrite the model without it, or cut the model in front of it")


def test_float_weights(fails: Callable[..., str], tmp_path: Path) -> None:
    net = layer()
    net.node(
        "MatMul",
        net.nodes[-1].output[0],
        net.constant(np.full((4, 2), 0.3) ** [[1], [2], [3], [4]], "plain"),
    )
    assert fails(saved(net, tmp_path / "half.onnx")) == (
        "error: MatMul MatMul_3: the weights are not quantized, expected integer weights and "
        "integer inputs with a scale, found floating point in plain; quantize it, or cut the model "
        "in front of this layer"
    )


def test_nan_weights(fails: Callable[..., str], tmp_path: Path) -> None:
    net = Net((1, 8))
    weights = np.ones((8, 4))
    weights[1, 1] = np.nan
    net.node("MatMul", net.quant("x", 0.1, 4), net.quant(net.constant(weights, "w"), 0.1, 4))
    assert fails(saved(net, tmp_path / "nan.onnx")) == (
        "error: initializer w of node Quant_1: a constant holds NaN or infinity, expected finite "
        "numbers, found 1 of 32 not finite; train or export the model again"
    )


def test_dynamic_batch(fails: Callable[..., str], tmp_path: Path) -> None:
    assert fails(saved(layer(("batch", 8)), tmp_path / "dynamic.onnx")) == (
        "error: input x: the input shape must be static, expected a fixed size for every "
        "dimension, batch size 1, found ['batch', 8]; export the model with batch size 1 and "
        "without dynamic axes"
    )


def test_batch_of_four(fails: Callable[..., str], tmp_path: Path) -> None:
    assert fails(saved(layer((4, 8)), tmp_path / "four.onnx")) == (
        "error: input x: the batch size must be 1, expected 1, found 4; "
        "export the model with batch size 1"
    )


def test_two_inputs(fails: Callable[..., str], tmp_path: Path) -> None:
    model = layer().proto()
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 4)))
    model.graph.node.append(helper.make_node("Add", [model.graph.node[-1].output[0], "z"], ["s"]))
    assert fails(saved(model, tmp_path / "two.onnx")) == (
        "error: two.onnx: the model must have one input, expected one graph input that is not an "
        "initializer, found x, z; make the others initializers, or cut the model"
    )


def test_a_resized_image_has_no_hardware(fails: Callable[..., str], tmp_path: Path) -> None:
    net = Net((1, 1, 4, 4))
    image = net.quant("x", 0.1, 4)
    larger = net.node("Resize", image, None, np.array([1, 1, 1.5, 1.5], np.float32), mode="nearest")
    net.node("Conv", larger, net.quant(np.ones((2, 1, 3, 3)), 0.1, 4), kernel_shape=[3, 3])
    line = fails(saved(net, tmp_path / "resized.onnx"))
    assert line.startswith("error: Resize Resize_1, Conv Conv_3: no hardware for these operators")


def test_undeclared_input(fails: Callable[..., str], tmp_path: Path) -> None:
    assert fails(saved(layer(quantized=False), tmp_path / "undeclared.onnx")) == (
        "error: input x: the model neither quantizes nor annotates its input, expected a quantizer "
        "behind it, or a declaration of what the host sends; declare it, for example with "
        "--input x=UINT8,scale=1/255"
    )


@pytest.mark.parametrize("text, reason", [
    ("UINT99", "not a datatype, expected UINT<n>, INT<n>, BINARY, BIPOLAR, TERNARY or FIXED<n,m> "
     "of up to 32 bits, found 'UINT99'"),
    ("y=UINT8", "cannot be read, expected [NAME=]DTYPE[,scale=S][,bias=B], for example "
     "UINT8,scale=1/255, found 'y=UINT8'; the graph's inputs are x"),
    ("UINT8,gain=2", "cannot be read, expected [NAME=]DTYPE[,scale=S][,bias=B], for example "
     "UINT8,scale=1/255, found 'UINT8,gain=2'; the graph's inputs are x"),
    ("UINT8,scale=q", "not a number, expected a decimal number or a fraction, found 'q'"),
    ("UINT8,scale=1/0", "not a number, expected a decimal number or a fraction, found '1/0'"),
    ("UINT8,scale=0", "the scale must be positive, found 0"),
    ("UINT8,scale=@no.json", "no.json: cannot be read as JSON, found [Errno 2] No such file or "
     "directory: 'no.json'"),
])  # fmt: skip
def test_bad_input_declaration(
    fails: Callable[..., str], tmp_path: Path, text: str, reason: str
) -> None:
    model = saved(layer(quantized=False), tmp_path / "model.onnx")
    assert fails(model, "--input", text) == f"error: --input {text}: {reason}"


def test_an_input_declared_twice(fails: Callable[..., str], tmp_path: Path) -> None:
    model = saved(layer(quantized=False), tmp_path / "model.onnx")
    line = fails(model, "--input", "UINT8", "--input", "x=UINT4")
    assert line == "error: --input x=UINT4: declared twice, found x"


@pytest.mark.parametrize("contents, reason", [
    ('{"MatMul_2": {"pe": 3}}', "of MatMul_2: illegal folding, expected pe to divide 4, found "
     "pe=3; choose one of 1, 2, 4"),
    ('{"MatMul_2": {"simd": 0}}', "of MatMul_2: illegal folding, expected simd to divide 8, found "
     "simd=0; choose one of 1, 2, 4, 8"),
    ('{"MatMul_2": {"lanes": 1}}', "of MatMul_2: no such folding factor, expected pe | simd, found "
     "lanes"),
    ('{"other": {"pe": 1}}', "of other: no such layer, expected MatMul_2, found other"),
])  # fmt: skip
def test_illegal_folding(
    fails: Callable[..., str], tmp_path: Path, contents: str, reason: str
) -> None:
    (tmp_path / "folding.json").write_text(contents)
    model = saved(layer(), tmp_path / "model.onnx")
    assert fails(model, "--folding", "folding.json") == f"error: folding {reason}"


@pytest.mark.parametrize("contents, reason", [
    ("{", "cannot be read as JSON, found Input data was truncated"),
    ("[1]", 'not a folding file, expected {"layer name": {"pe": 4, "simd": 16}, ...}, found '
     "Expected `object`, got `array`"),
])  # fmt: skip
def test_unreadable_folding(
    fails: Callable[..., str], tmp_path: Path, contents: str, reason: str
) -> None:
    (tmp_path / "folding.json").write_text(contents)
    model = saved(layer(), tmp_path / "model.onnx")
    assert fails(model, "--folding", "folding.json") == f"error: folding folding.json: {reason}"


@pytest.mark.parametrize("bits, found", [
    ("0", "0"), ("-3", "-3"), ("63", "63"), ("wide", "'wide'"), ("2.5", "'2.5'"),
])  # fmt: skip
def test_bad_accumulator_width(fails: Callable[..., str], bits: str, found: str) -> None:
    assert fails(DIGITS, f"--acc-bits={bits}") == (
        f"error: --acc-bits: not a width, expected auto, datatype or 1..62, found {found}"
    )


def test_accumulators_that_would_overflow_are_listed(fails: Callable[..., str]) -> None:
    assert fails(DIGITS, "--acc-bits", "8") == (
        "error: --acc-bits 8: accumulators would overflow, expected at least the lossless width in "
        "every layer, found /2/MatMul needs 10; use --acc-bits auto, or a larger width"
    )
    line = fails(DIGITS, "--acc-bits", "3")
    assert "found /2/MatMul needs 10, /5/MatMul needs 7, /8/MatMul needs 7;" in line


@pytest.mark.parametrize("arrays, reason", [
    ({"z": np.zeros(3)}, "holds no samples for this model, expected x of shape (samples, 8), found "
     "no x"),
    ({"x": np.zeros((3, 5))}, "holds no samples for this model, expected x of shape (samples, 8), "
     "found x of shape (3, 5)"),
    ({"x": np.full((3, 8), np.nan)}, "x holds NaN or infinity, expected finite numbers"),
    ({"x": np.full((3, 8), "a")}, "x holds no numbers, expected float32, found <U1"),
    ({"x": np.zeros((3, 8)), "y": np.zeros(2)}, "x and y must be of one length, found 3 and 2"),
])  # fmt: skip
def test_bad_samples(
    fails: Callable[..., str], tmp_path: Path, arrays: dict[str, np.ndarray], reason: str
) -> None:
    np.savez(tmp_path / "samples.npz", **arrays)
    model = saved(layer(), tmp_path / "model.onnx")
    line = fails(model, "--verify-data", "samples.npz")
    assert line == f"error: samples samples.npz: {reason}"


def test_samples_in_no_file_or_no_archive(fails: Callable[..., str], tmp_path: Path) -> None:
    model = saved(layer(), tmp_path / "model.onnx")
    (tmp_path / "cut.npz").write_bytes((MODELS / "digits_test.npz").read_bytes()[:500])
    np.save(tmp_path / "single.npy", np.zeros((3, 8)))
    start = "cannot be read, expected an .npz file with x and, if known, y, found "
    line = fails(model, "--verify-data", "none.npz")
    assert line == "error: samples none.npz: no such file; check its path"
    for name in ("cut.npz", "single.npy", "model.onnx"):
        line = fails(model, "--verify-data", name)
        assert line == f"error: samples {name}: {start}File is not a zip file"


def test_a_sample_that_is_no_value_of_the_declared_input(
    fails: Callable[..., str], tmp_path: Path
) -> None:
    np.savez(tmp_path / "samples.npz", x=np.full((3, 8), 16.0))
    model = saved(layer(quantized=False), tmp_path / "model.onnx")
    assert fails(model, "--input", "UINT4", "--verify-data", "samples.npz") == (
        "error: input x: a sample is not a value of the declared input type, expected scale * q + "
        "bias with an integer q in range, found 16.0; quantize the samples, or declare another "
        "--input"
    )


@pytest.mark.parametrize("option, reason", [
    ("--synth=vivado", "--synth: not a choice, expected none | yosys, found 'vivado'"),
    ("--backend=vhdl", "--backend: not a choice, expected verilog | hls | both, found 'vhdl'"),
    ("--target-cycles=0", "--target-cycles: out of range, expected >= 1, found 0"),
    ("--verify=-1", "--verify: out of range, expected >= 0, found -1"),
    ("--clock-mhz=0", "--clock-mhz: not a clock frequency, expected a number of MHz in 1 .. "
     "10000, found 0"),
    ("--part=x y", "--part: not a part number, expected one like xc7z020clg400-1, found x y"),
    ("--acc-bits=foo", "--acc-bits: not a width, expected auto, datatype or 1..62, found 'foo'"),
    ("--folding=none.json", "folding none.json: cannot be read as JSON, found [Errno 2] No such "
     "file or directory: 'none.json'"),
    ("--verify-data=none.npz", "samples none.npz: no such file; check its path"),
])  # fmt: skip
def test_bad_option_values(
    fails: Callable[..., str], tmp_path: Path, option: str, reason: str
) -> None:
    """Also those that mean nothing for an analysis."""
    model = saved(layer(), tmp_path / "model.onnx")
    assert fails(model, option) == f"error: {reason}"
    assert fails(model, option, "--analyze-only") == f"error: {reason}"


@pytest.mark.parametrize("arguments, reason", [
    ([], "the following arguments are required: MODEL"),
    (["m.onnx", "--bogus"], "unrecognized arguments: --bogus"),
    (["m.onnx", "--verify", "some"], "argument --verify: invalid int value: 'some'"),
    (["m.onnx", "--verif", "3"], "unrecognized arguments: --verif 3"),
    (["m.onnx", "--acc=3"], "unrecognized arguments: --acc=3"),
    (["m.onnx", "--analyze"], "unrecognized arguments: --analyze"),
])  # fmt: skip
def test_unreadable_command_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    line = f"error: command line: {reason}; see sira-compile --help\n"
    assert capsys.readouterr().err == line


def test_abbreviations_of_the_other_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        verify_main(["build", "--jun", "j.xml"])
    assert stop.value.code == 2
    line = "error: command line: unrecognized arguments: --jun j.xml; see sira-verify --help\n"
    assert capsys.readouterr().err == line


def test_output_is_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("precious")
    assert main([str(DIGITS), "-o", "taken"]) == 2
    assert capsys.readouterr().err == "error: -o taken: not a folder; choose another name\n"
    assert main([str(DIGITS), "-o", "taken/build"]) == 2
    assert capsys.readouterr().err.startswith("error: -o taken/build: cannot be written, found ")
    assert Path("taken").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(sira.SiraError, match="no such file") as caught:
        main([str(tmp_path / "none.onnx"), "--debug"])
    assert caught.traceback[-1].name == "check_readable"


def test_a_fault_of_our_own_is_not_a_difference_in_the_hardware(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("somewhere")

    monkeypatch.setattr("sira.driver.compile.compile", broken)
    assert main([str(DIGITS)]) == 3
    assert capsys.readouterr().err == (
        "internal error: ZeroDivisionError: somewhere; --debug shows where, please report it\n"
    )
    with pytest.raises(ZeroDivisionError):
        main([str(DIGITS), "--debug"])


@pytest.mark.parametrize("backend", ["verilog", "hls"])
def test_missing_compiler_is_one_line(
    small_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
) -> None:
    # A process of its own, because the path of the compiler is looked up once.
    (tmp_path / "bin").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "sira", small_model, "-o", tmp_path / "b", "--backend", backend],
        env=os.environ | {"PATH": str(tmp_path / "bin"), "SIRA_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "g++" in done.stderr
    assert not (tmp_path / "b").exists()


def test_compile_and_verify_print_what_they_found(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = tmp_path / "build"
    assert main([str(small_model), "-o", str(build), "--target-cycles", "24"]) == 0
    text = capsys.readouterr().out
    row = next(line.split() for line in text.splitlines() if line.strip().startswith("MatMul_2 "))
    assert row[:8] == ["MatMul_2", "8", "x", "6", "2", "1", "24", "-163..172"]
    assert "verified: 8 samples, 0 mismatches, 0 oracle mismatches" in text
    assert text.endswith(f"report: {build / 'report.md'}\n")

    assert verify_main([str(build)]) == 0
    text = capsys.readouterr().out
    assert "Verilator, reset in mid-frame" in text
    assert text.endswith("verified: 8 samples\n")


def test_no_verification(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = tmp_path / "build"
    assert main([str(small_model), "-o", str(build), "--verify", "0"]) == 0
    assert "not verified (--verify 0)" in capsys.readouterr().out
    assert json.loads((build / "report.json").read_text())["verification"] is None
    assert "**not verified**" in (build / "report.md").read_text()
    assert verify_main([str(build)]) == 2
    assert capsys.readouterr().err == (
        f"error: {build / 'verification.npz'}: no samples to verify with, expected a folder "
        "compiled with --verify N, N > 0; compile the model again\n"
    )
