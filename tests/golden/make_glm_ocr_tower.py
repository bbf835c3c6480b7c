"""Writes glm_ocr_tower.npz: features of transformers' GLM-OCR vision tower before its merger.

Run at the repository's root with torch and transformers (made with 2.13.0 and 5.23.0):
    python -m tests.golden.make_glm_ocr_tower
"""

from pathlib import Path

import numpy as np
import torch
from transformers import GlmOcrVisionConfig
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil
from transformers.models.glm_ocr.modeling_glm_ocr import GlmOcrVisionModel

from tests.golden.torch_modules import as_half, randomize, state_arrays

SIZES = {"hidden_size": 48, "num_heads": 3, "depth": 3, "intermediate_size": 144, "patch_size": 4}
GRIDS = ((4, 6), (2, 14), (10, 2), (6, 6))  # patches, in different shapes
PIXEL_STATISTICS = {  # of CLIP, which GLM's processor normalises with
    "pixel_mean": Glm46VImageProcessorPil.image_mean,
    "pixel_std": Glm46VImageProcessorPil.image_std,
}


def make_tower(seed: int, **sizes: int) -> GlmOcrVisionModel:
    """A tower with random parameters."""
    config = GlmOcrVisionConfig(**sizes, out_hidden_size=8)
    config._attn_implementation = "eager"
    tower = GlmOcrVisionModel(config).eval()
    randomize(tower, seed, small=("patch_embed.", "blocks.1.attn.qkv."))
    return tower


def make_pictures(
    seed: int, grids: tuple[tuple[int, int], ...], patch_size: int
) -> list[np.ndarray]:
    """Random pixels, uint8 `[h, w, 3]`, of the given numbers of patches."""
    rng = np.random.default_rng(seed)
    sizes = [(rows * patch_size, columns * patch_size, 3) for rows, columns in grids]
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]


def features(tower: GlmOcrVisionModel, pictures: list[np.ndarray]) -> list[np.ndarray]:
    """What the merger gets, `[n, hidden_size]` per picture, in the tower's own token order.

    The pictures go through GLM's processor and then through the tower in one batch.
    """
    processor = Glm46VImageProcessorPil(patch_size=tower.config.patch_size, do_resize=False)
    inputs = processor(
        [picture.transpose(2, 0, 1) for picture in pictures], input_data_format="channels_first"
    )
    seen = []
    hook = tower.post_layernorm.register_forward_hook(lambda _, __, out: seen.append(out))
    grids = torch.as_tensor(np.asarray(inputs["image_grid_thw"]))
    with torch.no_grad():
        tower(torch.as_tensor(np.asarray(inputs["pixel_values"])), grids)
    hook.remove()
    return [x.numpy() for x in seen[0].split(grids.prod(dim=1).tolist())]


def main() -> None:
    """A small tower and four pictures."""
    tower = make_tower(0, **SIZES)
    pictures = make_pictures(0, GRIDS, SIZES["patch_size"])
    outputs = features(tower, pictures)
    np.savez_compressed(
        Path(__file__).with_name("glm_ocr_tower.npz"),
        **PIXEL_STATISTICS,
        **as_half(state_arrays(tower, skip=("downsample", "merger"))),
        **{f"picture/{i}": picture for i, picture in enumerate(pictures)},
        **{f"features/{i}": output for i, output in enumerate(outputs)},
    )


if __name__ == "__main__":
    main()
