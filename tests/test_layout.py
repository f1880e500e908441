"""The folders of tests mirror those of the packages: each module has a test of its name.

Those that have not are listed here, with the test that is theirs, too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TESTED_BY = {
    "hls/device/test_families": ["hls/device/base", "hls/device/xilinx", "hls/inventory"],
    "hls/emit/test_cpp": ["hls/layers/parts/cpp_constants"],
    "hls/fifos/test_simulation": ["hls/fifos/kernel", "hls/fifos/program", "hls/schedule"],
    "hls/implement/test_yosys": ["hls/implement/worker"],
    "hls/layers/test_matrix_vector": [
        "hls/layers/parts/matrix_vector_cost",
        "hls/layers/parts/start_values",
    ],
    "hls/layers/test_sliding_window": [
        "hls/layers/parts/line_buffer",
        "hls/layers/parts/window_plan",
    ],
    "hls/lower/test_images": [
        "hls/lower/build",
        "hls/lower/elementwise",
        "hls/lower/macs",
        "hls/lower/views",
        "hls/lower/windows",
    ],
    "hls/lower/test_lower": ["hls/lower/thresholds", "hls/lower/wires"],
    "hls/report/test_data": ["hls/report/markdown", "sira/analysis/datatype_bounds"],
    "hls/simulate/test_verilator": [
        "hls/layers/width_converter",
        "hls/simulate/toolchain",
        "hls/simulate/verilator_call",
    ],
    "hls/test_flow": ["hls/dataflow"],
    "hls/test_layers": [
        "hls/layers/argmax",
        "hls/layers/parts/memories",
        "hls/layers/parts/products",
        "hls/layers/thresholding",
    ],
    "sira/certificate/test_checker": ["sira/certificate/writer"],
    "sira/driver/test_analyze": ["sira/analysis/summary", "sira/verification/model"],
    "sira/driver/test_cli": ["sira/driver/show", "sira/errors", "sira/model_file"],
    "sira/driver/test_compile": [
        "sira/driver/build_folder",
        "sira/driver/hardware",
        "sira/driver/stage_files",
        "sira/progress",
    ],
    "sira/ops/test_arithmetic": ["sira/ops/axes", "sira/ops/base"],
    "sira/ops/test_conv": ["sira/ops/windows"],
    "sira/ops/test_float_quant": ["sira/ops/xnor"],
    "sira/schema/test_files": ["sira/schema/metadata", "sira/schema/report"],
    "sira/test_load": ["sira/graph"],
    "sira/verification/test_integer_model": ["sira/verification/check"],
    "sira/verification/test_rounding_errors": ["sira/verification/float_execution"],
    "transforms/integer/test_combining": [
        "transforms/integer/affine",
        "transforms/integer/graph",
        "transforms/integer/layout",
        "transforms/integer/macs",
    ],
    "transforms/integer/test_selection": [
        "transforms/integer/decision",
        "transforms/integer/pooled_sums",
    ],
    "transforms/test_shared_operands": ["transforms/steps/staircase"],
    "transforms/test_stages": ["transforms/aggregate"],
    "transforms/test_thresholds": ["transforms/builder", "transforms/canonical"],
}
"""Modules without a test of their name, by the test that is theirs, too."""

OF_SEVERAL_MODULES = {
    "hls/device/test_families",
    "hls/implement/test_design",
    "hls/layers/test_seams",
    "hls/lower/test_images",
    "hls/test_flow",
    "hls/test_layers",
    "hls/verify/test_mutation",
    "notebooks/test_notebooks",
    "sira/driver/test_startup",
    "sira/driver/test_window_attributes",
    "sira/ops/test_functions_in_networks",
    "sira/ops/test_mac",
    "sira/ops/test_parameters",
    "sira/test_networks",
    "sira/test_random_cnns",
    "sira/test_random_graphs",
    "sira/test_reference_faults",
    "sira/verification/test_oracle_models",
    "test_layout",
    "test_readme",
    "test_rooms",
    "transforms/test_clipped_integers",
    "transforms/test_networks",
    "transforms/test_random_cnns",
    "transforms/test_shared_operands",
}
"""Tests of whole flows, and of what several modules have in common."""


def _files(*folders: str) -> list[Path]:
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in paths)


def _stem(path: Path) -> str:
    return path.with_suffix("").as_posix()


def _has_a_body(path: Path) -> bool:
    """Whether a module defines a function or a class."""
    return any(
        isinstance(node, ast.FunctionDef | ast.ClassDef)
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
    )


MODULES = {
    _stem(path)
    for path in _files("sira", "transforms", "hls")
    if path.name not in ("__init__.py", "__main__.py") and _has_a_body(path)
}
TESTS = {_stem(path.relative_to("tests")) for path in _files("tests") if path.match("test_*.py")}


def _own_test(module: str) -> str:
    folder, _, name = module.rpartition("/")
    return f"{folder}/test_{name}"


def test_every_module_has_a_test() -> None:
    listed = {module for modules in TESTED_BY.values() for module in modules}
    without = {module for module in MODULES if _own_test(module) not in TESTS}
    assert not without - listed, "give each a test of its name, or name its test in TESTED_BY"
    assert not listed - without, "gone, or tested under their own names: not in TESTED_BY"


@pytest.mark.parametrize("test", TESTED_BY)
def test_the_other_tests_are_there(test: str) -> None:
    assert test in TESTS


def test_every_test_has_the_name_of_a_module() -> None:
    own = {_own_test(_stem(path)) for path in _files("sira", "transforms", "hls")}
    assert not TESTS - own - OF_SEVERAL_MODULES, "mirror the module that is tested"
    assert not OF_SEVERAL_MODULES - TESTS, "gone"
    assert not OF_SEVERAL_MODULES & own, "named like a module"
