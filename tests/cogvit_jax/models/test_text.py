"""The text tower: equal to SigLIP2's, pooled at the last position, and what its settings mean."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.data.text_packing import pack_texts, pad_texts, plan_texts
from cogvit_jax.models import text, two_towers, vit
from cogvit_jax.settings import ConfigError
from cogvit_jax.tree import named_leaves
from tests.parity.siglip2 import text_params_from_torch
from tests.random_params import random_params

GOLDEN = Path(__file__).parents[2] / "golden" / "siglip2_text.npz"
NUM_HEADS, LENGTH = 3, 8
SMALL = {"size": "tiny", "width": 48, "depth": 3, "num_heads": NUM_HEADS, "mlp_dim": 112}
TOKENS = np.random.default_rng(0).integers(0, 61, (5, LENGTH), dtype=np.int32)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {
            name: x.astype(np.float32) if x.dtype == np.float16 else x for name, x in file.items()
        }


@pytest.fixture(scope="module")
def params():
    return random_params(tower().init, TOKENS)


def state(golden):
    prefix = "state/"
    return {name[len(prefix) :]: x for name, x in golden.items() if name.startswith(prefix)}


def tower(**fields):
    fields = {"dtype": "float32", "remat": "none", **SMALL} | fields
    return text.build(text.TextSettings(**fields), vocab_size=61, length=LENGTH)


@pytest.mark.parametrize("settings", [{"remat": "none"}, {"remat": "full", "scan_unroll": 3}])
def test_equals_siglip2(golden, settings):
    params, _ = text_params_from_torch(state(golden), NUM_HEADS)
    with jax.default_matmul_precision("highest"):
        apply = jax.jit(tower(qk_norm=False, **settings).apply)
        ours = apply({"params": params}, golden["tokens"])
    np.testing.assert_allclose(ours, golden["last"], atol=5e-5, rtol=1e-5)


def test_embedding_equals_siglip2(golden):
    params, projection = text_params_from_torch(state(golden), NUM_HEADS)
    model = two_towers.TwoTowers(
        vision_settings=vit.VisionSettings(size="tiny"),
        text_settings=text.TextSettings(**SMALL, qk_norm=False, dtype="float32", remat="none"),
        vocab_size=61,
        embed_dim=projection["bias"].size,
        text_length=LENGTH,
    )
    params = {"text": params, "text_projection": projection, "log_scale": 0.0, "bias": 0.0}
    with jax.default_matmul_precision("highest"):
        tokens = jnp.asarray(golden["tokens"])
        ours = model.apply({"params": params}, tokens, method=model.embed_texts)
    expected = golden["pooled"] / np.linalg.norm(golden["pooled"], axis=1, keepdims=True)
    np.testing.assert_allclose(ours, expected, atol=5e-5, rtol=1e-5)


def test_siglip2_has_no_parameter_that_we_lack_and_we_none_that_it_lacks(golden):
    params, projection = text_params_from_torch(state(golden), NUM_HEADS)
    model = tower(qk_norm=False)
    ours = jax.eval_shape(model.init, jax.random.key(0), golden["tokens"])["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(jnp.shape, ours)
    theirs = sum(x.size for x in state(golden).values())
    assert sum(x.size for x in jax.tree.leaves((params, projection))) == theirs


def test_every_position_is_read_also_those_after_the_text(params):
    changed = (TOKENS[:1] + np.eye(LENGTH, dtype=np.int32)) % 61  # row i: another token at i
    features = jax.jit(tower().apply)({"params": params}, np.concatenate([TOKENS[:1], changed]))
    assert np.all(np.max(np.abs(features[1:] - features[:1]), axis=1) > 1e-2)


def test_texts_of_a_batch_do_not_see_each_other(params):
    apply = jax.jit(tower().apply)
    together = apply({"params": params}, TOKENS)
    for i in range(len(TOKENS)):
        others = np.roll(TOKENS, 1, axis=1)
        others[i] = TOKENS[i]
        np.testing.assert_allclose(apply({"params": params}, others)[i], together[i], atol=1e-5)


def test_bfloat16_is_close(params):
    half = jax.jit(tower(dtype="bfloat16").apply)({"params": params}, TOKENS)
    whole = jax.jit(tower().apply)({"params": params}, TOKENS)
    assert half.dtype == jnp.bfloat16
    x, y = (np.asarray(a, np.float64) for a in (half, whole))
    cosine = np.sum(x * y, 1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert cosine.min() > 0.999


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": "So400"}, r"config\.text\.size = 'So400'.*Did you mean 'So400m'"),
        ({"remat": "ful"}, "remat = 'ful'.*Did you mean 'full'"),
        ({"width": 50}, r"config\.text\.width = 50.*num_heads = 3"),
    ],
)
def test_wrong_settings_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(tower(**fields).init, jax.random.key(0), TOKENS)


def test_flops_count_the_matrix_products():
    config = text.TextSettings(**SMALL)
    width, mlp_dim, depth = 48, 112, 3
    projections = 2 * 5 * LENGTH * (4 * width * width + 2 * width * mlp_dim)
    attention = 2 * 2 * 5 * LENGTH * LENGTH * width
    assert text.forward_flops(config, 5 * LENGTH, float(LENGTH)) == depth * (
        projections + attention
    )


LENGTHS, ROW_LENGTH = (8, 1, 3, 5, 2, 8), 10
PACKED = {"qk_norm": True, "attend_padding": False}


@pytest.fixture(scope="module")
def captions():
    rng = np.random.default_rng(1)
    return [[*rng.integers(2, 61, n - 1).tolist(), 1] for n in LENGTHS]


def padded(captions, length=LENGTH, pad_id=0):
    return pad_texts(captions, length, pad_id)


def packed(captions, groups, pad_id=0, row_length=ROW_LENGTH):
    """One row per two captions is room for all of them. And the captions' order."""
    rows = len(captions) // groups
    plan = plan_texts([len(c) for c in captions], groups, rows, row_length)
    return pack_texts(captions, plan, rows, row_length, pad_id)


