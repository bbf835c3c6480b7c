"""The arms differ in what prediction layers are fed only; figures and tables say what runs say."""

import json
import math
import statistics

import jax
import numpy as np
import pytest

from benchmarks import mmtp_ablation
from benchmarks import mmtp_ablation_plots as plots
from benchmarks import mmtp_ablation_tables as tables
from configs import vlm_pretrain
from configs.ablations import mmtp as config_file
from mmtp.evals import mismatch
from mmtp.models.mtp_settings import VISUAL_INPUTS
from mmtp.programs import build
from tests.test_ablations import different, flat

ARMS = tuple(config_file.VARIANTS)
FIRST = ("loss/main", "loss/mtp_1", "loss/mtp_2")


def test_arms_differ_in_their_visual_input_only():
    for setting in ("", ":smoke", ":pod"):
        configs = [config_file.get_config(arm + setting) for arm in ARMS]
        for config in configs:
            assert different(configs[0], config) <= {"mmtp.visual_input", "mmtp.masked"}
        assert len({str(config.mmtp) for config in configs}) == len(ARMS)
    inputs = {config.mmtp.visual_input for config in configs}
    assert inputs == set(VISUAL_INPUTS)


@pytest.mark.parametrize("arg", [None, "", "visul", ":smoke", "visual:", "visual:smok"])
def test_unknown_arms_and_settings_are_errors_with_the_choices(arg):
    with pytest.raises(ValueError, match=r"unknown config variant .*(visual, masked|smoke, pod)"):
        config_file.get_config(arg)


@pytest.mark.slow
def test_arms_share_parameters_batches_and_flops():
    found = []
    for arm in ARMS:
        program = build(config_file.get_config(f"{arm}:smoke"))
        batches = program.batches(None)
        first = [next(batches) for _ in range(2)]
        batches.close()
        found.append((program.init(jax.random.key(3)), first, program.step_flops(first[0])))
    for other in found[1:]:
        for a, b in zip(jax.tree.leaves(found[0][:2]), jax.tree.leaves(other[:2]), strict=True):
            np.testing.assert_array_equal(a, b)
        assert other[2] == found[0][2] > 0
    assert any(np.any(batch["visual"]) for batch in found[0][1])


def test_the_pod_configs_are_the_pretraining_run_and_build():
    pretraining = vlm_pretrain.get_config()
    for arm in ARMS:
        config = config_file.get_config(f"{arm}:pod").unlock()
        assert different(pretraining, config) <= {"mmtp.visual_input", "mmtp.masked"}
        config.mesh.fsdp = 8  # the devices of the tests
        shapes = jax.eval_shape(build(config).init, jax.random.key(0))
        blocks = sum(x.size for x in jax.tree.leaves(shapes["decoder"]["blocks"]))
        assert blocks == pytest.approx(490.8e6, rel=1e-3)
        assert "mtp" in shapes
    assert flat(config).keys() == flat(pretraining).keys()


def test_spikes_are_losses_far_above_the_steps_before():
    rng = np.random.default_rng(0)
    falling = list(3 - np.linspace(0, 1, 100) + 0.02 * rng.standard_normal(100))
    assert tables.spikes(falling) == 0
    for place, height in ((40, 1.0), (80, 2.0)):
        falling[place] += height
    assert tables.spikes(falling) == 2
    falling[5] += 9  # too early to be judged
    assert tables.spikes(falling) == 2
    assert tables.spikes([1.0] * 10) == 0


def test_tails_are_percentiles():
    found = tables.tails([1.0] * 98 + [3.0, 11.0])
    assert found["grad_norm/p50"] == found["grad_norm/p95"] == 1.0
    assert 3 <= found["grad_norm/p99"] <= 11
    assert found["grad_norm/max_over_median"] == 11.0


def test_intervals_are_students():
    found = tables.difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found.mean == 2.0
    # Standard deviation 1 of three pairs; 4.303 is t's 97.5% point with two degrees of freedom.
    assert found.half == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert math.isnan(tables.difference([1.0], [2.0]).half)
    assert tables.signed(tables.Difference(0.5, 0.1), 2) == "**+0.50 ± 0.10**"
    assert tables.signed(tables.Difference(-0.5, 0.6), 2) == "-0.50 ± 0.60"
    assert tables.signed(tables.Difference(0.5, float("nan")), 2) == "+0.50 ± nan"


