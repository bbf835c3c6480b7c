"""Notebooks are valid, carry no outputs, and run from the first cell to the last."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert "stage1_ablation" in NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_valid_and_without_outputs(path):
    nbformat.validate(read(path))
    for cell in code_cells(path):
        assert cell.outputs == []
        assert cell.execution_count is None
        compile(cell.source, path.name, "exec")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_first_cell_opens_this_very_file_in_colab(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert f"blob/main/notebooks/{path.name})" in first.source
    assert "colab-badge.svg" in first.source


@pytest.mark.slow
def test_stage1_ablation_runs(tmp_path, monkeypatch):
    settings = {
        "ABLATION": "qk_norm",
        "SEEDS": "0",
        "SMOKE": "1",
        "WORKDIR": str(tmp_path / "runs"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),  # the teacher is trained here
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla"),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling is nearly all of the time
        "XLA_FLAGS": "",
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    path = ROOT / "notebooks" / "stage1_ablation.ipynb"
    notebook = read(path)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=500, kernel_name="python3", resources=where).execute()
    *_, table, plot, pictures = [c.outputs for c in notebook.cells if c.cell_type == "code"]
    text = table[0].data["text/markdown"]
    assert "| on |" in text
    assert "| off |" in text
    assert "max logit" in text
    assert "image/png" in plot[0].data
    assert sum("image/png" in output.get("data", {}) for output in pictures) == 2
