"""Both towers on packed rows are those on padded ones, in loss and gradients, on any mesh."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax import sharding
from cogvit_jax.data.layout import DataSettings
from cogvit_jax.data.pipeline import pair_batches
from cogvit_jax.data.text import load_tokenizer, token_ids
from cogvit_jax.data.text_packing import pack_texts, plan_texts
from cogvit_jax.evals.embed import Embedder
from cogvit_jax.models import text, vit
from cogvit_jax.models.two_towers import TwoTowers
from cogvit_jax.settings import ConfigError
from cogvit_jax.tree import named_leaves
from tests.random_params import random_params

PATCH, LENGTH = 2, 24
# All keys shift by it alike, which softmax does not see: its gradient is rounding error.
DEAD = "image_pool/key/bias"
DATA = DataSettings(
    train="embedded:digits/train@0.5,embedded:photos/train@0.5",
    global_batch=16,
    text_length=LENGTH,
    lengths=(9,),
    num_workers=0,
)
PACKED = {"layout": "packed", "row_length": 30, "text_layout": "packed", "text_row_length": 31}


def towers(**fields):
    options = {"dtype": "float32", "remat": "none"}
    masked = {"attend_padding": False} | fields
    return TwoTowers(
        vision_settings=vit.VisionSettings("tiny", 16, 1, 2, 32, patch_size=PATCH, **options),
        text_settings=text.TextSettings("tiny", 16, 1, 2, 32, **masked, **options),
        vocab_size=load_tokenizer().vocab_size,
        embed_dim=16,
        text_length=LENGTH,
    )


def batch_of(mesh, microbatches=1, **fields):
    settings = DataSettings(**(vars(DATA) | fields))
    batches = pair_batches(settings, mesh, PATCH, 0, None, "concept", microbatches)
    batch = next(batches)
    batches.close()
    return batch


def images_of(batch):
    return {k: batch[k] for k in ("image", "image_ids")}


@partial(jax.jit, static_argnums=0)
def embed_texts(model, params, text):
    return model.apply({"params": params}, text, method=TwoTowers.embed_texts)


@pytest.fixture(scope="module", autouse=True)
def fast_compilation():
    """Compiling is nearly all of this file's time, and what it compares does not need tuning."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def params():
    mesh = sharding.make_mesh(sharding.MeshSettings(data=1), jax.devices()[:1])
    batch = batch_of(mesh)
    return random_params(towers().init, batch["image"], batch["text"])


def pair_loss(params, texts, part):
    """Sum over the part's images and all texts."""
    model = towers()
    images = model.apply({"params": params}, part["image"], method=TwoTowers.embed_images)
    same = part["image_ids"].reshape(-1, 1) == texts["ids"][None]
    logits = jnp.exp(params["log_scale"]) * images @ texts["emb"].T + params["bias"]
    return -jnp.sum(jax.nn.log_sigmoid(jnp.where(same, logits, -logits)))


@jax.jit
def step(params, batch):
    """(loss, gradients) of the whole batch."""

    def total(params):
        emb = embed_texts(towers(), params, batch["text"])
        return pair_loss(params, {"emb": emb, "ids": batch["text_ids"]}, images_of(batch))

    return jax.value_and_grad(total)(params)


@pytest.fixture(scope="module")
def expected(params):
    mesh = sharding.make_mesh(sharding.MeshSettings(data=1), jax.devices()[:1])
    return jax.device_get(step(params, batch_of(mesh)))


def assert_gradients(found, expected):
    for (name, a), (_, b) in zip(named_leaves(found), named_leaves(expected), strict=True):
        if name != DEAD:
            bound = 2e-5 * np.abs(b).max() + 1e-7
            np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize("num_devices", [1, 8])
def test_packed_step_equals_the_padded_one(params, expected, make_mesh, num_devices):
    mesh = make_mesh(num_devices)
    batch = batch_of(mesh, **PACKED)
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        loss, grads = jax.device_get(step(params, batch))
    # 256 terms in f32, summed in another order.
    np.testing.assert_allclose(loss, expected[0], rtol=1e-5)
    assert_gradients(grads, expected[1])


@pytest.mark.parametrize("layout", [{}, PACKED], ids=["padded", "packed"])
def test_microbatches_of_images_sum_to_the_step(params, expected, make_mesh, layout):
    batch = batch_of(make_mesh(2), 4, **layout)

    @jax.jit
    def summed(params, batch):
        def total(params):
            emb = embed_texts(towers(), params, batch["text"])
            texts = {"emb": emb, "ids": batch["text_ids"]}
            parts = sharding.split_microbatches(images_of(batch), 4)
            return jnp.sum(jax.lax.map(lambda part: pair_loss(params, texts, part), parts))

        return jax.value_and_grad(total)(params)

    loss, grads = jax.device_get(summed(params, batch))
    np.testing.assert_allclose(loss, expected[0], rtol=1e-5)
    assert_gradients(grads, expected[1])


def test_rows_of_texts_need_a_tower_that_masks(params, make_mesh):
    batch = batch_of(make_mesh(1), **PACKED)
    attending = towers(attend_padding=True)
    for model, given in ((attending, batch["text"]), (towers(), batch["text"]["tokens"][0])):
        with pytest.raises(ConfigError, match=r"config\.text\.attend_padding = "):
            embed_texts(model, params, given)


def test_tokens_alone_do_where_padding_is_attended_to(params, make_mesh):
    batch, model = batch_of(make_mesh(1)), towers(attend_padding=True)
    found = [
        embed_texts(model, params, given) for given in (batch["text"], batch["text"]["tokens"])
    ]
    np.testing.assert_array_equal(*found)
    masked = embed_texts(towers(), params, batch["text"])
    assert np.max(np.abs(found[0] - masked)) > 1e-2


def test_evaluation_embeds_captions_as_packed_training_does(params, make_mesh):
    mesh, tokenizer = make_mesh(2), load_tokenizer()
    captions = ["a red dress", "一顶帽子", "x", "a cat on a warm windowsill in the sun"]
    ids = [token_ids(tokenizer, c) for c in captions]
    plan = plan_texts([len(c) for c in ids], num_groups=1, num_rows=2, row_length=32)
    rows, order = pack_texts(ids, plan, 2, 32, tokenizer.pad_id)
    expected = embed_texts(towers(), params, rows)
    embed = partial(embed_texts, towers())
    embedder = Embedder(embed, embed, mesh, tokenizer, LENGTH, PATCH, 9, 6, mask_padding=True)
    found = embedder.texts(params, captions)
    assert np.max(np.abs(found[1:] - found[:-1])) > 0.05
    np.testing.assert_allclose(found[order], expected, atol=1e-5)


def test_embedding_packed_rows_moves_nothing_between_devices(params, make_mesh):
    mesh = make_mesh(8)
    batch = batch_of(mesh, microbatches=2, **PACKED)

    def embed(params, batch):
        return towers().apply({"params": params}, batch["image"], batch["text"])[:2]

    def total(params, batch):
        return sum(jnp.sum(x) for x in embed(params, batch))

    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        forward = jax.jit(embed).lower(params, batch).compile().as_text()
        backward = jax.jit(jax.grad(total)).lower(params, batch).compile().as_text()
    names = r" (all-gather|all-to-all|all-reduce|collective-permute|reduce-scatter)\("
    assert set(re.findall(names, forward)) == set()
    assert set(re.findall(names, backward)) == {"all-reduce"}  # of the parameters' gradients
