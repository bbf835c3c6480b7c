"""Teachers' golden checkpoints on disk, and their features by way of our loaders."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cogvit_jax.data.transforms import patchify
from cogvit_jax.interop import dinov3 as load_dinov3
from cogvit_jax.interop import files
from cogvit_jax.interop import siglip2 as load_siglip2
from cogvit_jax.models import dinov3, siglip2
from cogvit_jax.models.teachers import TeacherSettings

GOLDEN = Path(__file__).parents[1] / "golden"
PATCH_SIZE = 4
# Two f32 programs of the same function; the largest difference seen is 6e-6, at 24 x 1024.
TOLERANCE = {"atol": 5e-5, "rtol": 1e-5}
LOADERS = {
    "siglip2": (load_siglip2.load, siglip2.features),
    "siglip2_naflex": (load_siglip2.load, siglip2.features),
    "dinov3": (load_dinov3.load, dinov3.features),
}


def settings(kind: str, **fields: Any) -> TeacherSettings:
    """The teacher of a golden file, in float32."""
    fields = {"size": "tiny", "image_size": 24, "dtype": "float32"} | fields
    return TeacherSettings(kind=kind, patch_size=PATCH_SIZE, **fields)


def read_golden(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any], list[tuple]]:
    """(arrays under the checkpoint's names, config.json, pairs of picture and features)."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = dict(file)
    state = {n.removeprefix("state/"): x for n, x in arrays.items() if n.startswith("state/")}
    num = sum(n.startswith("picture") for n in arrays)
    pairs = [(arrays[f"picture{i}"], arrays[f"features{i}"]) for i in range(num)]
    return state, json.loads(str(arrays["config"])), pairs


def write(folder: Path, state: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> Path:
    """A checkpoint in a new folder in `folder`."""
    path = folder / f"checkpoint{len(list(folder.iterdir()))}"
    files.write_weights(path, state, config)
    return path


def features(params: Any, picture: np.ndarray, config: TeacherSettings) -> np.ndarray:
    """Our features `[n, d]` of one picture, in f32."""
    grid = (len(picture) // PATCH_SIZE, picture.shape[1] // PATCH_SIZE)
    patches, _ = patchify(picture, PATCH_SIZE)
    run = jax.jit(LOADERS[config.kind][1], static_argnames=("size", "grid"))
    with jax.default_matmul_precision("highest"):
        found = run(params, patches[None], size=config.size, grid=grid)[0]
    assert found.dtype == config.dtype
    return np.asarray(found, np.float32)


def load(path: Path, config: TeacherSettings) -> Any:
    """The parameters of a checkpoint."""
    return LOADERS[config.kind][0](path, config)


def smallest_cosine(x: np.ndarray, y: np.ndarray) -> float:
    """Over the rows of two `[n, d]`."""
    x, y = (a.astype(np.float64) for a in (x, y))
    dots = np.sum(x * y, axis=1)
    return float(np.min(dots / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)))
