"""The decoder: released models' numbers, caches, documents, order, sizes."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.models.scan import REMAT_POLICIES
from cogvit_jax.settings import ConfigError
from mmtp.models import decoder
from mmtp.models.decoder import DecoderSettings
from tests.mmtp.models.decoder_cases import (
    KINDS,
    logits,
    make_config,
    make_params,
    random_rows,
    step,
)
from tests.parity import glm_decoder
from tests.parity.glm_ocr import golden_state, load_golden

# Two orders of the same f32 sums; the largest difference seen is 4e-6.
CLOSE = {"atol": 1e-5}
kinds = pytest.mark.parametrize("kind", KINDS)
run_step = jax.jit(step, static_argnums=1)
run_logits = jax.jit(logits, static_argnums=1)


@pytest.fixture(autouse=True)
def _precise():
    with jax.default_matmul_precision("highest"):
        yield


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize("kind", ["ocr", "4v", "4v_moe"])
def test_transformers_text_models(kind):
    """Left-padded rows with a picture, two pictures, a video, and text."""
    golden = load_golden(f"glm_decoder_{kind}")
    config = glm_decoder.make_config(kind, json.loads(str(golden["config"])))
    params = glm_decoder.make_params(golden_state(golden), config)
    inputs = (golden["embeddings"], golden["positions"], golden["mask"])
    found = glm_decoder.run(params, config, *inputs)
    for mine, name in zip(found, ("hidden", "logits"), strict=True):
        real = golden["mask"]
        np.testing.assert_allclose(mine[real], golden[name][real], atol=1e-5, rtol=0)
    gradient = glm_decoder.embedding_gradient(params, config, *inputs)
    np.testing.assert_allclose(gradient[real], golden["gradient"][real], atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "body", "total"),
    [
        ("glm_0p5b", 490_831_872, 673_285_632),  # 16 x 30.7M, and two tables of 59392 x 1536
        ("glm4v_9b", 8_158_760_960, 9_400_279_040),
        ("glm4p5v", 105_610_733_184, 106_851_202_688),
    ],
)
def test_sizes_have_the_released_numbers_of_parameters(size, body, total):
    config = decoder.resolve(DecoderSettings(size))
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), config))
    assert count({k: x for k, x in shapes.items() if "blocks" in k}) == body
    assert count(shapes) == total


@kinds
@pytest.mark.parametrize("chunk", [1, 3])
def test_decoding_is_the_whole_row(kind, chunk):
    config = make_config(kind)
    params = make_params(config)
    tokens, positions = random_rows(config)
    whole = run_logits(params, config, tokens, positions)
    cache = decoder.init_cache(config, 2, 12)
    for at in range(0, 9, chunk):
        part = slice(at, at + chunk)
        start = jnp.full(2, at, jnp.int32)
        found, cache = run_step(params, config, tokens[:, part], positions[:, part], start, cache)
        np.testing.assert_allclose(found, whole[:, part], **CLOSE)


def test_prompts_of_unequal_lengths_and_rejected_drafts():
    """Padding behind a prompt and drafts that were not kept leave no trace."""
    config = make_config("sandwich")
    params = make_params(config)
    tokens, positions = random_rows(config, tokens=9)
    lengths = jnp.asarray([6, 3], jnp.int32)
    cache = decoder.init_cache(config, 2, 9)
    junk = random_rows(config, tokens=6, seed=1)[0]
    real = jnp.arange(6)[None] < lengths[:, None]
    prompt = jnp.where(real, tokens[:, :6], junk)
    zero = jnp.zeros(2, jnp.int32)
    _, cache = run_step(params, config, prompt, positions[:, :6], zero, cache)
    _, cache = run_step(params, config, junk[:, :3], positions[:, :3], lengths, cache)
    rows = jnp.arange(2)[:, None]
    places = lengths[:, None] + jnp.arange(3)[None]
    found, _ = run_step(
        params, config, tokens[rows, places], positions[rows, places], lengths, cache
    )
    whole = run_logits(params, config, tokens, positions)
    np.testing.assert_allclose(found, whole[rows, places], **CLOSE)


@kinds
def test_packed_documents_are_separate_documents(kind):
    config = make_config(kind)
    params = make_params(config)
    tokens, positions = random_rows(config, rows=1, tokens=12)
    segments = jnp.asarray([[1] * 4 + [2] * 5 + [0] * 3], jnp.int32)
    packed = run_logits(params, config, tokens, positions, segments)
    for part in (slice(0, 4), slice(4, 9)):
        alone = run_logits(params, config, tokens[:, part], positions[:, part])
        np.testing.assert_allclose(packed[:, part], alone, **CLOSE)


@kinds
def test_tokens_may_come_in_any_order(kind):
    config = make_config(kind)
    params = make_params(config)
    tokens, positions = random_rows(config)
    segments = jnp.asarray([[1] * 5 + [2] * 4, [1] * 7 + [0] * 2], jnp.int32)
    straight = run_logits(params, config, tokens, positions, segments)
    rng = np.random.default_rng(0)
    order = jnp.asarray([rng.permutation(9) for _ in range(2)], jnp.int32)
    rows = jnp.arange(2)[:, None]
    permuted = (x[rows, order] for x in (tokens, positions, segments))
    found = run_logits(params, config, *permuted, order)
    np.testing.assert_allclose(found, straight[rows, order], **CLOSE)


def test_a_token_sees_only_its_past():
    config = make_config("sandwich")
    params = make_params(config)
    tokens, positions = random_rows(config)
    before = run_logits(params, config, tokens, positions)
    changed = tokens.at[:, 5].set((tokens[:, 5] + 1) % config.vocab_size)
    after = run_logits(params, config, changed, positions)
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert np.all(np.abs(after - before)[:, 5:].max(axis=-1) > 1e-3)


def test_keys_that_are_not_usable_are_seen_by_themselves_alone():
    config = make_config("normed")
    params = make_params(config)
    tokens, positions = random_rows(config)
    usable = jnp.ones(tokens.shape, bool).at[:, 4].set(False)
    before = run_logits(params, config, tokens, positions, usable=usable)
    changed = tokens.at[:, 4].set((tokens[:, 4] + 1) % config.vocab_size)
    after = run_logits(params, config, changed, positions, usable=usable)
    same = np.delete(np.arange(9), 4)
    np.testing.assert_array_equal(before[:, same], after[:, same])
    assert np.all(np.abs(after - before)[:, 4].max(axis=-1) > 1e-3)
    cache = decoder.init_cache(config, 2, 9)
    for at in range(9):
        part = slice(at, at + 1)
        arrays = tokens[:, part], positions[:, part], jnp.full(2, at, jnp.int32), cache
        found, cache = run_step(params, config, *arrays, usable[:, part])
        np.testing.assert_allclose(found, before[:, part], **CLOSE)


def loss(params, config, tokens, positions):
    return jnp.mean(jnp.sin(logits(params, config, tokens, positions)))


gradients = jax.jit(jax.value_and_grad(loss), static_argnums=1)


@pytest.mark.parametrize("kind", ["sandwich", pytest.param("experts", marks=pytest.mark.slow)])
def test_remat_and_unrolling_change_nothing(kind):
    config = make_config(kind)
    params = make_params(config)
    rows = random_rows(config)
    expected = jax.tree.leaves(gradients(params, config, *rows))
    for change in ({"remat": "full"}, {"remat": "norms", "scan_unroll": 2}):
        other = dataclasses.replace(config, **change)
        for mine, theirs in zip(
            jax.tree.leaves(gradients(params, other, *rows)), expected, strict=True
        ):
            np.testing.assert_allclose(mine, theirs, atol=1e-6, rtol=1e-4)


def test_remat_keeps_what_its_policy_names():
    config = dataclasses.replace(make_config("sandwich"), remat="norms")
    params = make_params(config)
    rows = random_rows(config)
    assert set(REMAT_POLICIES) >= {"full", "qkv", "norms"}
    text = str(jax.make_jaxpr(jax.grad(loss), static_argnums=1)(params, config, *rows))
    for name in ("qkv", "attention_out", "mlp_gate", "mlp_up"):
        assert f"name={name}" in text


def test_gradients_are_slopes():
    """With QK-Norm, which no released model here has."""
    config = make_config("normed")
    params = make_params(config)
    rows = random_rows(config)
    value, grads = gradients(params, config, *rows)
    rng = np.random.default_rng(0)
    direction = jax.tree.map(
        lambda x: jnp.asarray(rng.standard_normal(x.shape), jnp.float32), params
    )
    slope = sum(
        float(jnp.vdot(a, b))
        for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(direction), strict=True)
    )
    size = 2e-4  # f32: the loss carries 1e-7, its third derivative is of order 1

    def moved(sign):
        there = jax.tree.map(lambda x, d: x + sign * size * d, params, direction)
        return float(gradients(there, config, *rows)[0])

    found = (moved(1) - moved(-1)) / (2 * size)
    np.testing.assert_allclose(found, slope, rtol=1e-2, atol=2e-3)
    assert np.isfinite(value)


@pytest.mark.slow
def test_loads_count_real_tokens_per_layer_with_experts():
    config = make_config("experts")
    params = make_params(config)
    tokens, positions = random_rows(config)
    segments = jnp.asarray([[1] * 5 + [2] * 4, [1] * 7 + [0] * 2], jnp.int32)
    inputs = decoder.make_inputs(config, positions, segments)
    x = decoder.embed(params, config, tokens)
    _, _, loads = decoder.run_counting(params, config, x, inputs)
    assert loads.shape == (2, 6)
    np.testing.assert_array_equal(np.sum(loads, axis=1), [16 * 2, 16 * 2])
    assert (
        decoder.run_counting(make_params(make_config("normed")), make_config("normed"), x, inputs)[
            2
        ]
        is None
    )


def test_bfloat16_is_close():
    config = make_config("sandwich", dtype="bfloat16")
    params = make_params(config)
    rows = random_rows(config)
    found = run_logits(params, config, *rows)
    assert found.dtype == jnp.float32
    exact = run_logits(params, dataclasses.replace(config, dtype="float32"), *rows)
    # 8 bits of mantissa through three layers; logits have a deviation of about 1.
    assert np.abs(found - exact).max() < 0.15


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": "glm_0p6b"}, "Did you mean 'glm_0p5b'"),
        ({"num_kv_heads": 4}, "not a multiple of num_kv_heads = 4"),
        ({"mrope_sections": (4, 6, 5)}, "twice the sum of mrope_sections"),
        ({"rotary_dim": 64, "mrope_sections": (32,)}, "at most head_dim = 32"),
        ({"num_experts": 4, "num_selected": 5}, "num_selected = 5 must be from 1"),
        ({"num_experts": 4, "num_selected": 2, "num_dense_layers": 4}, "leave a layer of depth"),
        ({"remat": "everything"}, "config.decoder.remat = 'everything'"),
    ],
)
def test_numbers_that_do_not_fit(fields, words):
    with pytest.raises(ConfigError, match=words):
        decoder.resolve(DecoderSettings(**({"size": "tiny"} | fields)))
