"""Live against transformers' GLM text models: other seeds, released widths, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp.models import decoder
from tests.parity import glm_decoder

pytestmark = pytest.mark.parity
LAYERS = {"num_hidden_layers": 2, "vocab_size": 512}
RELEASED = {
    "ocr": LAYERS
    | {"hidden_size": 1536, "intermediate_size": 4608, "num_attention_heads": 16}
    | {"num_key_value_heads": 8, "head_dim": 128, "mrope_section": [16, 24, 24]}
    | {"partial_rotary_factor": 1.0},
    # A quarter of the heads; their size and the sections are as released.
    "4v": LAYERS
    | {"hidden_size": 1024, "intermediate_size": 3424, "num_attention_heads": 8}
    | {"num_key_value_heads": 2, "mrope_section": [8, 12, 12], "partial_rotary_factor": 0.5},
    "4v_moe": LAYERS
    | {"hidden_size": 512, "intermediate_size": 1024, "num_attention_heads": 12}
    | {"num_key_value_heads": 2, "head_dim": 128, "mrope_section": [8, 12, 12]}
    | {"partial_rotary_factor": 0.5, "n_routed_experts": 128, "num_experts_per_tok": 8}
    | {"moe_intermediate_size": 64, "n_shared_experts": 1, "first_k_dense_replace": 1}
    | {"routed_scaling_factor": 1.0},
}
LONG = (
    ((0, 40), (1, (1, 12, 8)), (0, 9)),
    ((0, 5), (2, (3, 6, 8)), (0, 30), (1, (1, 4, 16)), (0, 2)),
    ((0, 3),),
)


@pytest.fixture(scope="module")
def maker():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.golden import make_glm_decoder

    return make_glm_decoder


def translate(maker, both, kind, sizes):
    config = glm_decoder.make_config(kind, sizes)
    state = maker.state_arrays(both)
    return config, glm_decoder.make_params(state, config)


@pytest.mark.parametrize("kind", RELEASED)
@pytest.mark.parametrize("released", [False, True])
def test_text_models(maker, kind, released):
    sizes = RELEASED[kind] if released else maker.SIZES[kind]
    both = maker.make_model(kind, 3, **sizes)
    config, params = translate(maker, both, kind, sizes)
    batch = maker.make_batch(kind, LONG)
    embeddings = maker.make_embeddings(batch, config.width, 3)
    expected = maker.run_model(both, batch, embeddings)
    arrays = embeddings.numpy(), batch.positions.numpy(), batch.mask.numpy()
    found = glm_decoder.run(params, config, *arrays)
    real = batch.mask.numpy() > 0
    for mine, theirs in zip(found, expected[:2], strict=True):
        np.testing.assert_allclose(mine[real], theirs[real], atol=1e-5, rtol=0)
    gradient = glm_decoder.embedding_gradient(params, config, *arrays)
    np.testing.assert_allclose(gradient[real], expected[2][real], atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", RELEASED)
def test_gradients_of_parameters(maker, kind):
    sizes = maker.SIZES[kind]
    both = maker.make_model(kind, 5, **sizes)
    config, params = translate(maker, both, kind, sizes)
    batch = maker.make_batch(kind)
    embeddings = maker.make_embeddings(batch, config.width, 5)
    maker.run_model(both, batch, embeddings)
    theirs = {n: p.grad.numpy() for n, p in both.named_parameters() if p.grad is not None}
    buffers = {n: b.numpy() * 0 for n, b in both.named_buffers() if n.endswith("bias")}
    table = {"model.embed_tokens.weight": np.zeros((config.vocab_size, config.width), np.float32)}
    expected = glm_decoder.make_params(table | buffers | theirs, config)

    def loss(params):
        positions = jnp.asarray(np.moveaxis(batch.positions.numpy(), 0, -1), jnp.int32)
        segments = jnp.asarray(batch.mask.numpy(), jnp.int32)
        inputs = decoder.make_inputs(config, positions, segments)
        hidden, _ = decoder.run(params, config, jnp.asarray(embeddings.numpy()), inputs)
        logits = decoder.logits(params, config, decoder.final_norm(params, config, hidden))
        return jnp.sum(jnp.sin(logits) * (segments > 0)[..., None])

    with jax.default_matmul_precision("highest"):
        found = jax.jit(jax.grad(loss))(params)
    for (name, mine), other in zip(decoder_leaves(found), jax.tree.leaves(expected), strict=True):
        scale = np.abs(other).max() + 1e-3
        np.testing.assert_allclose(mine / scale, other / scale, atol=5e-5, err_msg=name)


def decoder_leaves(tree):
    return [(jax.tree_util.keystr(p), x) for p, x in jax.tree_util.tree_leaves_with_path(tree)]
