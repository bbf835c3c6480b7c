"""Modules import only what their layer may, and loader workers get by without JAX."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What a data loader's worker process unpickles.
WORKER_MODULES = (
    "records",
    "sources",
    "text",
    "text_packing",
    "transforms",
    "packing",
    "layout",
    "examples",
    "pairs",
    "pictures",
    "masking",
    "quality",
    "feature_cache",
    "rendered",
)
LANGUAGE_WORKER_MODULES = (
    "array_records",
    "chat",
    "documents",
    "images",
    "jsonl",
    "layout",
    "packing",
    "planner",
    "records",
    "reorder",
    "sources",
    "tasks",
    "tokenizer",
    "webdataset",
)


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_layers():
    code = "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"
    result = python(code)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


MODULES = [f"cogvit_jax.data.{name}" for name in WORKER_MODULES]
MODULES += [f"mmtp.data.{name}" for name in LANGUAGE_WORKER_MODULES]
MODULES += ["rl.envs", "rl.rewards.system"]
HEAVY = ("jax", "torch", "tensorflow", "matplotlib.pyplot")


def test_worker_modules_do_not_import_jax():
    """In one process, one after the other: the first that brings something heavy is named."""
    code = (
        f"import importlib, sys\nfor name in {MODULES}:\n    importlib.import_module(name)\n"
        f"    found = [heavy for heavy in {HEAVY} if heavy in sys.modules]\n"
        "    if found: sys.exit(f'{name} imports {found}')"
    )
    result = python(code)
    assert result.returncode == 0, result.stderr


def test_importing_the_package_starts_no_device():
    code = (
        "import cogvit_jax.main, jax, sys; from jax._src import xla_bridge as b;"
        "sys.exit(bool(b._backends))"
    )
    result = python(code)
    assert result.returncode == 0, result.stderr
