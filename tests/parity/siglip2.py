"""SigLIP2's text tower and pooling head (transformers) in our names and layouts."""

import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from cogvit_jax.interop import files, siglip2
from cogvit_jax.models.text import TextSettings

State = Mapping[str, np.ndarray]


def text_params_from_torch(state: State, num_heads: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(text, text_projection) of TwoTowers from a `Siglip2TextModel`'s state dict, by way of a
    checkpoint.
    """
    length, width = state["embeddings.position_embedding.weight"].shape
    settings = TextSettings(
        width=width,
        depth=1 + max(int(n.split(".")[2]) for n in state if n.startswith("encoder.layers.")),
        num_heads=num_heads,
        mlp_dim=len(state["encoder.layers.0.mlp.fc1.bias"]),
        qk_norm=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        files.write_weights(folder, state, {})
        params = siglip2.load_text(folder, settings, length)
    return params["text"], params["text_projection"]


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
        "out": {
            "kernel": state["attention.out_proj.weight"].T.reshape(num_heads, -1, dim),
            "bias": state["attention.out_proj.bias"],
        },
        "norm": {"scale": state["layernorm.weight"], "bias": state["layernorm.bias"]},
        "mlp": {"up": _dense(state, "mlp.fc1"), "down": _dense(state, "mlp.fc2")},
    }


def _dense(state: State, name: str) -> dict[str, np.ndarray]:
    return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}
