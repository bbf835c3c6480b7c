"""Stage 2 computes the same on any mesh, in any layout, by any method."""

import re

import jax
import numpy as np
import pytest

from cogvit_jax import optim, sharding, train_step, tree
from cogvit_jax.programs import stage2
from cogvit_jax.settings import ConfigError
from configs.common import FSDP, FSDP_TENSOR, REPLICATED
from configs.stage2 import get_config

# axes, sharding rules, method of the loss, microbatches
MESHES = {
    "1 device": ({"data": 1}, REPLICATED, "all_pairs", 1),
    "8 data": ({"data": 8}, REPLICATED, "bidirectional", 2),
    "4 data, 2 fsdp": ({"data": 4, "fsdp": 2}, FSDP, "ring", 1),
    "2 slices, 2 fsdp, 2 tensor": (
        {"dcn": 2, "fsdp": 2, "tensor": 2, "data": 1},
        FSDP_TENSOR,
        "all_gather",
        4,
    ),
    "1 device, in parts": ({"data": 1}, REPLICATED, "dual_gather", 4),
}
STEPS, LR, ADAM_B1 = 3, 1e-4, 0.9
# All keys shift by it alike, which softmax does not see: its gradient is rounding error.
DEAD = "image_pool/key/bias"


def make_config(**data):
    """The smoke variant without evaluators, at one length, with AdamW throughout.

    AdamW because Muon's Newton-Schulz iterations magnify rounding errors in near-zero singular
    values, which says nothing about the mesh.
    """
    config = get_config("smoke")
    with config.unlocked():
        config.data.heldout = ""
        config.data.lengths = (9,)
        config.data.update(data)
        config.optim.algorithm_rules = ((".*", "adamw"),)
        config.optim.adam_b1, config.optim.clip_norm = ADAM_B1, 0.0
        for group in config.optim.groups.values():
            group.lr, group.warmup_steps, group.schedule = LR, 0, "constant"
    return config


def prepare(config, axes, rules, microbatches=1):
    """(program, optimizer, shapes of the state, their shardings, step) on the first devices."""
    num_devices = int(np.prod(list(axes.values())))
    mesh = sharding.make_mesh(sharding.MeshSettings(**axes), jax.devices()[:num_devices])
    config.train.microbatches = microbatches
    program = stage2.build(config, mesh)
    params = jax.eval_shape(program.init, jax.random.key(0))
    optimizer = optim.build(config.optim, params, STEPS)
    shapes = train_step.state_shapes(program, optimizer.transform, config.seed)
    placed = train_step.state_shardings(program, rules, shapes)
    step = train_step.make_step(
        program, optimizer.transform, optimizer.groups, placed, microbatches
    )
    return program, optimizer, shapes, placed, step


def train(axes, rules, method, microbatches):
    """(parameters, Adam's first moments after one step, metrics of every step) on the host."""
    config = make_config()
    config.loss.method = method
    program, optimizer, _, placed, step = prepare(config, axes, rules, microbatches)
    state = train_step.init_state(program, optimizer.transform, config.seed, placed)
    batches, metrics, moments = program.batches(None), [], None
    for _ in range(STEPS):
        state, measured = step(state, None, next(batches))
        metrics.append(jax.device_get(measured))
        if moments is None:
            # The first moments are then the gradients times 1 - b1.
            moments = jax.device_get(state.opt_state)
    batches.close()
    return jax.device_get(state.params), moments, metrics


