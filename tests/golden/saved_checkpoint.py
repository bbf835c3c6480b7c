"""What transformers writes for a model: names and arrays of the file, and its config.json."""

import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from transformers import PreTrainedModel

from tests.golden.torch_modules import as_half

PATCH_SIZE = 4


def saved(model: PreTrainedModel) -> dict[str, np.ndarray]:
    """Arrays for a .npz file: `state/<name in the checkpoint>`, and `config`, a string."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        state = load_file(Path(folder) / "model.safetensors")
        config = (Path(folder) / "config.json").read_text()
    return as_half(state) | {"config": np.asarray(config)}


def make_pictures(seed: int, grids: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
    """Random uint8 pictures of these numbers of patches."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (r * PATCH_SIZE, c * PATCH_SIZE, 3), np.uint8) for r, c in grids]


def golden(model: PreTrainedModel, pictures: list[np.ndarray], features: list[np.ndarray]) -> dict:
    """A checkpoint with pictures and the features of each, for `np.savez_compressed`."""
    arrays = {f"picture{i}": x for i, x in enumerate(pictures)}
    return saved(model) | arrays | {f"features{i}": x for i, x in enumerate(features)}
