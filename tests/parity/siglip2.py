"""SigLIP2's text tower and pooling head (transformers) in our names and layouts."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

State = Mapping[str, np.ndarray]


def text_params_from_torch(state: State, num_heads: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(text, text_projection) of TwoTowers from a `Siglip2TextModel`'s state dict."""
    depth = 1 + max(int(n.split(".")[2]) for n in state if n.startswith("encoder.layers."))
    blocks = [_text_block(state, f"encoder.layers.{i}.", num_heads) for i in range(depth)]
    text = {
        "embedding": {"embedding": state["embeddings.token_embedding.weight"]},
        "positions": state["embeddings.position_embedding.weight"],
        "blocks": jax.tree.map(lambda *layers: np.stack(layers), *blocks),
        "norm": _norm(state, "final_layer_norm"),
    }
    return text, _dense(state, "head")


def pool_params_from_torch(state: State, num_heads: int) -> dict[str, Any]:
    """AttentionPool's parameters from a `Siglip2MultiheadAttentionPoolingHead`'s state dict."""
    dim = state["probe"].shape[-1]
    kernels = np.split(state["attention.in_proj_weight"], 3)
    biases = np.split(state["attention.in_proj_bias"], 3)
    inputs = {
        name: {
            "kernel": kernel.T.reshape(dim, num_heads, -1),
            "bias": bias.reshape(num_heads, -1),
        }
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True)
    }
    return {
        "probe": state["probe"][0],
        **inputs,
        "out": _out(state, "attention.out_proj", num_heads),
        "norm": _norm(state, "layernorm"),
        "mlp": {"up": _dense(state, "mlp.fc1"), "down": _dense(state, "mlp.fc2")},
    }


def _text_block(state: State, prefix: str, num_heads: int) -> dict[str, Any]:
    names = [f"{prefix}self_attn.{x}_proj" for x in "qkv"]
    kernels = [state[f"{n}.weight"].T for n in names]
    return {
        "norm1": _norm(state, f"{prefix}layer_norm1"),
        "norm2": _norm(state, f"{prefix}layer_norm2"),
        "attention": {
            "qkv": {
                "kernel": np.stack([k.reshape(len(k), num_heads, -1) for k in kernels], axis=1),
                "bias": np.stack([state[f"{n}.bias"].reshape(num_heads, -1) for n in names]),
            },
            "out": _out(state, f"{prefix}self_attn.out_proj", num_heads),
        },
        "mlp": {
            "up": _dense(state, f"{prefix}mlp.fc1"),
            "down": _dense(state, f"{prefix}mlp.fc2"),
        },
    }


def _dense(state: State, name: str) -> dict[str, np.ndarray]:
    return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}


def _out(state: State, name: str, num_heads: int) -> dict[str, np.ndarray]:
    kernel = state[f"{name}.weight"].T
    return {
        "kernel": kernel.reshape(num_heads, -1, kernel.shape[-1]),
        "bias": state[f"{name}.bias"],
    }


def _norm(state: State, name: str) -> dict[str, np.ndarray]:
    return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}
