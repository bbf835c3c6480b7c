"""Small decoders, random parameters and rows for the decoder's tests."""

import jax
import jax.numpy as jnp
import numpy as np

from mmtp.models import decoder
from mmtp.models.decoder import DecoderSettings

SMALL = {
    "width": 32,
    "depth": 3,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 12,
    "mlp_dim": 48,
    "vocab_size": 40,
    "rotary_dim": 8,
    "mrope_sections": (1, 1, 2),
}
EXPERTS = {
    "num_experts": 6,
    "num_selected": 2,
    "expert_dim": 16,
    "num_shared_experts": 1,
    "num_dense_layers": 1,
    "routed_scale": 1.5,
}
KINDS = {
    "sandwich": {"sandwich_norms": True, "rope_interleaved": True, "tied": True},
    "normed": {"sandwich_norms": False, "qk_norm": True, "tied": False, "qkv_bias": True},
    "experts": {"sandwich_norms": False, "rope_interleaved": False, "tied": False} | EXPERTS,
}


def make_config(kind, **fields):
    return decoder.resolve(DecoderSettings("tiny", **(SMALL | KINDS[kind] | fields)))


def make_params(config, seed=0):
    """Parameters of which no gain is 1 and no bias 0."""
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), config))
    rng = np.random.default_rng(seed)

    def draw(path, x):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        noise = rng.standard_normal(x.shape)
        if name.endswith("scale"):
            value = 1 + 0.2 * noise
        elif name.endswith("bias"):
            value = 0.2 * noise
        else:
            value = noise / np.sqrt(config.width)
        return jnp.asarray(value, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def random_rows(config, rows=2, tokens=9, seed=0):
    """(tokens, positions), the latter of no simple order."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, config.vocab_size, (rows, tokens))
    steps = rng.integers(0, 3, (rows, tokens, 3))
    return jnp.asarray(ids, jnp.int32), jnp.asarray(np.cumsum(steps, axis=1), jnp.int32)


def logits(params, config, tokens, positions, segments=None, order=None, usable=None, **options):
    """Logits of whole rows."""
    if segments is None:
        segments = jnp.ones(tokens.shape, jnp.int32)
    inputs = decoder.make_inputs(config, positions, segments, order, usable)
    hidden, _ = decoder.run(
        params, config, decoder.embed(params, config, tokens), inputs, **options
    )
    return decoder.logits(params, config, decoder.final_norm(params, config, hidden))


def step(params, config, tokens, positions, start, cache, usable=None):
    """(logits, cache) of the next tokens of every row; `start` `[b]` is where they begin."""
    order = start[:, None] + jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
    segments = jnp.ones(tokens.shape, jnp.int32)
    inputs = decoder.make_inputs(config, positions, segments, order, usable)
    x = decoder.embed(params, config, tokens)
    hidden, cache = decoder.run(params, config, x, inputs, cache)
    return decoder.logits(params, config, decoder.final_norm(params, config, hidden)), cache
