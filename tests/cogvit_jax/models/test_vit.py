"""CogViT: its size, packing, positions, rematerialisation and precision."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.data.packing import pack, pad, plan_rows
from cogvit_jax.data.transforms import patchify
from cogvit_jax.models import text, vit
from cogvit_jax.models.scan import REMAT_POLICIES
from cogvit_jax.models.two_towers import TwoTowers
from cogvit_jax.settings import ConfigError
from tests.random_params import random_params

P = 4
SMALL = vit.VisionSettings(
    size="tiny",
    width=48,
    depth=2,
    num_heads=3,
    mlp_dim=80,
    patch_size=P,
    dtype="float32",
    remat="none",
)
FAST_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
GRIDS = ((3, 2), (1, 5), (4, 4), (2, 2), (1, 1), (5, 1), (3, 3), (2, 6))
ROW_LENGTH = 20


def settings(**fields):
    return dataclasses.replace(SMALL, **fields)


def tower(**fields):
    return vit.build(settings(**fields))


@pytest.fixture(scope="module")
def images():
    """[(patches, positions)] of pictures of different sizes."""
    rng = np.random.default_rng(0)
    sizes = [(rows * P, columns * P, 3) for rows, columns in GRIDS]
    return [patchify(rng.integers(0, 256, size, dtype=np.uint8), P) for size in sizes]


def padded(images, row_length=ROW_LENGTH):
    return pad(*zip(*images, strict=True), row_length)


def packed(images, groups=1):
    """As `data.layout` does it: each group has rows of its own, equally many."""
    size = len(images) // groups
    parts = [images[i * size : (i + 1) * size] for i in range(groups)]
    budgets = np.max([[len(p) for p, _ in part] for part in parts], axis=0).tolist()
    plan = plan_rows(budgets, ROW_LENGTH)
    num_slots = plan.max_slots + 1
    packs = [pack(*zip(*part, strict=True), plan, ROW_LENGTH, num_slots) for part in parts]
    batch = {k: np.concatenate([p[k] for p in packs]) for k in ("patches", "positions", "segments")}
    slots = np.arange(1, num_slots + 1)
    return batch | {
        "slots": np.stack([p["slots"] for p in packs]),
        "slot_mask": np.any(batch["segments"][:, :, None] == slots, axis=1),
    }


def inputs(batch):
    return batch["patches"], batch["positions"], batch["segments"]


@pytest.fixture(scope="module")
def params(images):
    return random_params(tower().init, *inputs(padded(images)))


@functools.cache
def compiled(**fields):
    return jax.jit(tower(**fields).apply, compiler_options=FAST_COMPILE)


def apply(params, batch, **fields):
    return np.asarray(compiled(**fields)({"params": params}, *inputs(batch)))


def test_released_size():
    model = vit.build(vit.VisionSettings())
    batch = (jnp.zeros((1, 2, 588), jnp.uint8), jnp.zeros((1, 2, 2), int), jnp.ones((1, 2), int))
    params = jax.eval_shape(model.init, jax.random.key(0), *batch)["params"]
    count = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in params.items()}
    assert count == {
        "blocks": 403_024_896,
        "patch_embedding": 588 * 1024 + 1024,
        "norm": 1024,
    }


def test_packed_features_equal_padded_ones(params, images):
    alone, batch = padded(images), packed(images)
    expected = apply(params, alone)[alone["segments"] > 0]
    rows = apply(params, batch)
    num_slots = batch["slot_mask"].shape[1]
    places = [divmod(slot, num_slots) for slot in batch["slots"][0]]
    found = [rows[row][batch["segments"][row] == slot + 1] for row, slot in places]
    assert len(rows) < len(images)
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_packed_embeddings_equal_padded_ones(images, groups):
    model = TwoTowers(
        vision_settings=SMALL,
        text_settings=text.TextSettings("tiny", 16, 1, 2, 16, dtype="float32"),
        vocab_size=5,
        embed_dim=24,
    )
    alone = padded(images)
    params = random_params(model.init, alone, np.zeros((len(images), 3), np.int32))

    @functools.partial(jax.jit, compiler_options=FAST_COMPILE)
    def embed(batch):
        return model.apply({"params": params}, batch, method=model.embed_images)

    expected = embed(alone)
    assert np.max(np.abs(expected[1:] - expected[:-1])) > 0.1
    np.testing.assert_allclose(embed(packed(images, groups)), expected, atol=1e-5, rtol=1e-5)


def test_other_images_of_a_row_and_padding_change_nothing(params, images):
    batch = packed(images)
    before = apply(params, batch)
    for segment in range(4):
        mine = batch["segments"] == segment
        noise = np.random.default_rng(segment).integers(0, 256, batch["patches"].shape, np.uint8)
        other = batch | {"patches": np.where(mine[..., None], batch["patches"], noise)}
        after = apply(params, other)
        np.testing.assert_array_equal(after[mine], before[mine])
        changed = np.max(np.abs(after - before), axis=-1)[~mine]
        assert np.all(changed > 1e-3)


def test_features_follow_their_patches_and_see_relative_positions_only(params, images):
    batch = padded(images[-1:], row_length=12)
    before = apply(params, batch)
    order = np.random.default_rng(0).permutation(12)
    shuffled = {k: x[:, order] for k, x in batch.items()}
    np.testing.assert_allclose(apply(params, shuffled), before[:, order], atol=1e-5)
    moved = batch | {"positions": batch["positions"] + np.array([[[7, 30]]], np.int32)}
    np.testing.assert_allclose(apply(params, moved), before, atol=1e-4)
    swapped = batch | {"positions": batch["positions"][..., ::-1]}
    assert np.max(np.abs(apply(params, swapped) - before)) > 1e-2


@pytest.mark.parametrize("grid", [(1, 300), (300, 1)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_extreme_shapes_stay_finite(params, grid, dtype):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (grid[0] * P, grid[1] * P, 3), dtype=np.uint8)
    features = apply(params, padded([patchify(pixels, P)], 304), dtype=dtype)
    assert np.all(np.isfinite(features.astype(np.float32)))


def test_pixels_and_normalised_floats_give_the_same(params, images):
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.6)
    batch = padded(images)
    pixels = batch["patches"].reshape(*batch["patches"].shape[:2], -1, 3) / 255
    floats = ((pixels - np.array(mean)) / np.array(std)).reshape(batch["patches"].shape)
    ours = apply(params, batch, pixel_mean=mean, pixel_std=std)
    other = apply(params, batch | {"patches": floats.astype(np.float32)})
    np.testing.assert_allclose(ours, other, atol=1e-5)


def gradients(params, batch, **fields):
    model = tower(**fields)

    def loss(params, batch):
        features = model.apply({"params": params}, *inputs(batch))
        return jnp.sum(jnp.where(batch["segments"][..., None] > 0, jnp.sin(features), 0))

    return jax.jit(jax.grad(loss), compiler_options=FAST_COMPILE)(params, batch)


@pytest.fixture(scope="module")
def reference(params, images):
    return gradients(params, packed(images))


@pytest.mark.parametrize(
    "fields",
    [*({"remat": name} for name in REMAT_POLICIES if name != "none"), {"scan_unroll": 2}],
    ids=str,
)
def test_rematerialisation_and_unrolling_keep_the_gradients(params, images, reference, fields):
    assert all(np.any(g) for g in jax.tree.leaves(reference))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5, rtol=1e-5),
        gradients(params, packed(images), **fields),
        reference,
    )


def test_bfloat16_is_close(params, images):
    batch = packed(images)
    half, whole = apply(params, batch, dtype="bfloat16"), apply(params, batch)
    assert half.dtype == jnp.bfloat16
    x, y = (a[batch["segments"] > 0].astype(np.float64) for a in (half, whole))
    cosine = np.sum(x * y, 1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert cosine.min() > 0.999


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": "tin"}, r"config\.vision\.size = 'tin'.*Did you mean 'tiny'"),
        ({"remat": "dot"}, "remat = 'dot'.*Did you mean 'dots'"),
        ({"width": 50}, r"config\.vision\.width = 50.*num_heads = 3"),
        ({"width": 18}, r"config\.vision\.width = 18.*divisible by 4"),
    ],
)
def test_wrong_settings_are_named(images, fields, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(tower(**fields).init, jax.random.key(0), *inputs(padded(images)))


def test_flops_count_the_matrix_products():
    width, mlp_dim, tokens = 48, 80, 10
    block = 2 * tokens * (4 * width * width + 3 * width * mlp_dim) + 4 * tokens * tokens * width
    embedding = 2 * tokens * 3 * P * P * width
    assert vit.forward_flops(SMALL, tokens, float(tokens)) == SMALL.depth * block + embedding