def features(params, batch):
    """By the tower alone: rows of all groups merged."""
    arrays = {k: x if k == "slots" else x.reshape(-1, x.shape[-1]) for k, x in batch.items()}
    return jax.jit(tower(**PACKED).apply)({"params": params}, **arrays)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_packed_features_equal_padded_ones(params, captions, groups):
    batch, order = packed(captions, groups)
    assert len(np.unique(batch["segments"])) > 2  # rows hold several
    expected = features(params, padded(captions))
    np.testing.assert_allclose(features(params, batch), expected[order], atol=1e-5, rtol=1e-5)


def test_packed_gradients_equal_padded_ones(params, captions):
    weights = np.random.default_rng(2).standard_normal((len(captions), SMALL["width"]))
    weights = weights.astype(np.float32)
    batch, order = packed(captions, 2)

    def gradient(batch, weights):
        return jax.grad(lambda p: jnp.sum(features(p, batch) * weights))(params)

    expected = gradient(padded(captions), weights)
    found = gradient(batch, weights[order])
    for (name, a), (_, b) in zip(named_leaves(found), named_leaves(expected), strict=True):
        # Sums of some 30 f32 terms in another order; relative to the array's largest number.
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max() + 1e-6, err_msg=name)
        assert np.abs(b).max() > 1e-3 or "qkv/bias" in name, name


def test_masked_texts_do_not_see_padding_and_full_ones_are_siglip2s(params, captions):
    expected = features(params, padded(captions))
    for other in (padded(captions, pad_id=7), packed(captions, 1, pad_id=9)[0]):
        order = packed(captions, 1)[1] if "slots" in other else slice(None)
        np.testing.assert_allclose(features(params, other), expected[order], atol=1e-5)
    full = [c for c in captions if len(c) == LENGTH]
    plain = jax.jit(tower().apply)({"params": params}, padded(full)["tokens"])
    np.testing.assert_allclose(plain, expected[np.array(LENGTHS) == LENGTH], atol=1e-5)


def test_captions_of_a_row_do_not_see_each_other(params, captions):
    batch, _ = packed(captions, 1)
    before = features(params, batch)
    owner = batch["slots"][0, 0]
    row, column = divmod(int(owner), ROW_LENGTH)
    mine = np.zeros_like(batch["segments"], bool)
    mine[0, row] = batch["segments"][0, row] == batch["segments"][0, row, column]
    other = batch | {"tokens": np.where(mine, batch["tokens"], 60 - batch["tokens"])}
    after = features(params, other)
    np.testing.assert_array_equal(after[0], before[0])
    assert np.all(np.max(np.abs(after[1:] - before[1:]), axis=1) > 1e-3)


@pytest.mark.parametrize("vocab_size", [0, 61, 100])
def test_table_may_have_spare_rows(vocab_size):
    size = text.table_size(text.TextSettings(vocab_size=vocab_size), 61)
    assert size == (vocab_size or 61)


def test_a_tokenizer_larger_than_the_table_is_refused():
    with pytest.raises(ConfigError, match=r"vocab_size = 60 is less than the 61 pieces"):
        text.table_size(text.TextSettings(vocab_size=60), 61)
