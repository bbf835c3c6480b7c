"""The vision-language model on the stages of a pipeline computes what one device does."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cogvit_jax import optim, settings, sharding, train_step, tree
from cogvit_jax.matrices import map_matrices
from cogvit_jax.settings import ConfigError
from configs import vlm_pretrain
from mmtp.models import context
from mmtp.models.pipeline_schedule import Schedule
from mmtp.programs import build, vlm_pipeline
from tests.mmtp.vlm_steps import (
    LOSS,
    QUICK,
    assert_same,
    host_batch,
    loss_and_gradient,
    make_model,
    one_device,
)

LAYERS = 4


def check(arm, axes, repeats=1, *, microbatches=4, attend=context.gathered, ends="branch"):
    mesh = sharding.make_mesh(sharding.MeshSettings(**axes))
    model = make_model(LAYERS, visual_input=arm)
    schedule = Schedule(mesh.shape["stage"], repeats, microbatches)

    def loss(params, frozen, batch, key):
        return vlm_pipeline.pipelined(model, LOSS, schedule, attend, params, batch, ends=ends)

    found = loss_and_gradient(model, mesh, host_batch(mesh), loss=loss)
    assert_same(found, one_device(arm, LAYERS))


def test_stages_context_and_data_equal_one_device():
    check("visual", {"stage": 2, "context": 2, "data": 2}, repeats=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arm", "axes", "options"),
    [
        ("masked", {"stage": 2, "context": 2, "data": 2}, {}),
        (
            "image_token_frozen",
            {"stage": 2, "fsdp": 4},
            {"attend": context.local, "microbatches": 2},
        ),
        ("visual", {"stage": 4, "context": 2, "data": 1}, {"attend": context.ring}),
        ("image_token", {"stage": 2, "context": 4, "data": 1}, {"repeats": 2, "microbatches": 8}),
        ("visual", {"stage": 2, "context": 2, "data": 2}, {"ends": "select"}),
    ],
)
def test_more_pipelines(arm, axes, options):
    check(arm, axes, **options)


def make_config(**pipeline):
    """The smoke variant without evaluators, of four layers; groups do not depend on the mesh."""
    config = vlm_pretrain.get_config("smoke")
    with config.unlocked():
        config.data.heldout = ""
        config.data.groups = 4
        config.decoder.depth = 4
        config.pipeline.update(pipeline)
        # A gradient that is zero but for rounding errors must not become a step of size 1.
        config.optim.adam_eps = 1e-3
    return config


def train(axes, **pipeline):
    """(parameters, shardings, update) of one step of the program that the config describes."""
    config = make_config(**pipeline)
    with config.unlocked():
        config.mesh.update(axes)
    num = int(np.prod([config.mesh[a] for a in sharding.AXES]))
    mesh = sharding.make_mesh(
        settings.read(sharding.MeshSettings, config.mesh, "config.mesh"), jax.devices()[:num]
    )
    program = build(config, mesh)
    shapes = jax.eval_shape(program.init, jax.random.key(0))
    placed = sharding.param_shardings(mesh, config.mesh.rules, shapes)
    optimizer = optim.build(config.optim, shapes, 2, placed)
    state_shapes = train_step.state_shapes(program, optimizer.transform, config.seed)
    where = train_step.state_shardings(program, config.mesh.rules, state_shapes)
    with jax.default_matmul_precision("highest"):
        state = train_step.init_state(program, optimizer.transform, config.seed, where)
        before = jax.device_get(state.params)
        step = train_step.make_step(
            program, optimizer.transform, optimizer.groups, where, compiler_options=QUICK
        )
        batches = program.batches(None)
        state, _ = step(state, None, next(batches))
        batches.close()
    after = jax.device_get(state.params)
    return before, jax.tree.map(np.subtract, after, before), where.params


@pytest.mark.slow
def test_a_training_step_of_the_program():
    """Layers and their optimizer state lie on the stages, and Muon and AdamW do the same."""
    axes = {"stage": 2, "context": 2, "data": 2}
    before, moved, where = train(axes, microbatches=2, repeats=2)
    expected_before, expected, _ = train({"data": 1})
    jax.tree.map(np.testing.assert_array_equal, before, expected_before)
    kernel = where["decoder"]["blocks"]["mlp"]["gate"]["kernel"]
    assert kernel.spec[0] == "stage"
    for (name, x), (_, y) in zip(
        tree.named_leaves(moved), tree.named_leaves(expected), strict=True
    ):
        # Newton-Schulz magnifies rounding errors of 1e-7 up to 3.4^5 = 500 times.
        assert np.linalg.norm(x - y) <= 1e-3 * np.linalg.norm(y), name


@pytest.mark.parametrize("turned", [False, True])
def test_muon_on_layers_that_lie_on_stages(make_mesh, turned):
    """Each stage has the matrices of its layers, and a share of those that all stages hold."""
    mesh = make_mesh(8, stage=2, fsdp=2, data=2)
    rng = np.random.default_rng(0)
    arrays = {
        "layers": rng.normal(size=(4, 6, 8)).astype(np.float32),
        "shared": rng.normal(size=(3, 6, 8)).astype(np.float32),
    }
    specs = {
        "layers": PartitionSpec("stage", *((None, "fsdp") if turned else ("fsdp", None))),
        "shared": PartitionSpec(None, "fsdp", None),
    }
    where = {name: NamedSharding(mesh, spec) for name, spec in specs.items()}
    placed = {name: jax.device_put(x, where[name]) for name, x in arrays.items()}
    dims = dict.fromkeys(arrays, ((1,), (2,)))

    def scale(x):  # as orthogonalising does, needs whole matrices
        return x / jnp.linalg.norm(x, axis=(1, 2), keepdims=True).clip(1e-6)

    found = jax.jit(partial(map_matrices, scale, dims=dims, shardings=where))(placed)
    expected = map_matrices(scale, arrays, dims)
    for name, x in expected.items():
        np.testing.assert_allclose(found[name], x, rtol=1e-6)
        assert found[name].sharding.is_equivalent_to(where[name], 3)


@pytest.mark.parametrize(
    ("axes", "pipeline", "message"),
    [
        ({"stage": 2, "tensor": 2}, {}, r"config\.mesh\.tensor = 2 .*stage = 2.*set tensor to 1"),
        ({"stage": 8}, {}, r"config\.mesh\.stage = 8 .*4 layers: change either"),
        ({"stage": 2}, {"repeats": 4}, r"stage = 2 times config\.pipeline\.repeats = 4 .*4 layers"),
        ({"stage": 2}, {"microbatches": 0}, r"config\.pipeline\.microbatches = 0: .*at least 1"),
        (
            {"stage": 2},
            {"microbatches": 3},
            r"config\.data\.groups = 4.*times 3 .*or 0 for 12",
        ),
        ({"stage": 2, "context": 2, "data": 2}, {}, r"config\.attention = 'xla'.*'auto'"),
    ],
)
def test_what_does_not_fit_is_told(axes, pipeline, message):
    config = make_config(**pipeline)
    with config.unlocked():
        config.mesh.update(axes)
        config.attention = "xla"
    with pytest.raises(ConfigError, match=message):
        build(config)
