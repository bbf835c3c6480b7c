"""The program with what its default leaves out: a reference, old log-probabilities, a teacher."""

import io

import jax
import numpy as np
import pytest
from rich.console import Console

from cogvit_jax import checkpoint, metrics, run_dir, train_loop
from cogvit_jax.program import TrainState
from cogvit_jax.settings import ConfigError
from configs import rl as configs
from mmtp.programs.vlm_statistics import with_router_bias
from rl import programs, store
from rl.programs import rl_settings
from rl.programs.rl_parts import load
from rl.types import TrainingSample


@pytest.fixture(scope="module", autouse=True)
def fast_compilation():
    """Compiling is nearly all of this file's time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def small():
    config = configs.get_config("smoke")
    config.unlock()
    config.evals.tasks = 0
    config.train.eval_every = 0
    config.tasks.categories = ("counting",)
    return config


def run(config, workdir):
    console = Console(file=io.StringIO(), width=200)
    workdir.mkdir()
    program = programs.build(config, workdir=str(workdir))
    run_dir.save_config(config, str(workdir), console)
    train_loop.run(program, config, str(workdir), console)
    return [line for line in metrics.read_jsonl(workdir / "metrics.jsonl") if "loss" in line]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Workdir of a run that others learn from."""
    workdir = tmp_path_factory.mktemp("teacher") / "run"
    run(small(), workdir)
    return str(workdir)


@pytest.mark.slow
def test_reference_old_policy_and_teacher_are_scored_and_told_of(teacher, tmp_path):
    config = small()
    config.seed = 1  # another model than its teacher, and its own reference
    config.algorithm.preset = "grpo"
    config.algorithm.proximal = "old"
    config.algorithm.kl_weight = 0.1
    config.algorithm.distill_weights = (0.5,)
    config.teachers = (teacher,)
    lines = run(config, tmp_path / "second")
    first = lines[0]
    assert abs(first["kl/ref_k3"]) < 1e-9
    assert abs(first["kl/teachers"]) > 1e-3
    assert first["ratio/mean"] == pytest.approx(1, abs=1e-6)
    for name in ("ref_logprobs", "teacher_logprobs"):
        assert 0 <= lines[1][f"rl/{name}/copy_hidden_fraction"] <= 1
        assert lines[1][f"rl/{name}/copy_gigabytes"] > 0
    assert np.isfinite([line["loss"] for line in lines]).all()
    for line in lines:  # figures are of the batch that the step was trained on
        step = line["step"] - 1
        items = store.read(tmp_path / "second" / "rollouts" / f"step_{step:06d}.jsonl")
        lengths = [sum(one.trained) for one in items if isinstance(one, TrainingSample)]
        assert line["rl/length_mean"] == pytest.approx(np.mean(lengths))
        assert line["rl/rollouts"] == len(lengths)


@pytest.mark.slow
def test_two_updates_on_a_batch_with_a_teachers_likeliest_tokens(teacher, tmp_path):
    """The old policy is that before the first update, from which the second has moved away."""
    config = small()
    config.seed = 1
    config.algorithm.proximal = "old"
    config.algorithm.updates = 2
    config.algorithm.entropy_weight = 0.01
    config.algorithm.topk_distill_weight = 0.5
    config.algorithm.topk_distill = 4
    config.teachers = (teacher,)
    config.train.steps = config.train.save_every = 2
    for group in config.optim.groups.values():
        group.warmup_steps = 0  # with which the first update would be none
    first, second = run(config, tmp_path / "second")
    assert first["ratio/mean"] == pytest.approx(1, abs=1e-6)
    assert first["ratio/square"] == pytest.approx(1, abs=1e-6)
    assert abs(second["ratio/square"] - 1) > 1e-3
    for line in (first, second):
        assert {"clip/low", "clip/high"} <= line.keys()
        assert line["entropy/exact"] == pytest.approx(line["rl/source/counting/entropy"], rel=1e-5)
        assert line["staleness/mean"] == 0
        assert np.isfinite(line["loss"])


EXPERTS = {
    "decoder__num_experts": 4,
    "decoder__num_selected": 2,
    "decoder__expert_dim": 16,
    "decoder__num_shared_experts": 1,
    "decoder__num_dense_layers": 1,
}


def changed(changes):
    """The small config with fields set by their names, `__` between section and field."""
    config = small()
    for name, value in changes.items():
        section, _, field = name.rpartition("__")
        setattr(config[section] if section else config, field, value)
    return config


