"""Writes siglip2_fixed.npz and siglip2_naflex.npz: transformers' two SigLIP2 vision towers.

Run at the repository's root with torch and transformers (made with 2.13.0 and 5.23.0):
    python -m tests.golden.make_siglip2_vision
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    PreTrainedModel,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from tests.golden.saved_checkpoint import PATCH_SIZE, golden, make_pictures
from tests.golden.torch_modules import randomize

SIZES = {  # `tiny` of models.siglip2
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 112,
}
SMALL = ("embeddings.", "encoder.layers.0.self_attn.out_proj.")
SIDE = 6


def make_fixed(seed: int, side: int = SIDE, **sizes: Any) -> SiglipVisionModel:
    """A tower with random parameters for pictures of `side` x `side` patches."""
    sizes = SIZES | sizes
    config = SiglipVisionConfig(**sizes, image_size=side * PATCH_SIZE, patch_size=PATCH_SIZE)
    return _finish(SiglipVisionModel(config), seed)


def make_naflex(seed: int, **sizes: Any) -> Siglip2VisionModel:
    """A tower with random parameters for pictures of any grid, 16 x 16 positions."""
    config = Siglip2VisionConfig(**(SIZES | sizes), patch_size=PATCH_SIZE, num_patches=256)
    return _finish(Siglip2VisionModel(config), seed)


def fixed_features(tower: SiglipVisionModel, pictures: list[np.ndarray]) -> list[np.ndarray]:
    """The last hidden state of each picture, all in one batch."""
    pixels = torch.as_tensor(np.stack(pictures).transpose(0, 3, 1, 2) / 127.5 - 1)
    with torch.no_grad():
        return list(tower(pixels.to(tower.dtype)).last_hidden_state.float().numpy())


def naflex_features(tower: Siglip2VisionModel, pictures: list[np.ndarray]) -> list[np.ndarray]:
    """The last hidden state of each picture's own patches; all padded to the longest."""
    grids = [(len(p) // PATCH_SIZE, p.shape[1] // PATCH_SIZE) for p in pictures]
    sizes = [rows * columns for rows, columns in grids]
    patches = np.zeros((len(pictures), max(sizes), 3 * PATCH_SIZE**2))
    for row, picture, (rows, columns), size in zip(patches, pictures, grids, sizes, strict=True):
        cut = picture.reshape(rows, PATCH_SIZE, columns, PATCH_SIZE, 3).swapaxes(1, 2)
        row[:size] = cut.reshape(size, -1) / 127.5 - 1
    mask = np.arange(max(sizes)) < np.array(sizes)[:, None]
    with torch.no_grad():
        output = tower(
            torch.as_tensor(patches).to(tower.dtype),
            torch.as_tensor(mask.astype(np.int64)),
            torch.as_tensor(grids),
        )
    hidden = output.last_hidden_state.float().numpy()
    return [x[:size] for x, size in zip(hidden, sizes, strict=True)]


def _finish(tower: PreTrainedModel, seed: int) -> Any:
    tower.config._attn_implementation = "eager"
    randomize(tower, seed, SMALL)
    return tower.eval()


def main() -> None:
    """Two towers."""
    folder = Path(__file__).parent
    tower, pictures = make_fixed(0), make_pictures(0, ((SIDE, SIDE),) * 2)
    arrays = golden(tower, pictures, fixed_features(tower, pictures))
    np.savez_compressed(folder / "siglip2_fixed.npz", **arrays)
    tower, pictures = make_naflex(1), make_pictures(1, ((6, 9), (20, 3)))
    arrays = golden(tower, pictures, naflex_features(tower, pictures))
    np.savez_compressed(folder / "siglip2_naflex.npz", **arrays)


if __name__ == "__main__":
    main()
