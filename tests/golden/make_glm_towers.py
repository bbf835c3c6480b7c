"""Writes {glm_ocr,glm5_next,glm4v}_small.npz: transformers' towers from pixels to merged tokens.

Each holds the config.json and the arrays that `save_pretrained` writes, two pictures and a video,
and what the tower makes of them before and after its merger.

Run at the repository's root with torch and transformers (made with 2.13.0 and 5.23.0):
    python -m tests.golden.make_glm_towers
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import Glm4vVisionConfig, GlmOcrVisionConfig
from transformers.models.glm4v.modeling_glm4v import Glm4vVisionModel
from transformers.models.glm5_next.configuration_glm5_next import Glm5NextVisionConfig
from transformers.models.glm5_next.modeling_glm5_next import Glm5NextVisionModel
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil
from transformers.models.glm_ocr.modeling_glm_ocr import GlmOcrVisionModel

from tests.golden.torch_modules import as_half, randomize

CLASSES = {
    "glm_ocr": (GlmOcrVisionModel, GlmOcrVisionConfig),
    "glm5_next": (Glm5NextVisionModel, Glm5NextVisionConfig),
    "glm4v": (Glm4vVisionModel, Glm4vVisionConfig),
}
COMMON = {"hidden_size": 32, "num_heads": 2, "depth": 2, "out_hidden_size": 24, "patch_size": 4}
SIZES = {
    "glm_ocr": COMMON | {"intermediate_size": 56},
    # So low a limit cuts many gates and ups of random parameters.
    "glm5_next": COMMON
    | {"intermediate_size": 56, "projection_intermediate_size": 40, "swiglu_limit": 0.75},
    # 24 x 24 positions, as released.
    "glm4v": COMMON | {"intermediate_size": 40, "image_size": 96},
}
CLIPS = ((1, 4, 6), (1, 10, 2), (4, 6, 4))  # frames, and patches per side


def make_tower(kind: str, seed: int, **sizes: float) -> torch.nn.Module:
    """A tower with random parameters."""
    model, config = CLASSES[kind]
    settings = config(**sizes)
    settings._attn_implementation = "eager"
    tower = model(settings).eval()
    randomize(tower, seed, small=("patch_embed.", "blocks.1.attn.qkv."))
    return tower


def make_clips(
    seed: int, clips: tuple[tuple[int, int, int], ...], patch_size: int
) -> list[np.ndarray]:
    """Random pixels, uint8 `[frames, h, w, 3]`."""
    rng = np.random.default_rng(seed)
    return [
        rng.integers(0, 256, (t, h * patch_size, w * patch_size, 3), dtype=np.uint8)
        for t, h, w in clips
    ]


def tower_inputs(
    clips: list[np.ndarray],
    patch_size: int,
    pixel_mean: Sequence[float] = Glm46VImageProcessorPil.image_mean,
    pixel_std: Sequence[float] = Glm46VImageProcessorPil.image_std,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(pixel values in patches, grids): what the processors make; a picture repeats its frame."""
    mean, std = np.asarray(pixel_mean, np.float32), np.asarray(pixel_std, np.float32)
    values, grids = [], []
    for clip in clips:
        frames = np.repeat(clip, 2, axis=0) if len(clip) == 1 else clip
        pixels = (frames.astype(np.float32) / 255 - mean) / std
        t, h, w = len(frames) // 2, *(side // patch_size for side in frames.shape[1:3])
        # time, frame | block row, row in it, pixel row | the same of columns | channel
        shape = (t, 2, h // 2, 2, patch_size, w // 2, 2, patch_size, 3)
        order = (0, 2, 5, 3, 6, 8, 1, 4, 7)  # time, blocks, patches of a block | c, frame, pixels
        values.append(pixels.reshape(shape).transpose(order).reshape(t * h * w, -1))
        grids.append((t, h, w))
    return torch.as_tensor(np.concatenate(values)), torch.as_tensor(grids)


def run_tower(
    tower: torch.nn.Module, clips: list[np.ndarray], *statistics: Sequence[float]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(features before downsampling, merged tokens) of each clip, in the tower's own order.

    `statistics`: pixel_mean and pixel_std, if they are not GLM's.
    """
    pixels, grids = tower_inputs(clips, tower.config.patch_size, *statistics)
    sizes = grids.prod(dim=1)
    if isinstance(tower, Glm4vVisionModel):  # which `get_video_features` calls frame by frame
        grids = torch.cat([torch.tensor([[1, h, w]] * t) for t, h, w in grids.tolist()])
    seen = []
    hook = tower.post_layernorm.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        merged = tower(pixels.to(tower.dtype), grids).pooler_output
    hook.remove()
    parts = seen[0].split(sizes.tolist()), merged.split((sizes // 4).tolist())
    return tuple([x.float().numpy() for x in part] for part in parts)


def main() -> None:
    """One small tower of each kind."""
    for kind, sizes in SIZES.items():
        tower = make_tower(kind, 0, **sizes)
        clips = make_clips(0, CLIPS, sizes["patch_size"])
        features, merged = run_tower(tower, clips)
        with tempfile.TemporaryDirectory() as folder:
            tower.save_pretrained(folder)
            config = (Path(folder) / "config.json").read_text()
            state = load_file(Path(folder) / "model.safetensors")
        np.savez_compressed(
            Path(__file__).with_name(f"{kind}_small.npz"),
            config=config,
            **as_half(state),
            **{f"clip/{i}": x for i, x in enumerate(clips)},
            **{f"features/{i}": x for i, x in enumerate(features)},
            **{f"merged/{i}": x for i, x in enumerate(merged)},
        )


if __name__ == "__main__":
    main()
