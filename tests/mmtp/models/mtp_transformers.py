"""transformers' arrays of GLM-OCR's multi-token-prediction layers as ours, and our run of them."""

import jax
import jax.numpy as jnp
import numpy as np

from mmtp.models import decoder, mtp
from mmtp.models.decoder import DecoderSettings
from mmtp.models.mtp import MTPSettings

NORMS = {
    "norm1": "input_layernorm",
    "post_norm1": "post_self_attn_layernorm",
    "norm2": "post_attention_layernorm",
    "post_norm2": "post_mlp_layernorm",
}


def config_of(sizes):
    """The decoder's numbers from transformers'."""
    settings = DecoderSettings(
        size="tiny",
        width=sizes["hidden_size"],
        depth=sizes["num_hidden_layers"],
        num_heads=sizes["num_attention_heads"],
        num_kv_heads=sizes["num_key_value_heads"],
        head_dim=sizes["head_dim"],
        mlp_dim=sizes["intermediate_size"],
        vocab_size=sizes["vocab_size"],
        rotary_dim=sizes["head_dim"],
        mrope_sections=tuple(sizes["mrope_section"]),
        tied=False,
    )
    return decoder.resolve(settings)


def layer_params(state, config):
    """One layer."""

    def block(name):
        return np.asarray(state[f"mtp_block.{name}.weight"], np.float32).T

    def heads(name):
        return block(f"self_attn.{name}").reshape(config.width, -1, config.head_dim)

    def gain(name):
        return {"scale": np.asarray(state[f"{name}.weight"], np.float32)}

    gate, up = np.split(block("mlp.gate_up_proj"), 2, axis=1)
    out = block("self_attn.o_proj").reshape(-1, config.head_dim, config.width)
    return {
        "enorm": gain("enorm"),
        "hnorm": gain("hnorm"),
        "norm": gain("post_norm"),
        "proj": {"kernel": np.asarray(state["eh_proj.weight"], np.float32).T},
        "block": {ours: gain(f"mtp_block.{theirs}") for ours, theirs in NORMS.items()}
        | {
            "attention": {
                "query": {"kernel": heads("q_proj")},
                "key": {"kernel": heads("k_proj")},
                "value": {"kernel": heads("v_proj")},
                "out": {"kernel": out},
            },
            "mlp": {
                "gate": {"kernel": gate},
                "up": {"kernel": up},
                "down": {"kernel": block("mlp.down_proj")},
            },
        },
    }


def params_of(state, config, depth):
    """(ours, the decoder's that are needed) from a flat state."""
    layers = []
    for n in range(depth):
        prefix = f"mtp.{n}."
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        layers.append(layer_params(own, config))
    trunk = {
        "embedding": {"table": jnp.asarray(state["embed_tokens.weight"], jnp.float32)},
        "norm": {"scale": jnp.asarray(state["norm.weight"], jnp.float32)},
    }
    return {"blocks": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}, trunk


def run(state, config, depth, tokens, positions, hidden):
    """Normed states `[n - k, d]` of each depth with the preset "hf"; token 0 is `<|image|>`."""
    params, trunk = params_of(state, config, depth)
    n = len(tokens)
    ahead = np.arange(n)[None] + np.arange(1, depth + 1)[:, None]
    valid = ahead < n
    ahead = np.where(valid, ahead, 0)
    batch = {
        "positions": positions[None],
        "mtp_tokens": tokens[ahead][None],
        "mtp_valid": valid[None],
        "mtp_sources": ahead[None],
        "mtp_positions": positions[ahead][None],
    }
    batch = jax.tree.map(lambda x: jnp.asarray(x, bool if x.dtype == bool else jnp.int32), batch)
    inputs = decoder.make_inputs(config, batch["positions"], jnp.ones((1, n), jnp.int32))
    h = jnp.asarray(hidden, jnp.float32)[None]
    settings = MTPSettings(depth=depth, shared=False, conventions="hf")
    with jax.default_matmul_precision("highest"):
        run = jax.jit(lambda: mtp.run(params, trunk, settings, config, h, h, batch, inputs, 0))
        found = run()
    return [x[0, : n - k] for k, x in enumerate(found, start=1)]
