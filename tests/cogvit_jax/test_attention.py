"""Attention, axial RoPE and attention pooling against plain loops in float64 and SigLIP2."""

import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax import attention
from tests.parity.siglip2 import pool_params_from_torch
from tests.random_params import random_params

GOLDEN = Path(__file__).parents[1] / "golden" / "siglip2_pool.npz"
HEADS, HEAD_DIM = 3, 8
DIM = HEADS * HEAD_DIM
SEGMENTS = jnp.array([[1, 1, 1, 2, 2, 2, 2, 0, 0], [1, 2, 1, 3, 3, 2, 3, 3, 1]], jnp.int32)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, atol=5e-6, rtol=1e-5)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.standard_normal((*SEGMENTS.shape, DIM)), jnp.float32)
    return x, jnp.asarray(rng.integers(0, 40, (*SEGMENTS.shape, 2)), jnp.int32)


def rotate_by_loops(vector, position, theta=1e4):
    """Each pair of dims turned by its angle, as a complex number."""
    half, quarter = len(vector) // 2, len(vector) // 4
    out = np.zeros(len(vector))
    for i in range(half):
        axis, pair = divmod(i, quarter)
        angle = position[axis] * theta ** (-4.0 * pair / len(vector))
        turned = complex(vector[i], vector[i + half]) * complex(math.cos(angle), math.sin(angle))
        out[i], out[i + half] = turned.real, turned.imag
    return out


def attend_by_loops(params, x, positions, segments, qk_norm):
    """(output, largest logit between tokens of images), one query and key at a time."""
    p, x = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, x))
    positions, segments = np.asarray(positions), np.asarray(segments)
    out, largest = np.zeros(x.shape), -np.inf
    for row in range(len(x)):
        qkv = np.einsum("td,dchk->tchk", x[row], p["qkv"]["kernel"])
        qkv += p["qkv"]["bias"][None]
        if qk_norm:
            for i, name in enumerate(("q_norm", "k_norm")):
                rms = np.sqrt(np.mean(qkv[:, i] ** 2, axis=-1, keepdims=True) + 1e-5)
                qkv[:, i] = qkv[:, i] / rms * p[name]["scale"][None, None]
        for head in range(HEADS):
            q, k = (list(map(rotate_by_loops, qkv[:, i, head], positions[row])) for i in (0, 1))
            for t, segment in enumerate(segments[row]):
                keys = np.flatnonzero(segments[row] == segment)
                logits = np.array([q[t] @ k[s] for s in keys]) / math.sqrt(HEAD_DIM)
                weights = np.exp(logits - logits.max())
                mixed = weights / weights.sum() @ qkv[keys, 2, head]
                out[row, t] += mixed @ p["out"]["kernel"][head]
                largest = max(largest, logits.max() if segment else -np.inf)
    return out + p["out"]["bias"], largest


@pytest.mark.parametrize("qk_norm", [True, False])
def test_attention_equals_plain_loops(qk_norm):
    x, positions = inputs()
    model = attention.Attention(HEADS, qk_norm)
    params = random_params(model.init, x)
    rope = attention.axial_rope(positions, HEAD_DIM)
    with jax.default_matmul_precision("highest"):
        out, found = model.apply({"params": params}, x, SEGMENTS, rope, mutable=["diagnostics"])
    expected, largest = attend_by_loops(params, x, positions, SEGMENTS, qk_norm)
    close(out, expected)
    close(found["diagnostics"]["max_logit"][0], largest)


def test_without_segments_a_row_is_one_image():
    x, positions = inputs()
    model = attention.Attention(HEADS)
    params = random_params(model.init, x)
    out = model.apply({"params": params}, x, None, attention.axial_rope(positions, HEAD_DIM))
    expected, _ = attend_by_loops(params, x, positions, np.ones_like(SEGMENTS), True)
    close(out, expected)


def test_qk_norm_bounds_the_logits():
    x, _ = inputs()
    model = attention.Attention(HEADS)
    params = random_params(model.init, x)
    gains = [np.max(np.abs(params[n]["scale"])) for n in ("q_norm", "k_norm")]
    for size in (1.0, 1e4):
        _, found = model.apply({"params": params}, size * x, mutable=["diagnostics"])
        largest = found["diagnostics"]["max_logit"][0]
        assert largest <= math.sqrt(HEAD_DIM) * math.prod(gains)


def test_the_largest_logit_is_that_of_images_not_of_padding():
    x, _ = inputs()
    model = attention.Attention(HEADS, qk_norm=False)
    params = random_params(model.init, x)

    def largest(x, segments):
        _, found = model.apply({"params": params}, x, segments, mutable=["diagnostics"])
        return found["diagnostics"]["max_logit"][0]

    padding = (SEGMENTS == 0)[..., None]
    close(largest(jnp.where(padding, 100 * x, x), SEGMENTS), largest(x, SEGMENTS))
    close(largest(x[:1], SEGMENTS[:1]), largest(x[:1, :7], SEGMENTS[:1, :7]))