def pretend(run, serving=True):
    """A complete run's files; arm number a ends at loss 1 + a + seed / 10 on the main head."""
    (run.workdir / "checkpoints" / str(run.config.train.steps)).mkdir(parents=True)
    number = ARMS.index(run.variant)
    end = 1 + number + run.seed / 10
    rows = [
        {
            "step": step,
            "loss": end + (step <= 30),
            **{name: end + depth + (step <= 30) for depth, name in enumerate(FIRST)},
            "grad_norm": 1.0 if step < 40 else 2.5,
        }
        for step in range(1, 41)
    ]
    last = {f"interference/cosine/{part}": 0.5 for part in ("vision", "projector", "decoder")}
    for source, value in (("a_heldout", 1.0), ("b_heldout", 2.0)):
        for name in ("mtp_1", "mtp_2", "prefix_2", "length"):
            last[f"heldout/{source}/acceptance/{name}"] = value + number
        last[f"heldout/{source}/loss/main"] = value
        last[f"heldout/{source}/loss/main/mtp_1"] = 99.0
    rows.append({"step": 40, **last})
    text = "\n".join(json.dumps(row) for row in rows)
    (run.workdir / "metrics.jsonl").write_text(text + "\n")
    (run.workdir / "config.json").write_text(json.dumps(run.config.to_dict()))
    if serving:
        length = {arm: 2.0 + number + i / 4 for i, arm in enumerate(mismatch.SERVED)}
        served = {"length": length, "image_row": 0.5 + run.seed}
        (run.workdir / tables.SERVING).write_text(json.dumps(served))


def test_tables_say_what_the_runs_say(tmp_path):
    runs = mmtp_ablation.plan([0, 1], tmp_path)
    assert [(r.seed, r.variant) for r in runs] == [(s, a) for s in (0, 1) for a in ARMS]
    for run in runs:
        pretend(run)
    found = tables.figures(runs[1])
    assert found["loss/mtp_1"] == pytest.approx(3.0)  # masked_keys, the last quarter
    assert found["heldout/acceptance/length"] == 2.5
    assert found["heldout/loss/main"] == 1.5
    assert found["grad_norm/max_over_median"] == 2.5
    assert found["spikes"] == 0
    assert found["length"] == 3.25  # served as trained
    assert tables.figures(runs[4])["length"] == 6.75  # frozen is served as image_token
    summary = tables.summarise(runs)
    assert set(summary["visual"]) == set(tables.TITLES)
    difference = tables.differences(summary, "loss/main")["visual"]
    assert difference.mean == pytest.approx(-3)
    assert difference.half == pytest.approx(0, abs=1e-9)
    text = tables.markdown(runs)
    assert "| visual | 1.050 ± 0.071 | 2.050 ± 0.071 |" in text
    assert "| visual | **-3.000 ± 0.000** |" in text
    assert "| masked_keys | 3.000 ± 0.000 | 3.250 ± 0.000 |" in text
    row = "| masked_keys | **-0.250 ± 0.000** | +0.000 ± 0.000 | **+0.250 ± 0.000** |"
    assert row in text.partition("minus that of what was trained")[2]


def test_seeds_without_all_arms_are_left_out(tmp_path):
    runs = mmtp_ablation.plan([0, 1], tmp_path)
    for run in runs[:-1]:
        pretend(run, serving=run.seed == 0)
    assert list(tables.summarise(runs)["image_token"]["loss/main"]) == [0]
    assert tables.markdown(runs).startswith("1 paired seeds (0)")


def test_arms_that_nobody_asked_for_are_left_out(tmp_path):
    runs = mmtp_ablation.plan([0, 1], tmp_path)
    runs = [run for run in runs if run.variant in ("visual", mmtp_ablation.BASE)]
    for run in runs:
        pretend(run)
    text = tables.markdown(runs)
    assert text.startswith("2 paired seeds (0, 1)")
    assert "\n| visual |" in text
    assert "\n| masked_keys |" not in text
    assert len(plots.drawings(runs)) == 3


def test_pictures_show_means_and_paired_differences(tmp_path):
    runs = mmtp_ablation.plan([0, 1], tmp_path)
    for run in runs:
        pretend(run)
    drawn = plots.drawings(runs)
    assert set(drawn) == {"curves", "differences", "matrix"}
    panels = drawn["curves"].axes
    main = {line.get_label(): line.get_ydata() for line in panels[0].lines}
    np.testing.assert_allclose(main["visual"], [2.05, 2.05, 2.05, 1.05])
    below = {line.get_label(): line.get_ydata() for line in panels[3].lines}
    assert "image_token" not in below
    np.testing.assert_allclose(below["image_token_frozen"], 1)
    heights = [p.get_height() for p in drawn["differences"].axes[0].patches]
    np.testing.assert_allclose(heights, [-3, -2, -1, 1])
    texts = [t.get_text() for t in drawn["matrix"].axes[0].texts]
    assert len(texts) == len(ARMS) * len(mismatch.SERVED)
    means = [statistics.mean(row[s]) for row in tables.matrix(runs).values() for s in row]
    assert texts == [f"{m:.2f}" for m in means]
