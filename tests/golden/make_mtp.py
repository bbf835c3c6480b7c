"""Writes mtp.npz: transformers' multi-token-prediction layers for GLM-OCR, two of them in a chain.

Run at the repository's root with torch and transformers (made with 2.13.0 and 5.23.0):
    python -m tests.golden.make_mtp
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GlmOcrTextConfig
from transformers.modeling_layers import MtpLayer
from transformers.models.glm_ocr.modeling_glm_ocr import GlmOcrTextModel

from tests.golden.torch_modules import as_half, randomize, state_arrays

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 48,
    "vocab_size": 64,
    "mrope_section": (2, 3, 3),
}
DEPTH = 2


def make_layers(seed: int, **sizes: Any) -> tuple[GlmOcrTextModel, torch.nn.ModuleList]:
    """A text model (its norm, table and rotary angles are used), and `DEPTH` layers behind it."""
    section = list(sizes.pop("mrope_section"))
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": section}
    config = GlmOcrTextConfig(**sizes, rope_parameters=rope, pad_token_id=0)
    config._attn_implementation = "eager"
    model = GlmOcrTextModel(config).eval()
    randomize(model, seed, small=())
    kinds = type(model.layers[-1]), type(model.norm)
    layers = torch.nn.ModuleList([MtpLayer(config, *kinds, n) for n in range(DEPTH)]).eval()
    randomize(layers, seed + 1, small=())
    return model, layers


def make_inputs(seed: int, width: int, vocabulary: int) -> dict[str, np.ndarray]:
    """A sequence of text with one picture of 2 x 3 tokens: ids, positions and hidden states."""
    rng = np.random.default_rng(seed)
    text = np.arange(4)[:, None].repeat(3, axis=1)
    grid = np.stack(np.meshgrid([0], np.arange(2), np.arange(3), indexing="ij"), axis=-1) + 4
    rest = np.arange(7, 13)[:, None].repeat(3, axis=1)  # 4 + the picture's larger side
    positions = np.concatenate([text, grid.reshape(-1, 3), rest])
    num = len(positions)
    tokens = rng.integers(1, vocabulary, num)
    tokens[4:10] = 0  # the placeholder
    hidden = rng.standard_normal((num, width)).astype(np.float16)
    return {"tokens": tokens, "positions": positions, "hidden": hidden}


def outputs(
    model: GlmOcrTextModel, layers: torch.nn.ModuleList, inputs: dict[str, np.ndarray]
) -> list[np.ndarray]:
    """Normed states `[n - k, d]` of each depth, with the conventions of transformers' MtpModel."""
    tokens, positions = (torch.as_tensor(inputs[k]) for k in ("tokens", "positions"))
    found = []
    with torch.no_grad():
        h = model.norm(torch.as_tensor(inputs["hidden"], dtype=torch.float32)[None])
        for k, layer in enumerate(layers, start=1):
            e = model.embed_tokens(tokens[None, k:])
            places = positions.T[:, None, k:]
            n = e.shape[1]
            mask = torch.full((n, n), torch.finfo(torch.float32).min).triu(1)[None, None]
            h = layer(
                e,
                h[:, :n],
                position_embeddings=model.rotary_emb(e, places),
                attention_mask=mask,
                position_ids=places,
                past_key_values=None,
            )
            found.append(h[0].numpy())
            h = h[:, : n - 1]
    return found


def main() -> None:
    """Two layers, one sequence."""
    model, layers = make_layers(0, **SIZES)
    inputs = make_inputs(0, SIZES["hidden_size"], SIZES["vocab_size"])
    trunk = {
        k: v for k, v in state_arrays(model).items() if k in ("norm.weight", "embed_tokens.weight")
    }
    np.savez_compressed(
        Path(__file__).with_name("mtp.npz"),
        **inputs,
        **as_half(trunk | {f"mtp.{k}": v for k, v in state_arrays(layers).items()}),
        **{f"normed/{k}": x for k, x in enumerate(outputs(model, layers, inputs), start=1)},
    )


if __name__ == "__main__":
    main()
