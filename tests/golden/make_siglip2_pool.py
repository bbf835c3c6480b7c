"""Writes siglip2_pool.npz: transformers' SigLIP2 attention pooling, with and without masks.

Run at the repository's root with torch and transformers (made with 2.13.0 and 5.23.0):
    python -m tests.golden.make_siglip2_pool
"""

from pathlib import Path

import numpy as np
import torch
from transformers import Siglip2VisionConfig
from transformers.models.siglip2.modeling_siglip2 import Siglip2MultiheadAttentionPoolingHead

from tests.golden.torch_modules import as_half, randomize, state_arrays

NUM_HEADS, WIDTH = 3, 48
LENGTHS = (11, 7, 1, 4)


def make_head(seed: int) -> Siglip2MultiheadAttentionPoolingHead:
    """A small head with random parameters."""
    config = Siglip2VisionConfig(
        hidden_size=WIDTH, num_attention_heads=NUM_HEADS, intermediate_size=80
    )
    config._attn_implementation = "eager"
    head = Siglip2MultiheadAttentionPoolingHead(config).eval()
    randomize(head, seed, small=("attention.out_proj.",))
    return head


def run(head: Siglip2MultiheadAttentionPoolingHead, seed: int) -> dict[str, np.ndarray]:
    """Random tokens, pooled over all of a row and over its first `LENGTHS`."""
    rng = np.random.default_rng(seed)
    tokens = rng.standard_normal((len(LENGTHS), max(LENGTHS), WIDTH), dtype=np.float32)
    mask = np.arange(max(LENGTHS)) < np.asarray(LENGTHS)[:, None]
    with torch.no_grad():
        x = torch.as_tensor(tokens)
        masked = head(x, torch.as_tensor(mask.astype(np.int64)))
        pooled = head(x)
    return {"tokens": tokens, "mask": mask, "pooled": pooled.numpy(), "masked": masked.numpy()}


def main() -> None:
    """One batch of rows of different lengths."""
    head = make_head(0)
    path = Path(__file__).with_name("siglip2_pool.npz")
    np.savez_compressed(path, **as_half(state_arrays(head)), **run(head, 0))


if __name__ == "__main__":
    main()
