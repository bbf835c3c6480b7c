"""Notebooks are valid, carry no outputs, and run from the first cell to the last."""

import ast
import io
import json
import math
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from rich.console import Console

from benchmarks import mmtp_ablation
from benchmarks import mmtp_ablation_tables as tables
from mmtp.evals import mismatch
from rl.envs import CATEGORIES
from tests.xla_flags import quick

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert NAMES == ["gym_tour", "mmtp_ablation", "rl_ablation", "stage1_ablation"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_valid_and_without_outputs(path):
    nbformat.validate(read(path))
    for cell in code_cells(path):
        assert cell.outputs == []
        assert cell.execution_count is None
        compile(cell.source, path.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_first_cell_opens_this_very_file_in_colab(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert f"blob/main/notebooks/{path.name})" in first.source
    assert "colab-badge.svg" in first.source


@pytest.fixture
def execute(monkeypatch, tmp_path, xla_cache):
    """(name, environment variables) -> outputs of the code cells of a notebook, which is run."""

    def run(name, settings):
        common = {
            "SMOKE": "1",
            "WORKDIR": str(tmp_path / "runs"),
            "JAX_COMPILATION_CACHE_DIR": str(xla_cache),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling is nearly all of the time
            "XLA_FLAGS": quick(),
            "IPYTHONDIR": str(tmp_path / "ipython"),
        }
        for variable, value in (common | settings).items():
            monkeypatch.setenv(variable, value)
        path = ROOT / "notebooks" / f"{name}.ipynb"
        notebook = read(path)
        where = {"metadata": {"path": str(path.parent)}}
        NotebookClient(notebook, timeout=500, kernel_name="python3", resources=where).execute()
        return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]

    return run


def pictures(outputs):
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.slow
def test_gym_tour_runs(execute):
    settings = {"SEED": "1", "DIFFICULTY": "1", "GUESSES": "5"}
    outputs = execute("gym_tour", settings)
    *_, totals, cards, episode, hostile, bars = outputs
    groups = {category.group for category in CATEGORIES.values()}
    assert all(group in totals[0].data["text/plain"] for group in groups)
    assert pictures(cards) == len(groups)
    assert "done after" in episode[0].text
    assert ": 1 by sokoban" in episode[0].text
    assert pictures(episode) == 1
    right, *wrong = [row.split("│")[2:-1] for row in rows(hostile[0])]
    assert {float(score) for score in right} == {1}
    assert len(wrong) == 13
    assert {float(score) for row in wrong for score in row} == {0}
    assert pictures(bars) == 1


def rows(output):
    """Lines of a table's body."""
    return [line for line in output.data["text/plain"].splitlines() if line.startswith("│")]


@pytest.mark.slow
def test_stage1_ablation_runs(execute):
    settings = {"ABLATION": "qk_norm", "SEEDS": "0"}
    outputs = execute("stage1_ablation", settings)
    *_, table, plot, seen = outputs
    text = table[0].data["text/markdown"]
    assert "| on |" in text
    assert "| off |" in text
    assert "max logit" in text
    assert pictures(plot) == 1
    assert pictures(seen) == 2


@pytest.mark.slow
def test_mmtp_ablation_runs(execute, tmp_path):
    arms = ("visual", mmtp_ablation.BASE)  # a minute each
    settings = {"SEEDS": "0", "QUESTIONS": "2", "ARMS": ",".join(arms)}
    *_, table, drawn, said = execute("mmtp_ablation", settings)
    text = table[0].data["text/markdown"]
    for arm in arms:
        assert f"\n| {arm} |" in text
    assert "acceptance length" in text
    assert "trained \\ served" in text
    assert pictures(drawn) == 3
    lines = said[0].text.splitlines()
    texts = {line.partition(": ")[2].rpartition(", kept")[0] for line in lines}
    assert len(lines) == 4
    assert len(texts) == 1, "drafts change the time, not the text"
    runs = mmtp_ablation.plan([0], tmp_path / "runs", smoke=True)
    check_served_and_found_again([run for run in runs if run.variant in arms])


@pytest.mark.slow
def test_rl_ablation_runs(execute):
    settings = {"ASK": "hierarchy", "ONLY": "hierarchy"}
    found = execute("rl_ablation", settings)
    *_, categories, staleness, hierarchy, teacher = found
    for outputs in (categories, staleness, teacher):
        assert "not asked" in outputs[0].text
    texts = [o.data["text/markdown"] for o in hierarchy if "text/markdown" in o.get("data", {})]
    (text,) = texts
    for variant in ("start", "hierarchy"):
        assert f"\n| {variant} | 0." in text
    assert "2 steps of 3 groups of 2" in text
    assert pictures(hierarchy) == 1


def check_served_and_found_again(runs):
    """Figures of every arm are there and finite; a second call does nothing again."""
    for run in runs:
        assert run.is_complete
        served = json.loads((run.workdir / tables.SERVING).read_text())
        assert served["equal"] == 1.0
        assert all(1 <= served["length"][arm] <= 3 for arm in mismatch.SERVED)
        assert set(served["sources"]) == set(mmtp_ablation.SOURCES)
        found = tables.figures(run)
        assert set(found) == set(tables.TITLES)
        assert all(math.isfinite(value) for value in found.values())
    (runs[0].workdir / tables.SERVING).write_text("{}")
    quiet = Console(file=io.StringIO())
    mmtp_ablation.ablations.run_all(runs, quiet)
    mmtp_ablation.serve_all(runs, quiet)
    assert (runs[0].workdir / tables.SERVING).read_text() == "{}"
