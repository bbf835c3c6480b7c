"""Teachers as the step sees them: shapes without weights, features, grids, errors."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax import sharding
from cogvit_jax.models import hog, teachers, vit
from cogvit_jax.models.teachers import TeacherSettings, build, match_grid
from cogvit_jax.settings import ConfigError

VISION = vit.VisionSettings(size="tiny", width=32, depth=2, num_heads=2, mlp_dim=48, patch_size=4)
PICTURE = {"image_size": 24, "patch_size": 4, "dtype": "float32"}
SETTINGS = {
    "siglip2": TeacherSettings("siglip2", size="tiny", **PICTURE),
    "siglip2_naflex": TeacherSettings("siglip2_naflex", size="tiny", **PICTURE),
    "dinov3": TeacherSettings("dinov3", size="tiny", **PICTURE),
    "hog": TeacherSettings("hog", **PICTURE),
    "tower": TeacherSettings("tower", **PICTURE),
}
PATCHES = np.random.default_rng(0).integers(0, 256, (8, 36, 48), np.uint8)


def random_params(teacher, seed=1):
    rng = np.random.default_rng(seed)

    def draw(struct):
        noise = rng.standard_normal(struct.shape)
        return (noise / max(struct.shape[-1:], default=1) ** 0.5).astype(struct.dtype)

    return jax.tree.map(draw, teacher.shapes())


@pytest.mark.parametrize("kind", teachers.KINDS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_features_have_the_shape_and_dtype_that_the_teacher_says(kind, dtype):
    config = dataclasses.replace(SETTINGS[kind], dtype=dtype)
    teacher = build(config, VISION)
    shapes = teacher.shapes()
    assert {str(x.dtype) for x in jax.tree.leaves(shapes)} <= {dtype}
    found = jax.eval_shape(teacher.features, shapes, PATCHES)
    assert found.shape == (8, 36, teacher.dim)
    assert teacher.grid == 6
    assert str(found.dtype) == (dtype if kind != "hog" else "float32")


def test_the_tower_is_cogvit():
    teacher = build(SETTINGS["tower"], VISION)
    params = random_params(teacher)
    positions = np.indices((6, 6), dtype=np.int32).reshape(2, -1).T
    model = vit.build(dataclasses.replace(VISION, dtype="float32", remat="none"))
    inputs = (PATCHES, jnp.tile(positions[None], (8, 1, 1)), jnp.ones((8, 36), jnp.int32))
    expected = jax.jit(model.apply)({"params": params}, *inputs)
    np.testing.assert_allclose(jax.jit(teacher.features)(params, PATCHES), expected, atol=1e-6)


def test_hog_is_hog_and_has_no_weights():
    teacher = build(SETTINGS["hog"])
    assert teacher.shapes() == {}
    patches = jnp.asarray(PATCHES)
    np.testing.assert_array_equal(teacher.features({}, patches), hog.features(patches, 4))


@pytest.mark.parametrize("kind", ["siglip2", "dinov3", "tower"])
def test_sharded_like_the_student(kind):
    """Weights split over fsdp, rows over all devices: the same features, split by rows."""
    teacher = build(SETTINGS[kind], VISION)
    params = random_params(teacher)
    alone = jax.jit(teacher.features)(params, PATCHES)
    rules = ((r"kernel$", ("fsdp",)), (r".*", ()))
    mesh = sharding.make_mesh(sharding.MeshSettings(data=2, fsdp=4))
    placed = jax.tree.map(jax.device_put, params, sharding.param_shardings(mesh, rules, params))
    rows = jax.device_put(PATCHES, sharding.batch_sharding(mesh))
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # as in the train step
        compiled = jax.jit(teacher.features).lower(placed, rows).compile()
    together = compiled(placed, rows)
    np.testing.assert_allclose(together, alone, atol=2e-5)
    assert {s.data.shape[0] for s in together.addressable_shards} == {1}
    moves = r"= (\S+) (?:all-gather|all-reduce|all-to-all|collective-permute)\("
    moved = re.findall(moves, compiled.as_text())
    assert moved  # weights; an activation would show its tokens, 5 more of DINOv3 than patches
    assert not [shape for shape in moved if re.search(r"\b(36|41)\b", shape)]


def test_flops_are_what_the_compiler_counts():
    teacher = build(SETTINGS["dinov3"])
    lowered = jax.jit(teacher.features).lower(teacher.shapes(), PATCHES[:1])
    counted = lowered.compile().cost_analysis()["flops"]
    # Counted once for a loop over both blocks, with norms and 5 tokens more.
    blocks = teacher.flops - 2 * 36 * 48 * 48
    assert blocks / 2 < counted < 1.5 * blocks


@pytest.mark.parametrize("side", [6, 3, 4, 9])
def test_match_grid_keeps_constants_and_grids_that_agree(side):
    features = jnp.asarray(np.random.default_rng(0).standard_normal((2, 36, 5)), jnp.float32)
    matched = match_grid(features, side)
    assert matched.shape == (2, side * side, 5)
    if side == 6:
        assert matched is features
    constant = match_grid(jnp.broadcast_to(features[:, :1], features.shape), side)
    np.testing.assert_allclose(constant, np.tile(features[:, :1], (1, side**2, 1)), atol=1e-6)


def test_match_grid_keeps_places():
    """A ramp over rows stays a ramp over rows inside, in bfloat16 too."""
    ramp = np.repeat(np.arange(8.0), 8).reshape(1, 64, 1)
    for dtype in (jnp.float32, jnp.bfloat16):
        halved = match_grid(jnp.asarray(ramp, dtype), 4)
        assert halved.dtype == dtype
        rows = np.asarray(halved, np.float32).reshape(4, 4)
        np.testing.assert_allclose(rows[1:3], [[2.5] * 4, [4.5] * 4], atol=1e-6)


def test_match_grid_reads_every_feature():
    """Without antialiasing most of a much finer grid would count for nothing."""
    weights = jax.grad(lambda x: jnp.sum(match_grid(x, 2)))(jnp.ones((1, 64, 1)))
    assert float(jnp.min(weights)) > 0.01


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "siglip"}, r"teachers\.a\.kind = 'siglip'.*Did you mean 'siglip2'"),
        ({"size": "So400"}, r"teachers\.a\.size = 'So400'.*Did you mean 'So400m'"),
        ({"kind": "dinov3", "size": "H"}, r"teachers\.a\.size = 'H'.*Choices: 7B, B, H\+"),
        ({"head": "conv"}, r"teachers\.a\.head = 'conv'.*Choices: linear, mlp"),
        ({"normalize": "ema"}, r"teachers\.a\.normalize = 'ema'.*ema_std"),
        ({"image_size": 384, "patch_size": 14}, r"image_size = 384 is not a multiple.*378"),
        ({"image_size": 8, "patch_size": 14}, r"image_size = 8 .* set it to 14"),
        ({"patch_size": 0}, r"patch_size = 0"),
        ({"kind": "tower", "patch_size": 6}, r"a\.patch_size = 6, but the tower .* 4 pixels"),
    ],
)
def test_errors(fields, message):
    config = dataclasses.replace(SETTINGS["siglip2"], **fields)
    with pytest.raises(ConfigError, match=message):
        build(config, VISION, "config.teachers.a")


def test_a_tower_needs_its_settings():
    with pytest.raises(ConfigError, match="needs the vision settings"):
        build(SETTINGS["tower"])
