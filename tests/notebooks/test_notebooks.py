"""Every notebook runs from top to bottom, and is stored without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_is_a_tour() -> None:
    assert [path.name for path in NOTEBOOKS] == ["tour.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_the_tour_shows_what_it_promises() -> None:
    notebook = nbformat.read(FOLDER / "tour.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    text = "".join(out.text for out in outputs if out.output_type == "stream")
    assert "/2/MatMul_output_0             q in  -375.. 330, scale 0.0625" in text
    assert "mismatches           0" in text
    assert "intact: passed" in text
    assert "Verilator, random stalls: " in text
    assert "constants in rtl/*.mem: 1 of " in text
    kinds = {kind for out in outputs for kind in out.get("data", {})}
    assert {"image/png", "text/markdown"} <= kinds
