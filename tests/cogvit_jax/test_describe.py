"""describe compiles the step that main runs, and says what it costs."""

import json
import subprocess
import sys

import jax
import pytest

from cogvit_jax import describe, describe_report, describe_show, topology
from cogvit_jax.settings import ConfigError
from configs.stage2 import get_config

CONTRACT = {
    "parameters",
    "hbm_bytes_per_chip",
    "hbm_limit_bytes",
    "fits",
    "flops_per_chip",
    "collective_bytes",
    "predicted_step_seconds",
    "predicted_mfu",
}


@pytest.fixture(scope="module")
def report():
    return describe.describe(get_config("smoke"))


def test_figures_are_those_of_the_step(report):
    figures = report.figures
    assert figures.keys() >= CONTRACT
    assert json.loads(json.dumps(figures))["num_devices"] == 8
    shapes = report.step.setup.shapes.params
    assert figures["parameters"] == sum(x.size for x in jax.tree.leaves(shapes))
    assert figures["parameters"] == sum(figures["parameters_by_group"].values())
    # Executed: a little more than the model's own products (the optimizer, segments' masks).
    assert 0.9 < figures["flops_per_chip"] / figures["model_flops_per_chip"] < 3
    assert figures["unknown_loops"] == 0
    memory = figures["memory"]
    assert figures["hbm_bytes_per_chip"] == sum(memory.values())
    state = jax.tree.leaves((report.step.setup.shapes.params, report.step.setup.shapes.opt_state))
    assert memory["arguments"] > sum(x.size * x.dtype.itemsize for x in state)
    assert {row["axes"] for row in figures["collectives"]} == {"data"}
    assert sum(row["bytes"] for row in figures["collectives"]) == figures["collective_bytes"]


def test_no_time_is_predicted_where_no_chip_is_known(report):
    assert report.figures["predicted_step_seconds"] is None
    assert report.figures["predicted_mfu"] is None


def test_tables_and_picture(report, tmp_path, capsys):
    from rich.console import Console

    describe_show.show(report, Console(width=120))
    shown = capsys.readouterr().out
    assert f"{report.figures['parameters']:,}" in shown
    assert "all-reduce" in shown
    describe_show.plot(report, str(tmp_path / "step.png"))
    assert (tmp_path / "step.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("op_name", "part", "direction"),
    [
        ("jit(step)/jvp(TwoTowers)/TwoTowers.embed_images/vision/patch_embedding/dot_general",
         "vision/patch_embedding", "forward"),
        ("jit(step)/transpose(jvp(TwoTowers))/TwoTowers.embed_texts/text/while/body/closed_call/"
         "checkpoint/rematted_computation/blocks/mlp/up/dot_general",
         "text/blocks/mlp", "recomputed"),
        ("jit(step)/transpose(jvp(TwoTowers))/vision/while/body/closed_call/checkpoint/blocks/mlp/"
         "down/dot_general", "vision/blocks/mlp", "backward"),
        ("jit(step)/optimizer/mul", "optimizer", "forward"),
        ("copy", "other", "forward"),
    ],
)  # fmt: skip
def test_scopes_become_parts_of_the_model(op_name, part, direction):
    assert describe_report.scope(op_name) == (part, direction)


def test_suggestions_say_what_to_change():
    memory = {"arguments": 2 * 2**30, "outputs": 0, "temporaries": 30 * 2**30}
    figures = {"fits": False, "hbm_limit_bytes": 16 * 2**30, "memory": memory}
    (first, *_) = describe_report.suggestions(figures | {"hbm_bytes_per_chip": 32 * 2**30})
    assert "config.train.microbatches: 3 times" in first
    roomy = figures | {"fits": True, "hbm_bytes_per_chip": 2**30}
    assert "15.0 GiB are free" in describe_report.suggestions(roomy)[0]


@pytest.mark.parametrize("name", ["v5e", "v5e:16", "v9z:2x2", "v5e:2x2*"])
def test_a_topology_that_is_none_is_refused_with_the_form(name):
    with pytest.raises(ConfigError, match="write CHIP:SHAPE such as v5e:16x16"):
        topology.devices(name)


def test_a_batch_shape_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="--batch=9: this config has 2 batch shapes"):
        describe.describe(get_config("smoke"), batch_index=9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v5e:2x2", "v5p:2x2x1", "TPU7x:2x2x1"])
def test_chips_can_be_compiled_for(name, tmp_path):
    pytest.importorskip("libtpu")
    target = tmp_path / "step.json"
    command = [sys.executable, "-m", "cogvit_jax.describe", "--config=configs/stage2.py:smoke"]
    subprocess.run([*command, f"--topology={name}", f"--json={target}"], check=True, timeout=300)
    figures = json.loads(target.read_text())
    assert figures["fits"]
    assert figures["hbm_limit_bytes"] > 15 * 2**30
    assert 0 < figures["predicted_mfu"] < 0.1
    assert figures["predicted_step_seconds"] < 0.1


@pytest.mark.slow
def test_a_step_that_does_not_fit_names_its_largest_buffers(tmp_path):
    pytest.importorskip("libtpu")
    target = tmp_path / "step.json"
    command = [sys.executable, "-m", "cogvit_jax.describe", "--config=configs/stage2.py:smoke"]
    large = ["--config.data.global_batch=4096", "--config.data.lengths=(4096,)"]
    done = subprocess.run(
        [*command, *large, "--topology=v5e:2x2", f"--json={target}"],
        check=True, timeout=600, capture_output=True, text=True,
    )  # fmt: skip
    figures = json.loads(target.read_text())
    assert not figures["fits"]
    assert figures["hbm_bytes_per_chip"] > figures["hbm_limit_bytes"]
    largest = figures["largest_buffers"][0]
    assert largest["bytes"] > 2**30
    assert largest["part"].startswith("vision")
    assert "does not fit" in done.stdout
    assert "config.train.microbatches" in done.stdout


def test_quick_leaves_out_what_a_pod_tells_the_compiler():
    assert get_config().train.tpu_compiler_options
    script = """
import sys
from cogvit_jax import describe
describe.describe = lambda config, *_: sys.exit(f"told: {config.train.tpu_compiler_options}")
describe.cli()
"""
    command = [sys.executable, "-c", script, "--config=configs/stage2.py", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stderr.strip().splitlines()[-1] == "told: ()"