def test_experts_loads_are_counted():
    """Traced only: what the statistics ask for is there."""
    program = programs.build(changed(EXPERTS))
    assert program.statistics is not None
    statistics = jax.eval_shape(program.statistics.init)
    params = jax.eval_shape(program.init, jax.random.key(0))
    batch = program.batch_shapes()[-1]

    def step(params, batch, statistics):
        with jax.sharding.use_abstract_mesh(program.mesh.abstract_mesh):
            known = {"statistics": statistics, "shared": None}
            found = program.loss(params, None, {**batch, **known}, jax.random.key(0))
        return program.statistics.update(statistics, found.sums)

    after, _ = jax.eval_shape(step, params, batch, statistics)
    assert after["router_bias"].shape == statistics["router_bias"].shape == (1, 4)


@pytest.fixture(scope="module", params=["a run", "a conversion"])
def expert_run(request, tmp_path_factory):
    """(workdir, parameters, biases that its routers choose with)."""
    workdir = str(tmp_path_factory.mktemp("experts"))
    program = programs.build(changed(EXPERTS))
    params = jax.device_get(jax.jit(program.init)(jax.random.key(3)))
    bias = np.linspace(-1, 1, 4, dtype=np.float32)[None]
    statistics = {"step": np.int32(7), "router_bias": bias}
    if request.param == "a conversion":
        checkpoint.save_params(workdir, with_router_bias(params, statistics))
        return workdir, params, bias
    saved = checkpoint.Checkpointer(workdir)
    state = TrainState(np.int32(7), params, {}, jax.random.key(0), np.int32(0), statistics)
    saved.save(7, state, {})
    saved.wait()
    saved.close()
    return workdir, params, bias


def test_experts_of_another_run_choose_with_its_biases(expert_run):
    workdir, params, bias = expert_run
    config = changed(EXPERTS)
    fresh = jax.jit(programs.build(config).init)(jax.random.key(4))
    found = load(rl_settings.read(config, None, ""), fresh, workdir)  # a reference or a teacher
    wanted = with_router_bias(params, {"router_bias": bias})
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    config.train.init_from = workdir
    statistics = programs.build(config).statistics
    begun = statistics.calibrate(None)
    np.testing.assert_array_equal(begun["router_bias"], bias)
    assert begun["step"] == 0
    config.train.init_rules = (("^vision/", "vision/"), (".*", ""))
    assert not programs.build(config).statistics.calibrate(None)["router_bias"].any()


def refused(match, **changes):
    config = changed(changes)
    with pytest.raises(ConfigError, match=match):
        programs.build(config, workdir="")


@pytest.mark.parametrize(
    ("match", "changes"),
    [
        (r"config.sampling.top_k = 0, top_p = 0.9", {"sampling__top_p": 0.9}),
        (r"config.sampling.max_length = 300 is more than", {"sampling__max_length": 300}),
        (r"config.sampling.temperature = 0", {"sampling__temperature": 0.0}),
        (r"config.mesh.stage = 2", {"mesh__stage": 2}),
        (r"config.algorithm.preset", {"algorithm__preset": "gpro"}),
        (r"config.rollout.min_valid = 9", {"rollout__min_valid": 9}),
        (r"config.packing.rows = 0", {"packing__rows": 0}),
        (r"config.engine.running = 'stop'", {"engine__running": "stop"}),
        (r"config.teachers = \(\) are 0 workdirs", {"algorithm__distill_weights": (0.5,)}),
        (r"config.teachers = \('a',\) are 1 workdirs", {"teachers": ("a",)}),
        (
            r"topk_distill_weight = 0.1 takes one teacher, but config.teachers = \(\)",
            {"algorithm__topk_distill_weight": 0.1},
        ),
        (
            r"topk_distill = 1000000 is more than the vocabulary",
            {
                "algorithm__topk_distill_weight": 0.1,
                "algorithm__topk_distill": 10**6,
                "teachers": ("a",),
            },
        ),
        (
            r"config.train.save_every = 1 must be a multiple of config.algorithm.updates = 2",
            {"algorithm__updates": 2},
        ),
        (
            r"updates = 2: after the first update .* proximal = 'current'",
            {"algorithm__updates": 2, "algorithm__proximal": "current"},
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(match, changes):
    refused(match, **changes)
