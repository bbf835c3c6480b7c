"""transformers' GLM text models as our decoder: names, layouts and rows."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp.models import decoder
from mmtp.models.decoder import DecoderConfig, DecoderSettings

NORMS = {  # with and without sandwich norms, "post_attention_layernorm" is before the MLP
    "norm1": "input_layernorm",
    "post_norm1": "post_self_attn_layernorm",
    "norm2": "post_attention_layernorm",
    "post_norm2": "post_mlp_layernorm",
}


def make_config(kind: str, sizes: Mapping[str, Any]) -> DecoderConfig:
    """Our config of one of `make_glm_decoder`'s models, in f32."""
    moe = kind == "4v_moe"
    heads = sizes["num_attention_heads"]
    head_dim = sizes.get("head_dim", sizes["hidden_size"] // heads)
    experts = {}
    if moe:
        experts = {
            "num_experts": sizes["n_routed_experts"],
            "num_selected": sizes["num_experts_per_tok"],
            "expert_dim": sizes["moe_intermediate_size"],
            "num_shared_experts": sizes["n_shared_experts"],
            "num_dense_layers": sizes["first_k_dense_replace"],
            "routed_scale": sizes["routed_scaling_factor"],
        }
    settings = DecoderSettings(
        "tiny",
        width=sizes["hidden_size"],
        depth=sizes["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=sizes["num_key_value_heads"],
        head_dim=head_dim,
        mlp_dim=sizes["intermediate_size"],
        vocab_size=sizes["vocab_size"],
        rotary_dim=int(head_dim * sizes["partial_rotary_factor"]),
        mrope_sections=tuple(sizes["mrope_section"]),
        rope_interleaved=not moe,
        sandwich_norms=not moe,
        qkv_bias=kind != "ocr",
        tied=False,
        **experts,
    )
    return decoder.resolve(settings)


def make_params(state: Mapping[str, np.ndarray], config: DecoderConfig) -> Any:
    """Our parameters from a state dict with the names of `make_glm_decoder.make_model`."""
    num_dense = config.num_dense_layers if config.moe else 0
    layers = [_layer(state, f"model.layers.{i}.", config) for i in range(config.depth)]
    params = {
        "embedding": {"table": state["model.embed_tokens.weight"]},
        "blocks": _stack(layers[num_dense:]),
        "norm": {"scale": state["model.norm.weight"]},
        "head": {"kernel": state["lm_head.weight"].T},
    }
    if num_dense:
        params["dense_blocks"] = _stack(layers[:num_dense])
    return jax.tree.map(jnp.asarray, params)


def run(
    params: Any, config: DecoderConfig, embeddings: Any, positions: Any, mask: Any
) -> tuple[np.ndarray, np.ndarray]:
    """(normed hidden states, logits); positions `[3, b, t]`, padding is segment 0."""

    def forward(params: Any, x: Any, positions: Any, segments: Any) -> Any:
        inputs = decoder.make_inputs(config, positions, segments)
        hidden, _ = decoder.run(params, config, x, inputs)
        normed = decoder.final_norm(params, config, hidden)
        return normed, decoder.logits(params, config, normed)

    with jax.default_matmul_precision("highest"):
        found = jax.jit(forward)(
            params,
            jnp.asarray(embeddings, jnp.float32),
            jnp.asarray(np.moveaxis(positions, 0, -1), jnp.int32),
            jnp.asarray(mask, jnp.int32),
        )
    normed, logits = found
    return np.asarray(normed), np.asarray(logits)


def embedding_gradient(
    params: Any, config: DecoderConfig, embeddings: Any, positions: Any, mask: Any
) -> np.ndarray:
    """Of the sum of the sines of all real tokens' logits."""
    segments = jnp.asarray(mask, jnp.int32)
    inputs = decoder.make_inputs(
        config, jnp.asarray(np.moveaxis(positions, 0, -1), jnp.int32), segments
    )

    def loss(x: Any) -> Any:
        hidden, _ = decoder.run(params, config, x, inputs)
        logits = decoder.logits(params, config, decoder.final_norm(params, config, hidden))
        return jnp.sum(jnp.sin(logits) * (segments > 0)[..., None])

    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(embeddings, jnp.float32)))


def _layer(state: Mapping[str, np.ndarray], prefix: str, config: DecoderConfig) -> Any:
    heads = {"query": config.num_heads, "key": config.num_kv_heads, "value": config.num_kv_heads}
    attention: dict[str, Any] = {}
    for name, num in heads.items():
        source = f"{prefix}self_attn.{name[0]}_proj."
        attention[name] = {"kernel": state[source + "weight"].T.reshape(config.width, num, -1)}
        if config.qkv_bias:
            attention[name]["bias"] = state[source + "bias"].reshape(num, -1)
    out = state[prefix + "self_attn.o_proj.weight"].T
    attention["out"] = {"kernel": out.reshape(config.num_heads, -1, config.width)}
    layer = {"attention": attention}
    layer |= {
        ours: {"scale": state[f"{prefix}{theirs}.weight"]}
        for ours, theirs in NORMS.items()
        if f"{prefix}{theirs}.weight" in state
    }
    if prefix + "mlp.gate.weight" in state:
        return layer | {"moe": _experts(state, prefix + "mlp.")}
    return layer | {"mlp": _mlp(state, prefix + "mlp.")}


def _mlp(state: Mapping[str, np.ndarray], prefix: str) -> Any:
    if prefix + "gate_up_proj.weight" in state:
        gate, up = np.split(state[prefix + "gate_up_proj.weight"].T, 2, axis=-1)
    else:
        gate, up = (state[f"{prefix}{name}_proj.weight"].T for name in ("gate", "up"))
    kernels = {"gate": gate, "up": up, "down": state[prefix + "down_proj.weight"].T}
    return {name: {"kernel": kernel} for name, kernel in kernels.items()}


def _experts(state: Mapping[str, np.ndarray], prefix: str) -> Any:
    gate, up = np.split(state[prefix + "experts.gate_up_proj"].swapaxes(1, 2), 2, axis=-1)
    down = state[prefix + "experts.down_proj"].swapaxes(1, 2)
    return {
        "router": {
            "kernel": state[prefix + "gate.weight"].T,
            "bias": state[prefix + "gate.e_score_correction_bias"],
        },
        "experts": {
            name: {"kernel": k} for name, k in {"gate": gate, "up": up, "down": down}.items()
        },
        "shared": _mlp(state, prefix + "shared_experts."),
    }


def _stack(layers: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *layers)
