"""What the TPU compiler makes of the stage 1 step, with two blocks in the student instead of 24.

Teachers are whole: SigLIP2 So400m and DINOv3-L. Mesh, batch, loss, Muon and kernel are the pod's.
The figures belong to one version of the compiler, and to its least effort: what stage 2's step
takes is compiled with the whole of it.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.libtpu import LEAST_EFFORT_ENV, skip_without_libtpu

pytestmark = [pytest.mark.slow, skip_without_libtpu]
BLOCKS = 2
# Per chip: bytes of HBM, bytes sent.
PINNED = {"hbm_bytes_per_chip": 0.868e9, "collective_bytes": 1.612e9}


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    target = tmp_path_factory.mktemp("compiled") / "step.json"
    command = [sys.executable, "-m", "cogvit_jax.describe", "--config=configs/stage1.py"]
    # The compiler's default for VMEM: the pod's own setting compiles for minutes longer.
    options = [f"--config.vision.depth={BLOCKS}", "--config.train.tpu_compiler_options=()"]
    options += ["--topology=v5e:16x16", f"--json={target}"]
    env = os.environ | LEAST_EFFORT_ENV
    subprocess.run([*command, *options], env=env, check=True, timeout=1200)
    return json.loads(target.read_text())


def test_the_step_runs_the_models_products_and_little_more(figures):
    assert 1.0 < figures["flops_per_chip"] / figures["model_flops_per_chip"] < 1.1
    assert figures["unknown_loops"] == 0


def test_the_students_kernel_runs_once_each_way_per_block(figures):
    assert set(figures["kernels"].values()) == {BLOCKS}


def test_only_weights_and_gradients_travel(figures):
    # Weights in bf16: two student blocks of 34 MB, and the teachers' 0.41 and 0.30 billion, each
    # gathered once over fsdp (15 of 16 pieces are received). Activations would be of 17 MB per
    # layer of a teacher and more.
    gathered = sum(r["bytes"] for r in figures["collectives"] if r["kind"] == "all-gather")
    weights = 2 * (0.4126e9 + 0.3031e9) * 15 / 16
    assert weights < gathered < 1.2 * weights


@pytest.mark.parametrize("name", PINNED)
def test_what_the_compiler_makes_of_it_stays(figures, name):
    assert figures["fits"]
    assert figures[name] == pytest.approx(PINNED[name], rel=0.05)
