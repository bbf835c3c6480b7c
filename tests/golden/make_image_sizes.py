"""Writes glm_image_sizes.npz: sizes and patches of transformers' GLM-4V processors (Pillow)."""

from pathlib import Path

import numpy as np
from transformers.models.glm4v.image_processing_pil_glm4v import (
    Glm4vImageProcessorPil,
    smart_resize,
)

BLOCK = 28
# (fewest, most) patches of a picture; the first is GLM-4.1V's own.
BUDGETS = ((32, 30000), (16, 1024), (64, 256), (4, 24576))
VIDEO = (32, 4096, 6)  # budget of a video, and its number of pairs of frames


def picture_sizes() -> np.ndarray:
    """[n, 2] heights and widths: awkward ones, then random ones."""
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(np.log(8), np.log(5000), (120, 2))).astype(np.int64)
    sides = sides[sides.max(1) / np.maximum(sides.min(1), BLOCK) < 20]
    awkward = [(1, 1), (14, 14), (28, 28), (42, 42), (42, 70), (27, 29), (112, 112), (1080, 1920)]
    return np.concatenate([np.array(awkward), sides])


def resized(sizes: np.ndarray, least: int, most: int, pairs: int = 1) -> np.ndarray:
    """[n, 2] what smart_resize makes of them; its budgets count pixels of all frames."""
    area = 2 * 14 * 14
    frames = 2 * pairs
    return np.array(
        [
            smart_resize(frames, int(h), int(w), min_pixels=least * area, max_pixels=most * area)
            for h, w in sizes
        ]
    )


def main() -> None:
    sizes = picture_sizes()
    arrays = {"sizes": sizes, "budgets": np.array(BUDGETS), "video": np.array(VIDEO)}
    for index, budget in enumerate(BUDGETS):
        arrays[f"resized_{index}"] = resized(sizes, *budget)
    arrays["resized_video"] = resized(sizes, *VIDEO)
    picture = np.random.default_rng(1).integers(0, 256, (67, 121, 3), np.uint8)
    processor = Glm4vImageProcessorPil(do_rescale=False, do_normalize=False)
    found = processor(picture, return_tensors="np")
    arrays["picture"] = picture
    arrays["patches"] = np.asarray(found["pixel_values"]).astype(np.uint8)
    arrays["grid"] = np.asarray(found["image_grid_thw"])
    np.savez_compressed(Path(__file__).parent / "glm_image_sizes.npz", **arrays)


if __name__ == "__main__":
    main()
