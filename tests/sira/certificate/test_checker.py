"""Certificates: proved where true, and rejected with any claim changed."""

from __future__ import annotations

import ast
import copy
import gzip
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from certificates import Case, certified, convolutions, mutations, perceptron
from onnx import numpy_helper
from onnx_models import Net
from random_nets import random_case

import sira
from sira.analysis.ranges import Ranges
from sira.certificate import checker, writer
from sira.certificate.checker import Rejected, check, main
from sira.datatypes import parse_input
from sira.errors import SiraError
from sira.load import load, prepare
from sira.numbers.scaled import ScaledInt
from transforms.stages import transform

BUNDLED = Path(__file__).parents[2] / "models"
PIXELS = parse_input("UINT8,scale=1/255", [])[1]


@pytest.fixture(scope="module", params=[perceptron, convolutions])
def case(request: pytest.FixtureRequest) -> Case:
    made: Case = request.param()
    return made


# Models


@pytest.mark.parametrize("name", ["digits_mlp_w1a1", "digits_mlp_w2a2", "digits_mlp_w4a4"])
def test_bundled_models_are_proved(name: str) -> None:
    case = certified(load(BUNDLED / f"{name}.onnx"))
    channels = sum(len(layer["lo"]) for layer in case.claims["layers"])
    assert check(case.data, case.claims) == channels > 100
    assert all(layer["attained"] for layer in case.claims["layers"])


@pytest.mark.parametrize("name", ["CNV_w2a2", "RN8_w3a3"])
def test_convolutional_networks_are_proved(name: str) -> None:
    folder = os.environ.get("SIRA_MODELS")
    if folder is None:
        pytest.skip("SIRA_MODELS does not name the folder of models")
    model = load(Path(folder) / f"{name}.onnx")
    case = certified(model, PIXELS)
    assert check(case.data, case.claims) > 1000
    multiplying = {node.name for node in model.graph if node.op_type in ("Conv", "MatMul", "Gemm")}
    assert len(multiplying) >= 9
    assert multiplying <= {layer["layer"] for layer in case.claims["layers"]}


@pytest.mark.parametrize("how", ["Concat", "Tile"])
def test_copies_in_a_network(how: str) -> None:
    net = Net((1, 3))
    x = net.quant("x", 0.5, 3)
    twice = (
        net.node("Concat", x, x, axis=1)
        if how == "Concat"
        else net.node("Tile", x, np.array([1, 2], np.int64))
    )
    net.node("MatMul", twice, net.quant([[1.0], [2], [0], [-1], [2], [3]], 1.0, 3))
    case = certified(net.model())
    assert check(case.data, case.claims) == 1
    (claim,) = case.claims["layers"]
    assert not claim["attained"]
    assert claim["why"].startswith("channel 0: inputs 0 and 3 are copies of one element")
    with pytest.raises(Rejected, match="attained, why not proved"):
        check(case.data, case.claims | {"layers": [claim | {"attained": True, "why": ""}]})


def _residual(net: Net, x: str) -> str:
    return net.node("Add", x, net.quant(net.node("Mul", x, [[[[-1.0]], [[3.0]]]]), 1.0, 3))