def test_nothing_is_sown_in_training():
    x, _ = inputs()
    model = attention.Attention(HEADS)
    params = random_params(model.init, x)
    jaxpr = str(jax.make_jaxpr(lambda p: model.apply({"params": p}, x))(params))
    assert "reduce_max[axes=(0, 1, 2, 3)" not in jaxpr
    _, found = model.apply({"params": params}, x, mutable=["batch_stats"])
    assert not found


@pytest.mark.parametrize("shift", [(5, 0), (0, 7), (300, 300)])
def test_rope_sees_relative_positions_only(shift):
    rng = np.random.default_rng(0)
    q, k = jnp.asarray(rng.standard_normal((2, 1, 2, HEADS, HEAD_DIM)), jnp.float32)
    positions = np.array([[[3, 4], [1, 9]]], np.int32)

    def logit(positions):
        rope = attention.axial_rope(jnp.asarray(positions), HEAD_DIM)
        turned = attention.apply_rope(q, rope)[0, 0], attention.apply_rope(k, rope)[0, 1]
        return jnp.sum(turned[0] * turned[1], -1)

    np.testing.assert_allclose(logit(positions + np.array(shift)), logit(positions), atol=1e-4)
    assert np.max(np.abs(logit(positions) - logit(positions[:, :, ::-1]))) > 0.1


def test_rope_keeps_the_dtype_and_needs_pairs_for_both_axes():
    x, positions = inputs()
    rope = attention.axial_rope(positions, HEAD_DIM)
    heads = x.reshape(*x.shape[:2], HEADS, HEAD_DIM).astype(jnp.bfloat16)
    assert attention.apply_rope(heads, rope).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="divisible by 4, got 6"):
        attention.axial_rope(positions, 6)
    with pytest.raises(ValueError, match="width 24 is not divisible by num_heads 5"):
        attention.Attention(5).init(jax.random.key(0), x)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {
            name: x.astype(np.float32) if x.dtype == np.float16 else x for name, x in file.items()
        }


def siglip2_head(golden):
    state = {n.removeprefix("state/"): x for n, x in golden.items() if n.startswith("state/")}
    params = jax.tree.map(jnp.asarray, pool_params_from_torch(state, num_heads=3))
    return attention.AttentionPool(3, state["mlp.fc1.bias"].size), params


@pytest.mark.parametrize("expected", ["pooled", "masked"])
def test_pool_equals_siglip2(golden, expected):
    model, params = siglip2_head(golden)
    mask = np.ones_like(golden["mask"]) if expected == "pooled" else golden["mask"]
    with jax.default_matmul_precision("highest"):
        ours = model.apply(
            {"params": params}, jnp.asarray(golden["tokens"]), jnp.asarray(mask, jnp.int32), 1
        )
    assert ours.shape[1] == 1
    np.testing.assert_allclose(ours[:, 0], golden[expected], atol=5e-5, rtol=1e-5)


def test_pool_of_a_packed_row_equals_siglip2_on_each_image(golden):
    model, params = siglip2_head(golden)
    lengths = golden["mask"].sum(axis=1)
    segments = np.concatenate([np.repeat(np.arange(1, 5), lengths), np.zeros(4, int)])
    tokens = np.concatenate([golden["tokens"][golden["mask"]], golden["tokens"][0, :4]])
    order = np.random.default_rng(0).permutation(len(segments))  # tokens may lie anywhere
    row = jnp.asarray(tokens[order])[None], jnp.asarray(segments[order], jnp.int32)[None]
    ours = model.apply({"params": params}, *row, 6)
    np.testing.assert_allclose(ours[0, :4], golden["masked"], atol=5e-5, rtol=1e-5)
    assert np.all(np.isfinite(ours))  # slots 5 and 6 hold no image


def test_pool_has_no_parameter_beyond_siglip2s(golden):
    model, params = siglip2_head(golden)
    segments = golden["mask"].astype(np.int32)
    ours = random_params(partial(model.init, num_slots=1), golden["tokens"], segments)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, ours)


def test_gradients_of_empty_slots_and_padding_are_zero():
    x, _ = inputs()
    model = attention.AttentionPool(HEADS, 16)
    num_slots = 5
    params = random_params(partial(model.init, num_slots=num_slots), x, SEGMENTS)

    def taken(x):
        pooled = model.apply({"params": params}, x, SEGMENTS, num_slots)
        return jnp.sum(pooled[0, :2] ** 2) + jnp.sum(pooled[1, :3] ** 2)

    grads = jax.grad(taken)(x)
    assert np.all(np.isfinite(grads))
    assert not np.any(grads[SEGMENTS == 0])
    assert np.all(np.any(grads[SEGMENTS > 0] != 0, axis=-1))
