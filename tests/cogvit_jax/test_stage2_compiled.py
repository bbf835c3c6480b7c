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


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    target = tmp_path_factory.mktemp("compiled") / "step.json"
    command = [sys.executable, "-m", "cogvit_jax.describe", "--config=configs/stage2.py"]
    depth = [f"--config.{tower}.depth={BLOCKS}" for tower in ("vision", "text")]
    options = ["--topology=v5e:16x16", f"--json={target}"]
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


def test_the_texts_are_gathered_once_for_all_microbatches(figures):
    over_data = [
        row
        for row in figures["collectives"]
        if row["kind"] == "all-gather" and row["axes"] == "data"
    ]
    # 65,536 bf16 embeddings of 1152 are 151 MB.
    assert sum(row["bytes"] for row in over_data) < 4 * 151e6


def test_memory_and_bytes_on_the_wire_stay_what_they_are(figures):
    assert figures["fits"]
    assert figures["hbm_bytes_per_chip"] == pytest.approx(PINNED_HBM, rel=0.05)
    assert figures["collective_bytes"] == pytest.approx(PINNED_WIRE, rel=0.05)
    assert figures["predicted_step_seconds"] == pytest.approx(PINNED_SECONDS, rel=0.05)
