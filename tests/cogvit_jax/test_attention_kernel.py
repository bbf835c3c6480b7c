"""The attention kernel in an interpreter against plain attention in float64, and in modules."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax import attention, sharding, topology
from cogvit_jax.kernels import attention as kernel
from cogvit_jax.kernels import attention_tile, cost
from cogvit_jax.settings import ConfigError
from tests.random_params import random_params

EPS = 1e-5
# Relative to the largest entry. An f32 sum of a few hundred products has an error of about
# 1e-7 · sqrt(n) of them; measured here: at most 7e-7.
TOLERANCE = 1e-6


def oracle(qkv, segments, rope, gains, num_heads):
    """Attention by its definition, in the dtype of its inputs."""
    q, k, v = (x.reshape(*x.shape[:2], num_heads, -1) for x in qkv)
    size = q.shape[-1]

    def prepare(x, gain):
        if gain is not None:
            x = x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + EPS) * gain.reshape(1, 1, 1, -1)
        if rope is not None:
            cos, sin = (r[:, :, None].astype(x.dtype) for r in rope)
            turned = jnp.concatenate([-x[..., size // 2 :], x[..., : size // 2]], -1)
            x = x * cos + turned * sin
        return x

    q, k = (prepare(x, g) for x, g in zip((q, k), gains or (None, None), strict=True))
    logits = jnp.einsum("bqhk,bthk->bhqt", q, k) / math.sqrt(size)
    if segments is not None:
        logits = jnp.where(attention.same_segment(segments, segments), logits, -jnp.inf)
    out = jnp.einsum("bhqt,bthk->bqhk", jax.nn.softmax(logits, -1), v)
    return out.reshape(qkv[0].shape)


def make_inputs(rows, tokens, num_heads, head_dim, gain=1.0, seed=0):
    rng = np.random.default_rng(seed)
    shape = (rows, tokens, num_heads * head_dim)
    qkv = tuple(rng.standard_normal(shape) for _ in range(3))
    gains = tuple(gain * (1 + 0.2 * rng.standard_normal(head_dim)) for _ in range(2))
    positions = jnp.asarray(rng.integers(0, 40, (rows, tokens, 2)), jnp.int32)
    rope = attention.axial_rope(positions, head_dim)
    return qkv, gains, rope, rng.standard_normal(shape)


def segments_of(layout, rows, tokens):
    """Segment ids; "all" takes one layout after the other, a row each."""
    t = np.arange(tokens)
    layouts = {
        "one image": np.ones(tokens),
        "packed": 1 + t * 5 // tokens,
        "padded": np.where(t < tokens // 3, 1, np.where(t < tokens // 2, 2, 0)),
        "all padding": np.zeros(tokens),
        "ids left out": np.where(t % 3 == 0, 7, 2),  # 1 and 3 to 6 have no token
    }
    if layout is None:
        return None
    chosen = list(layouts.values()) if layout == "all" else [layouts[layout]] * rows
    return jnp.asarray(np.stack(chosen), jnp.int32)


def value_and_grads(fn, qkv, gains, cotangent):
    @jax.jit
    def run(qkv, gains, cotangent):
        out, vjp = jax.vjp(fn, qkv, gains)
        return out, vjp(cotangent)

    return run(qkv, gains, cotangent)


def exact(qkv, segments, rope, gains, num_heads, cotangent):
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (qkv, gains, cotangent))
        found = value_and_grads(
            lambda qkv, gains: oracle(qkv, segments, rope, gains, num_heads), *wide
        )
        return jax.tree.map(np.asarray, found)


def ours(qkv, segments, rope, gains, num_heads, cotangent, dtype=jnp.float32):
    qkv, cotangent = jax.tree.map(lambda x: jnp.asarray(x, dtype), (qkv, cotangent))
    gains = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), gains)
    attend = partial(kernel.attend, num_heads=num_heads, norm_eps=EPS, interpret=True)
    return value_and_grads(
        lambda qkv, gains: attend(qkv, segments, rope, gains), qkv, gains, cotangent
    )


def assert_close(actual, expected, tolerance=TOLERANCE):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        scale = max(np.max(np.abs(e)), 1.0)  # 1 is the size of the inputs
        error = np.max(np.abs(np.asarray(a, np.float64) - e)) / scale
        assert error <= tolerance


@pytest.mark.parametrize(
    ("num_heads", "head_dim"), [(2, 64), (4, 32), pytest.param(1, 128, marks=pytest.mark.slow)]
)
def test_value_and_every_gradient_for_all_layouts(num_heads, head_dim):
    qkv, gains, rope, cotangent = make_inputs(5, 128, num_heads, head_dim)
    args = qkv, segments_of("all", 5, 128), rope, gains, num_heads, cotangent
    assert_close(ours(*args), exact(*args))


@pytest.mark.parametrize(
    ("with_norm", "with_rope", "layout"),
    [(True, False, None), (False, True, "padded")],
)
def test_norm_rope_and_segments_are_options(with_norm, with_rope, layout):
    qkv, gains, rope, cotangent = make_inputs(1, 128, 2, 64)
    segments = segments_of(layout, 1, 128)
    args = qkv, segments, rope if with_rope else None, gains if with_norm else None, 2, cotangent
    assert_close(ours(*args), exact(*args))


def test_blocks_of_queries_and_groups_of_heads(monkeypatch):
    monkeypatch.setattr(attention_tile, "MAX_BLOCK", 128)
    monkeypatch.setattr(attention_tile, "TOKENS_AT_ONCE", 256)  # one tile at a time
    qkv, gains, rope, cotangent = make_inputs(1, 256, 4, 64)
    args = qkv, segments_of("padded", 1, 256), rope, gains, 4, cotangent
    assert_close(ours(*args), exact(*args))


@pytest.mark.parametrize(("tokens", "layout"), [(77, "padded"), (200, None)])
def test_any_number_of_tokens(tokens, layout):
    qkv, gains, rope, cotangent = make_inputs(1, tokens, 2, 64)
    args = qkv, segments_of(layout, 1, tokens), rope, gains, 2, cotangent
    assert_close(ours(*args), exact(*args))


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [512, 640, 1024])
def test_long_rows(tokens):
    # Over 1,024 keys some logits reach 15, which f32 rounds by 1e-6: XLA in f32 is off by 9e-7
    # then, the kernel by 1.25e-6. With gains of a half both are well within the tolerance.
    qkv, gains, rope, cotangent = make_inputs(1, tokens, 4, 64, gain=0.5)
    args = qkv, segments_of("packed", 1, tokens), rope, gains, 4, cotangent
    assert_close(ours(*args), exact(*args))


def test_gains_a_hundred_times_too_large():
    qkv, gains, rope, cotangent = make_inputs(1, 128, 2, 64, gain=100.0)
    args = qkv, segments_of("padded", 1, 128), rope, gains, 2, cotangent
    found, expected = ours(*args), exact(*args)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found))
    # A logit is rounded by up to 2**-24 of its bound, and a weight is off by that factor.
    largest = math.sqrt(64) * math.prod(np.max(np.abs(g)) for g in gains)
    assert largest > 1e5
    assert_close(found, expected, tolerance=largest * 2**-24)


def test_bf16_is_close_to_exact():
    qkv, gains, rope, cotangent = make_inputs(1, 256, 2, 64)
    args = qkv, segments_of("packed", 1, 256), rope, gains, 2, cotangent
    found, expected = ours(*args, dtype=jnp.bfloat16), exact(*args)
    assert found[0].dtype == jnp.bfloat16
    for a, e in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, e = np.asarray(a, np.float64).ravel(), e.ravel()
        assert a @ e / np.sqrt((a @ a) * (e @ e)) > 0.999


@pytest.mark.parametrize(
    ("num_arrays", "axes"),
    [(1, {"data": 4, "fsdp": 2}), (3, {"data": 2, "fsdp": 2, "tensor": 2})],
)
def test_split_over_devices_is_the_same(make_mesh, num_arrays, axes):
    """Rows over the batch axes; heads over `tensor`; q, k and v apart or in one array."""
    mesh = make_mesh(8, **axes)
    qkv, gains, rope, cotangent = make_inputs(8, 128, 4, 64)
    segments = segments_of("packed", 8, 128)
    expected = exact(qkv, segments, rope, gains, 4, cotangent)
    if num_arrays == 1:
        join = partial(np.concatenate, axis=2)
        qkv, expected = (join(qkv),), (expected[0], ((join(expected[1][0]),), expected[1][1]))
    qkv, gains, cotangent = jax.tree.map(np.float32, (qkv, gains, cotangent))
    rows = sharding.batch_sharding(mesh)
    placed = jax.device_put((qkv, segments, rope, cotangent), rows)

    @jax.jit
    def run(qkv, segments, rope, cotangent, gains):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            attend = partial(kernel.attend, num_heads=4, interpret=True)
            out, vjp = jax.vjp(lambda q, g: attend(q, segments, rope, g), qkv, gains)
            return out, vjp(cotangent)

    found = run(*placed, gains)
    assert found[0].sharding.shard_shape(found[0].shape) == (
        8 // sharding.num_batch_shards(mesh),
        128,
        256 // mesh.shape["tensor"],
    )
    assert_close(jax.tree.map(np.asarray, found), expected)


@pytest.mark.parametrize("qk_norm", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_module_has_the_same_parameters_and_gradients(qk_norm):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 60, 128)), jnp.float32)
    segments = segments_of("padded", 2, 60)
    rope = attention.axial_rope(jnp.asarray(rng.integers(0, 9, (2, 60, 2)), jnp.int32), 64)
    plain, fast = (
        attention.Attention(2, qk_norm, implementation=name) for name in ("xla", "pallas_interpret")
    )
    key = jax.random.key(0)
    inits = (jax.jit(m.init)(key, x) for m in (fast, plain))
    jax.tree.map(np.testing.assert_array_equal, *inits)
    params = random_params(plain.init, x)

    def run(model):
        def loss(params, x):
            out, found = model.apply({"params": params}, x, segments, rope, mutable=["diagnostics"])
            return jnp.sum(out * jnp.cos(out)), (out, found["diagnostics"])

        with jax.default_matmul_precision("highest"):
            return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)

    actual, expected = jax.tree.map(np.asarray, (run(fast), run(plain)))
    # Both sides are f32 through three projections: twice the error.
    assert_close(actual, expected, tolerance=2 * TOLERANCE)


def test_auto_takes_what_the_platform_and_the_heads_allow():
    choose = attention.choose_implementation
    assert choose("auto", "tpu") == "pallas"
    assert choose("auto", "tpu", num_heads=3) == "xla"  # 192 features are no whole tiles
    assert choose("auto", "tpu", head_dim=72) == "xla"
    assert choose("auto", "gpu") == "cudnn"
    assert choose("auto", "gpu", dtype="float32") == "xla"
    assert choose("auto", "gpu", head_dim=256) == "xla"
    assert choose("auto", "cpu") == "xla"
    assert [choose("xla", p) for p in ("cpu", "gpu", "tpu")] == ["xla"] * 3


@pytest.mark.parametrize(
    ("name", "platform", "options"),
    [
        ("flash", "tpu", {}),
        ("pallas", "cpu", {}),
        ("cudnn", "tpu", {}),
        ("cudnn", "gpu", {"dtype": "float32"}),
        ("pallas", "tpu", {"head_dim": 72}),
    ],
)
def test_an_impossible_choice_is_an_error(name, platform, options):
    with pytest.raises(ConfigError, match=name):
        attention.choose_implementation(name, platform, **options)


def test_unsupported_shapes_are_named():
    def attend(tokens, width, num_heads):
        qkv = (jnp.zeros((1, tokens, width)),) * 3
        return kernel.attend(qkv, num_heads=num_heads, interpret=True)

    with pytest.raises(ValueError, match="3 heads of 64 and 128 tokens: use implementation 'xla'"):
        attend(128, 192, 3)
    with pytest.raises(ValueError, match="4096 tokens"):
        attend(4096, 128, 2)


def test_estimates_grow_with_the_work_and_never_beat_memory():
    shape = (256, 256, 16, 64)

    def seconds(batch=256, tokens=256, heads=16, head_dim=64, chip="v5e", backward=False):
        return cost.estimated_seconds(batch, tokens, heads, head_dim, chip, backward)

    assert seconds() == cost.estimated_seconds(*shape, "v5e", False)
    assert seconds(backward=True) > seconds()
    assert seconds(batch=512) == pytest.approx(2 * seconds())
    assert seconds(heads=8) == pytest.approx(seconds() / 2)
    assert seconds(tokens=200) == seconds()  # padded
    # The same tokens in longer rows: products of length t² / t.
    times = [seconds(batch=65536 // t, tokens=t) for t in (128, 256, 384, 512, 768, 1024, 2048)]
    assert times == sorted(times)
    for chip, head_dim in cost.BUNDLES:
        figures = next(c for c in topology.CHIPS.values() if c.name == chip)
        moved = 2 * 65536 * 4 * 16 * head_dim
        assert seconds(head_dim=head_dim, chip=chip) >= moved / figures.hbm_bandwidth
    with pytest.raises(KeyError):
        seconds(head_dim=48)


def test_a_call_is_known_by_its_results():
    forward = cost.call_seconds("attention_forward.3", [(8, 256, 1024), (8, 16, 2, 256)], "v5e")
    assert forward == cost.estimated_seconds(8, 256, 16, 64, "v5e", False)
    results = [(8, 256, 3072), (8, 2, 64, 128)]
    backward = cost.call_seconds("attention_backward", results, "v5e")
    assert backward == cost.estimated_seconds(8, 256, 16, 64, "v5e", True)
    assert cost.call_seconds("flash_attention", results, "v5e") is None
    assert cost.call_seconds("attention_backward", results, "v9") is None
