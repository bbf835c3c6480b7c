"""What the TPU compiler makes of the stage 2 step, with two blocks per tower instead of 24.

Everything else is the pod's: mesh, batch of 65,536, packed rows, kernel, loss, Muon, microbatches.
The figures belong to one version of the compiler.
"""

import json
import subprocess
import sys

import pytest

from tests.libtpu import skip_without_libtpu

pytestmark = [pytest.mark.slow, skip_without_libtpu]
BLOCKS = 2
# Per chip: bytes of HBM, bytes sent, seconds.
PINNED = {
    "hbm_bytes_per_chip": 2.94e9,
    "collective_bytes": 3.51e9,
    "predicted_step_seconds": 0.1977,
}


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    target = tmp_path_factory.mktemp("compiled") / "step.json"
    command = [sys.executable, "-m", "cogvit_jax.describe", "--config=configs/stage2.py"]
    depth = [f"--config.{tower}.depth={BLOCKS}" for tower in ("vision", "text")]
    # The compiler's default for VMEM: the pod's own setting compiles for minutes longer.
    options = ["--topology=v5e:16x16", "--config.train.tpu_compiler_options=()"]
    options.append(f"--json={target}")
    subprocess.run([*command, *depth, *options], check=True, timeout=900)
    return json.loads(target.read_text())


def test_the_step_runs_the_models_products_and_little_more(figures):
    # Saved: everything but norms in the vision tower; the text tower is recomputed, and attention
    # runs over whole rows.
    assert 1.0 < figures["flops_per_chip"] / figures["model_flops_per_chip"] < 1.35
    assert figures["unknown_loops"] == 0


def test_the_kernel_runs_once_forward_and_once_backward_per_block_and_part(figures):
    runs = {"forward": 0.0, "backward": 0.0}
    for name, count in figures["kernels"].items():
        runs["backward" if "attention_backward" in name else "forward"] += count
    # Four microbatches of images, and one of texts, which are recomputed.
    assert runs == {"forward": BLOCKS * (4 + 2), "backward": BLOCKS * (4 + 1)}


def test_embeddings_cross_the_data_axis_and_activations_never(figures):
    gathered = [
        row["bytes"]
        for row in figures["collectives"]
        if row["kind"] == "all-gather" and "data" in row["axes"]
    ]
    # 65,536 bf16 embeddings of 1152 are 151 MB: all texts for each of four microbatches, all
    # images once. One layer's activations would be 2 GB more.
    assert sum(gathered) == pytest.approx(5 * 151e6, rel=0.1)


@pytest.mark.parametrize("name", PINNED)
def test_what_the_compiler_makes_of_it_stays(figures, name):
    assert figures["fits"]
    assert figures[name] == pytest.approx(PINNED[name], rel=0.05)
