"""Writes siglip2_text.npz: transformers' SigLIP2 text tower, before and after its head.

Run at the repository's root with torch and transformers (made with 2.13.0 and 5.23.0):
    python -m tests.golden.make_siglip2_text
"""

from pathlib import Path

import numpy as np
import torch
from transformers import Siglip2TextConfig, Siglip2TextModel

from tests.golden.torch_modules import as_half, randomize, state_arrays

NUM_HEADS, VOCABULARY, LENGTH, NUM_TEXTS = 3, 61, 8, 5


def make_tower(seed: int) -> Siglip2TextModel:
    """A small tower with random parameters."""
    config = Siglip2TextConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=NUM_HEADS,
        intermediate_size=112,
        max_position_embeddings=LENGTH,
        projection_size=40,
        bos_token_id=1,
        eos_token_id=1,
    )
    config._attn_implementation = "eager"
    tower = Siglip2TextModel(config).eval()
    randomize(tower, seed, small=("embeddings.", "encoder.layers.0.self_attn.out_proj."))
    return tower


def run(tower: Siglip2TextModel, seed: int) -> dict[str, np.ndarray]:
    """Random tokens with paddings (0) of all lengths, and what the tower makes of them."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, VOCABULARY, (NUM_TEXTS, LENGTH))
    for padding, row in enumerate(tokens):
        row[LENGTH - padding :] = 0
    with torch.no_grad():
        output = tower(torch.as_tensor(tokens))
    return {
        "tokens": tokens.astype(np.int32),
        "last": output.last_hidden_state[:, -1].numpy(),
        "pooled": output.pooler_output.numpy(),
    }


def main() -> None:
    """One batch of texts."""
    tower = make_tower(0)
    path = Path(__file__).with_name("siglip2_text.npz")
    np.savez_compressed(path, **as_half(state_arrays(tower)), **run(tower, 0))


if __name__ == "__main__":
    main()