@pytest.fixture(scope="module", autouse=True)
def fast_compilation():
    """Compiling is nine tenths of this file's time, and what it compares does not need tuning."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def trained():
    return {name: train(*settings) for name, settings in MESHES.items()}


def assert_close(found, expected, rtol, atol=0.0):
    """Largest difference in each array, relative to its largest number."""
    pairs = zip(tree.named_leaves(found), tree.named_leaves(expected), strict=True)
    compared = 0
    for (name, a), (_, b) in pairs:
        if DEAD in name or not np.issubdtype(np.asarray(a).dtype, np.floating):
            continue
        bound = rtol * np.abs(b).max(initial=0) + atol
        np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=name)
        compared += 1
    assert compared > 30


def moments_of(opt_state):
    return {n: x for n, x in tree.named_leaves(opt_state) if "/mu/" in n}


@pytest.mark.parametrize("name", list(MESHES)[1:])
def test_training_is_the_same_on_any_mesh(trained, name):
    params, opt_state, metrics = trained[name]
    expected_params, expected_opt_state, expected_metrics = trained["1 device"]
    assert_close(moments_of(opt_state), moments_of(expected_opt_state), rtol=1e-5)
    # Adam divides by the gradient's own size, so that tiny gradients' rounding shows: 1e-4 of lr.
    assert_close(params, expected_params, rtol=1e-5, atol=1e-4 * STEPS * LR)
    for found, expected in zip(metrics, expected_metrics, strict=True):
        assert found.keys() == expected.keys()
        for key in expected:
            # atol: the mean negative logit is a sum of 240 numbers of both signs.
            np.testing.assert_allclose(found[key], expected[key], 1e-5, 1e-5, err_msg=key)


def test_training_moves_every_parameter(trained):
    _, opt_state, metrics = trained["1 device"]
    moments = moments_of(opt_state)
    kernel = max(np.abs(x).max() for n, x in moments.items() if "image_pool/key/kernel" in n)
    for name, x in moments.items():
        limit = 1e-6 * kernel
        assert (np.abs(x).max() < limit) if DEAD in name else (np.abs(x).max() > limit), name
    assert len({float(m["loss"]) for m in metrics}) == STEPS
    assert all(float(m["finite"]) == 1 for m in metrics)


@pytest.fixture(scope="module", params=[1, 2])
def packed(request):
    """(batch -> (mean loss, gradients)) and the first batch, on two devices.

    Rows of 21 tokens hold two pictures of at most 9, and some padding. In one and two microbatches.
    """
    mesh = sharding.make_mesh(sharding.MeshSettings(data=2), jax.devices()[:2])
    config = make_config(layout="packed", row_length=21)
    config.loss.method, config.train.microbatches = "bidirectional", request.param
    program = stage2.build(config, mesh)
    # The key that `train_step.init_state` gives it.
    params = jax.jit(program.init)(jax.random.split(jax.random.key(0))[0])

    @jax.jit
    def gradients(batch):
        key = jax.random.key(0)
        loss, grads = train_step.gradients(program, params, None, batch, key, request.param)
        return loss.total / loss.weight, grads

    return gradients, first_batch(program)


def first_batch(program):
    batches = program.batches(None)
    batch = next(batches)
    batches.close()
    return batch


def test_packed_equals_padded(trained, packed):
    _, opt_state, metrics = trained["1 device"]
    gradients, batch = packed
    groups = batch["image"]["slots"].shape[0]
    assert batch["image"]["segments"].shape == (groups, 8 // groups, 21)
    loss, grads = gradients(batch)
    np.testing.assert_allclose(loss, metrics[0]["loss"], rtol=1e-5)
    moments = moments_of(opt_state)
    compared = 0
    for name, grad in tree.named_leaves(jax.device_get(grads)):
        (moment,) = (m for n, m in moments.items() if n.endswith(f"/mu/{name}"))
        if name != DEAD:
            expected = moment / (1 - ADAM_B1)
            bound = 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(grad, expected, rtol=0, atol=bound, err_msg=name)
            compared += 1
    assert compared == len(moments) - 1


def test_batches_do_not_depend_on_reader_threads():
    mesh = sharding.make_mesh(sharding.MeshSettings(data=2), jax.devices()[:2])
    batches = []
    for threads in (1, 4):
        config = make_config(layout="packed", row_length=21, read_threads=threads)
        batches.append(first_batch(stage2.build(config, mesh)))
    jax.tree.map(np.testing.assert_array_equal, *batches)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "rings"}, r"config\.loss\.method = 'rings'.*Did you mean 'ring'"),
        ({"positives": "concepts"}, r"config\.loss\.positives.*Did you mean 'concept'"),
        ({"method": "all_pairs", "chunk_size": 4}, r"config\.loss\.chunk_size = 4 has no effect"),
    ],
)
def test_wrong_choices_are_refused_at_start(change, message):
    config = make_config()
    config.loss.update(change)
    with pytest.raises(ConfigError, match=message):
        stage2.build(config)


def test_fsdp_gathers_weights_and_never_activations():
    config = make_config(global_batch=40)
    program, _, shapes, placed, step = prepare(config, {"data": 4, "fsdp": 2}, FSDP)
    batches = program.batches(None)
    state = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, placed
    )
    text = step.lower(state, None, next(batches)).compile().as_text()
    batches.close()
    gathered = re.findall(r"= \w+\[([\d,]+)\]\S* all-gather\(", text)
    rows = {"10", "20", "40"}  # more than a device's 5, none of them a dim of a parameter
    assert gathered, "split weights are gathered"
    assert [x for x in gathered if x.split(",")[0] in rows and x.count(",") > 1] == []