def _resized(net: Net, x: str) -> str:
    return net.node(
        "Resize", x, None, [1.0, 1, 2, 2],
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip


def _pooled(net: Net, x: str) -> str:
    return net.node("MaxPool", x, kernel_shape=[2, 2], strides=[1, 1], pads=[1, 0, 0, 1])


def _averaged(net: Net, x: str) -> str:
    return net.node("AveragePool", x, kernel_shape=[2, 2])


def _doubled(net: Net, x: str) -> str:
    return net.node("Add", x, x)


@pytest.mark.parametrize(
    ("between", "attained"),
    [(_residual, True), (_resized, False), (_pooled, True), (_averaged, True), (_doubled, True)],
)
def test_operators_between_layers(between: Any, attained: bool) -> None:
    """The analysis and the checker find the same bounds behind each operator."""
    rng = np.random.default_rng(0)
    net = Net((1, 2, 4, 4))
    x = between(net, net.quant("x", 1.0, 3))
    net.node("Conv", x, net.quant(rng.integers(-3, 4, (2, 2, 2, 2)), 1.0, 3), pads=[1, 0, 0, 1])
    case = certified(net.model())
    assert check(case.data, case.claims) >= 2
    assert case.claims["layers"][-1]["attained"] == attained


@pytest.mark.parametrize(
    "first",
    [("Conv", {"pads": [1, 1, 1, 1]}), ("ConvTranspose", {"strides": [2, 2]})],
    ids=["padded", "transposed"],
)
def test_a_layer_of_constants_in_front_of_convolutions(first: Any) -> None:
    """Borders differ from the middle where no element has a choice."""
    op, attributes = first
    rng = np.random.default_rng(0)
    net = Net((1, 2, 4, 4))
    dead = net.node("Conv", net.quant("x"), net.quant(np.zeros((2, 2, 1, 1))))
    x = net.quant(net.node("Add", dead, [[[[1.0]], [[2.0]]]]))
    x = net.node(op, x, net.quant(rng.integers(-3, 4, (2, 2, 3, 3)), 1.0, 3), **attributes)
    w = net.quant(rng.integers(-3, 4, (2, 2, 3, 3)), 1.0, 3)
    net.node("Conv", net.quant(x, 1.0, 6), w, pads=[1, 1, 1, 1])
    case = certified(net.model())
    assert check(case.data, case.claims) == 6
    assert case.claims["layers"][1]["lo"] != case.claims["layers"][1]["hi"]


def test_weights_that_share_a_factor_once_channels_are_gone() -> None:
    """Of the columns (3, 1) and (-6, 2) the second rows belong to a channel that is constant."""
    net = Net((1, 2))
    hidden = net.node("MatMul", net.quant("x", 1.0, 3), net.quant([[1.0, 1], [-2, 1]], 1.0, 3))
    hidden = net.quant(net.node("Add", hidden, [[0.0, 1000]]), 2.0, 3)
    hidden = net.node("MatMul", hidden, net.quant([[3.0, -6], [1, 2]], 1.0, 4))
    net.quant(hidden, 3.0, 2)
    front = transform(net.proto(), {})
    assert front.constant_channels
    data = ir.to_proto(front.integer.model).SerializeToString()
    claims = writer.certificate(front.integer.model, front.integer.ranges, data)
    assert check(data, claims) == 3
    wide = claims["layers"][-1]
    assert all((hi - lo) % 3 == 0 for lo, hi in zip(wide["lo"], wide["hi"], strict=True))


def _rows() -> Case:
    """A row of inputs above a row of constants."""
    net = Net((1, 3))
    x = net.quant("x", 1.0, 2)
    zero = net.node("MatMul", x, net.quant(np.zeros((3, 3))))
    both = net.node("Concat", x, net.quant(net.node("Add", zero, [[4.0, -5, 6]])), axis=0)
    w = net.quant([[1.0, 3], [-2, 0], [1, 2]], 1.0, 3)
    net.node("MatMul", both, w)
    return certified(net.model())


def test_rows_of_a_matrix_have_boxes_of_their_own() -> None:
    case = _rows()
    assert check(case.data, case.claims) == 5
    claim = case.claims["layers"][-1]
    # x @ w with x in -2..1, and [4, -5, 6] @ w
    assert claim["lo"] == [-2 - 2 - 2, -6 - 4] and claim["hi"] == [20, 24]
    assert claim["attained"]


def test_any_changed_claim_of_rows_is_rejected() -> None:
    case = _rows()
    for what, changed in mutations(case.claims["layers"][-1]):
        with pytest.raises(Rejected):
            check(case.data, case.claims | {"layers": [case.claims["layers"][0], changed]})
            pytest.fail(f"accepted: {what}")


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_are_proved(seed: int) -> None:
    network = random_case(seed, samples=1)
    case = certified(prepare(network.proto), network.spec)
    assert check(case.data, case.claims) > 0


# Mutations


def test_any_changed_claim_is_rejected(case: Case) -> None:
    assert check(case.data, case.claims) > 0
    before = copy.deepcopy(case.claims)
    seen = set()
    for what, changed in mutations(case.claims):
        assert changed != case.claims or json.dumps(changed) != json.dumps(case.claims), what
        with pytest.raises(Rejected):
            check(case.data, changed)
            pytest.fail(f"accepted: {what}")
        seen.add(what)
    assert case.claims == before
    for key in ("lo", "hi", "bits", "lo_witness", "hi_witness", "lo_border", "hi_border"):
        assert any(key in what for what in seen), key
    assert len(seen) > 500


def test_a_changed_model_is_rejected(case: Case) -> None:
    """One weight, or one threshold; even when the certificate is made to name the new file."""
    proto = onnx.load_model_from_string(case.data)
    consumers = {name: node.op_type for node in proto.graph.node for name in node.input}
    changed = 0
    for tensor in proto.graph.initializer:
        kind = consumers[tensor.name]
        if kind not in ("MatMul", "Conv", "MultiThreshold"):
            continue
        mutated = onnx.load_model_from_string(case.data)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[0] += 1 if kind != "MultiThreshold" else 100
        found = next(t for t in mutated.graph.initializer if t.name == tensor.name)
        found.CopyFrom(numpy_helper.from_array(array, tensor.name))
        data = mutated.SerializeToString()
        with pytest.raises(Rejected, match="model_sha256"):
            check(data, case.claims)
        forged = case.claims | {"model_sha256": hashlib.sha256(data).hexdigest()}
        if kind != "MultiThreshold":
            with pytest.raises(Rejected, match="not proved"):
                check(data, forged)
        changed += 1
    assert changed == 3


def test_a_datatype_too_narrow_is_rejected(case: Case) -> None:
    proto = onnx.load_model_from_string(case.data)
    for claim in case.claims["layers"]:
        (pair,) = (
            pair
            for annotation in proto.graph.quantization_annotation
            if annotation.tensor_name == claim["tensor"]
            for pair in annotation.quant_parameter_tensor_names
        )
        right = pair.value
        assert right.startswith("INT")
        for wrong in (f"INT{int(right[3:]) - 1}", f"U{right}", "BINARY", "TERNARY", "BIPOLAR"):
            pair.value = wrong
            data = proto.SerializeToString()
            forged = case.claims | {"model_sha256": hashlib.sha256(data).hexdigest()}
            with pytest.raises(Rejected, match="does not hold its range"):
                check(data, forged)
        pair.value = right


# Independence


def test_the_checker_imports_nothing_of_the_analysis() -> None:
    folder, pending, seen = Path(checker.__file__).parent, ["checker"], set()
    while pending:
        name = pending.pop()
        seen.add(name)
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            match node:
                case ast.Import(names):
                    modules = [a.name for a in names]
                case ast.ImportFrom(module, _, level):
                    assert level == 0
                    modules = [module or ""]
                case _:
                    continue
            assert all(
                m.split(".")[0] in sys.stdlib_module_names | {"numpy", "onnx", "google", "sira"}
                for m in modules
            )
            for m in modules:
                if m.split(".")[0] == "sira":
                    assert m.startswith("sira.certificate.")
                    name = m.removeprefix("sira.certificate.")
                    pending += [name] if name not in seen else []
    assert seen == {"checker", "boxes", "model"}


@pytest.mark.parametrize("side", ["lo", "hi"])
@pytest.mark.parametrize("error", [-1, 1])
def test_a_wrong_analysis_is_found_out(
    case: Case, side: str, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too narrow as well as too wide, by one, in one channel of one layer."""
    right = Ranges.scaled
    for claim in case.claims["layers"]:

        def wrong(
            ranges: Ranges, value: ir.Value, tensor: str = claim["tensor"]
        ) -> ScaledInt | None:
            found = right(ranges, value)
            if value.name != tensor or found is None:
                return found
            changed = getattr(found, side).copy()
            changed.flat[-1] += error
            return replace(found, **{side: changed})

        monkeypatch.setattr(Ranges, "scaled", wrong)
        with pytest.raises(SiraError, match="would be rejected") as refused:
            writer.certificate(case.model, case.ranges, case.data)
        monkeypatch.undo()
        n, bound = len(claim["lo"]) - 1, claim[side][-1]
        assert f"node {claim['layer']}, channel {n}" in str(refused.value)
        assert str(bound) in str(refused.value) and str(bound + error) in str(refused.value)


# Files


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    case = perceptron()
    model, claims = tmp_path / "model.onnx", tmp_path / "certificate.json.gz"
    model.write_bytes(case.data)
    writer.write(claims, case.claims)
    return str(model), str(claims)


def test_a_compiled_model_is_proved(small_model: Path, tmp_path: Path) -> None:
    """As anybody would check it: in a process of its own, with the two files."""
    sira.compile(small_model, sira.Options(output=tmp_path / "build", verify=0))
    stages = sorted((tmp_path / "build" / "stages").iterdir())
    command = [sys.executable, "-m", "sira.certificate", str(stages[-1])]
    certificate = str(tmp_path / "build" / "certificate.json.gz")
    done = subprocess.run([*command, certificate], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "proved: bounds, widths and witnesses of 10 channels\n"
    other = [*command[:-1], str(stages[0]), certificate]
    done = subprocess.run(other, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("rejected: ") and done.stderr.count("\n") == 1


def test_command_line(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(list(files)) == 0
    assert capsys.readouterr().out == "proved: bounds, widths and witnesses of 5 channels\n"
    claims = checker.read(Path(files[1]))
    claims["layers"][0]["hi"][1] += 1
    Path(files[1]).write_text(json.dumps(claims))
    assert main(list(files)) == 1
    assert capsys.readouterr().err.endswith(": hi not proved\n")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 2),
        (b"{", 2),
        (b"[]", 2),
        (b"\xff\xfe", 2),
        (gzip.compress(b"{}", mtime=0)[:-9], 2),
        (b"\x1f\x8b\x08garbage of some length", 2),
        (gzip.compress(b"{}", mtime=0)[:12] + b"\xff\xff\xff\xff" * 4, 2),
        (b"{}", 1),
        (b'{"layers": []}', 1),
        (b'{"format": 1, "format": 2}', 1),
    ],
    ids=range(10),
)
def test_unreadable_certificates(
    files: tuple[str, str], content: bytes, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[1]).write_bytes(content)
    assert main(list(files)) == status
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert shown.err.startswith("error: " if status == 2 else "rejected: ")


@pytest.mark.parametrize("which", [0, 1])
def test_missing_files(
    files: tuple[str, str], which: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[which]).unlink()
    assert main(list(files)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and files[which] in error


def test_a_garbled_model(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[0]).write_bytes(b"no model at all")
    assert main(list(files)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        case = convolutions()
        writer.write(tmp_path / name, case.claims)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert checker.read(tmp_path / "a") == case.claims
