"""Encoding pictures in chunks, with activations recomputed or waiting in the host's memory."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.models import merger, vit
from cogvit_jax.settings import ConfigError
from cogvit_jax.sharding import batch_sharding
from mmtp.models.projector import ACTIVATIONS, VisionMemory, check_memory, encode_images
from tests.random_params import random_params

SETTINGS = vit.VisionSettings(
    width=16, depth=2, num_heads=2, mlp_dim=24, patch_size=2, dtype="float32", remat="full"
)
GROUPS, ROWS, PATCHES, WIDTH = 8, 4, 8, 12
SMALL = 100  # bytes: more than a constant, less than any activation
MLP = ROWS * PATCHES * 24 * 4  # bytes of an MLP activation of one group's rows


@pytest.fixture(scope="module")
def case():
    """(parameters, pictures, weights of the tokens in the loss)."""
    rng = np.random.default_rng(0)
    shape = (GROUPS, ROWS, PATCHES)
    image = {
        "patches": jnp.asarray(rng.integers(0, 256, (*shape, 12)), jnp.uint8),
        "positions": jnp.asarray(rng.integers(0, 4, (*shape, 2)), jnp.int32),
        "segments": jnp.asarray(np.repeat([[1, 1, 2, 0]], 8, 0).reshape(1, 1, -1)[..., :PATCHES])
        * jnp.ones(shape, jnp.int32),
    }
    flat = jax.tree.map(lambda x: x[0], image)
    params = {
        "vision": random_params(vit.build(SETTINGS).init, *flat.values()),
        "projector": random_params(
            lambda key: {"params": merger.init(key, SETTINGS.width, WIDTH, 20)}
        ),
    }
    weights = jnp.asarray(rng.normal(size=(GROUPS, ROWS, PATCHES // 4, WIDTH)), jnp.float32)
    return params, image, weights


def loss_of(memory, remat="full"):
    model = vit.build(dataclasses.replace(SETTINGS, remat=remat))

    def loss(params, image, weights):
        tokens = encode_images(model, params, image, memory)
        return jnp.sum(tokens * weights), tokens

    return loss


def run(memory, case, remat="full"):
    """(tokens, gradients)."""
    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    gradient = jax.jit(jax.grad(loss_of(memory, remat), has_aux=True), compiler_options=quick)
    grads, tokens = gradient(*case)
    return tokens, grads


def assert_equal(found, wanted):
    """f32 sums in another order: gradients add up chunk by chunk."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=5e-5, rtol=1e-5), found, wanted)


def first_group(case):
    params, image, weights = case
    return params, jax.tree.map(lambda x: x[:1], image), weights[:1]


@pytest.fixture(scope="module")
def plain(case):
    with jax.default_matmul_precision("highest"):
        return run(VisionMemory(), first_group(case), "none")


PLANS = (
    VisionMemory(2),
    VisionMemory(1, ("block_input",), MLP // 4, 0.5),
    VisionMemory(0, ACTIVATIONS, SMALL),
)
ALL_PLANS = (
    *itertools.product((0, 1, 2, 4), [()], (SMALL,), (1.0,)),
    *itertools.product(
        (0, 1, 2), [("block_input",), ACTIVATIONS], (SMALL, MLP // 4), (0.0, 0.5, 1.0)
    ),
)


@pytest.mark.parametrize("memory", PLANS)
def test_plans_give_the_same_tokens_and_gradients(case, plain, memory):
    with jax.default_matmul_precision("highest"):
        assert_equal(run(memory, first_group(case)), plain)


@pytest.mark.slow
@pytest.mark.parametrize("fields", ALL_PLANS)
def test_every_plan_gives_the_same_tokens_and_gradients(case, plain, fields):
    with jax.default_matmul_precision("highest"):
        assert_equal(run(VisionMemory(*fields), first_group(case)), plain)


@pytest.mark.parametrize(
    "names", [pytest.param((), marks=pytest.mark.slow), ("block_input", "mlp_up")]
)
def test_eight_devices_equal_one(case, make_mesh, names):
    """Groups are split over the devices; chunks are taken within each group."""
    memory = VisionMemory(2, names, SMALL, 0.5)
    with jax.default_matmul_precision("highest"):
        wanted = run(memory, case)
        mesh = make_mesh(8)
        params, image, weights = case
        split = jax.device_put((image, weights), batch_sharding(mesh))
        with jax.set_mesh(mesh):
            found = run(memory, (params, *split))
    assert found[0].sharding.shard_shape(found[0].shape)[0] == 1
    assert_equal(jax.device_get(found), jax.device_get(wanted))


def to_host(memory, case):
    """Shapes of all arrays that the traced program puts in the host's memory."""
    jaxpr = jax.make_jaxpr(jax.grad(loss_of(memory), has_aux=True))(*case)
    found = []

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "device_put":
                found.extend(
                    variable.aval.shape
                    for variable, target in zip(
                        equation.outvars, equation.params["devices"], strict=True
                    )
                    if target == jax.memory.Space.Host
                )
            for inner in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
            ):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    visit(inner)

    visit(jaxpr.jaxpr)
    return sorted(found)


def test_nothing_goes_to_the_host_unless_named(case):
    case = first_group(case)
    for memory in (VisionMemory(), VisionMemory(1), VisionMemory(1, ACTIVATIONS, SMALL, 0.0)):
        assert to_host(memory, case) == []


@pytest.mark.parametrize("name", ["mlp_gate", "mlp_up"])
def test_named_activations_of_all_blocks_wait_on_the_host(case, name):
    """With them the last block's output, without which all blocks would run once more."""
    case = first_group(case)
    found = to_host(VisionMemory(2, (name,), SMALL), case)
    # depth, rows of a chunk, patches, features
    assert found == sorted([(2, 2, PATCHES, 24), (2, PATCHES, 16)])


def test_smaller_ones_are_recomputed(case):
    """Bytes of one block and chunk decide: an MLP activation is larger than a block's input."""
    case = first_group(case)
    names = ("block_input", "mlp_up")
    assert (2, ROWS, PATCHES, 16) in to_host(VisionMemory(ROWS, names, SMALL), case)
    assert to_host(VisionMemory(ROWS, names, MLP), case) == [(2, ROWS, PATCHES, 24)]
    assert to_host(VisionMemory(ROWS, names, MLP + 1), case) == []


def test_fraction_is_of_the_chunks(case):
    """A chunk's arrays are put there inside a loop over the chunks that offload."""
    params, image, weights = first_group(case)
    for fraction, length in ((0.5, 2), (0.25, 1), (1.0, 4)):
        memory = VisionMemory(1, ("mlp_up",), SMALL, fraction)
        text = str(jax.make_jaxpr(jax.grad(loss_of(memory), has_aux=True))(params, image, weights))
        assert f"f32<host>[{length},2,1,{PATCHES},24]" in text
        assert text.count("<host>[") > 0


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        (VisionMemory(3), r"config\.vision_memory\.chunk_rows = 3 must divide the 4"),
        (VisionMemory(-1), r"chunk_rows = -1"),
        (VisionMemory(8), r"chunk_rows = 8"),
        (VisionMemory(1, ("block_inputs",)), r"config\.vision_memory\.offload.*block_input"),
        (VisionMemory(1, ("mlp_up",), -1), r"offload_min_bytes = -1"),
        (VisionMemory(1, ("mlp_up",), 0, 1.5), r"offload_fraction = 1\.5"),
    ],
)
def test_wrong_settings_are_named(memory, message):
    with pytest.raises(ConfigError, match=message):
        check_memory(memory, ROWS)
