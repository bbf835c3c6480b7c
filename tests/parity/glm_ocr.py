"""Pictures and videos through our towers, as transformers' GLM towers see and order them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cogvit_jax.data.packing import RowPlan, pack, pad, plan_rows
from cogvit_jax.data.transforms import patchify
from cogvit_jax.interop.files import write_weights
from cogvit_jax.models import vit
from cogvit_jax.models.merger import find_blocks, merge

# Two f32 programs of the same function; the largest difference seen is 1.3e-5, at 24 x 1024.
TOLERANCE = {"atol": 5e-5, "rtol": 1e-5}
GLM_OCR = {"model_type": "glm_ocr_vision"}
GOLDEN = Path(__file__).parents[1] / "golden"

# (params, patches, positions, segments) -> features
Tower = Callable[[Any, Any, Any, Any], jax.Array]


def load_golden(name: str) -> dict[str, Any]:
    """Arrays of tests/golden/NAME.npz."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def numbered(golden: Mapping[str, Any], name: str) -> list[np.ndarray]:
    """`name/0`, `name/1`, …"""
    return [golden[f"{name}/{i}"] for i in range(sum(n.startswith(f"{name}/") for n in golden))]


def golden_state(golden: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tower's arrays, f32."""
    return {
        name.removeprefix("state/"): x.astype(np.float32)
        for name, x in golden.items()
        if name.startswith("state/")
    }


def write_golden(folder: Path, golden: Mapping[str, Any], prefix: str = "") -> Path:
    """The checkpoint that a golden file was made from."""
    config = json.loads(str(golden["config"])) if "config" in golden else GLM_OCR
    state = {prefix + name: x for name, x in golden_state(golden).items()}
    write_weights(folder, state, config)
    return folder


def cogvit(fields: Mapping[str, Any], **overrides: Any) -> Tower:
    """Our encoder, in f32 unless overridden."""
    settings = {"dtype": "float32", "remat": "none"} | overrides
    model = vit.build(vit.VisionSettings(**fields, **settings))
    return lambda params, *inputs: model.apply({"params": params}, *inputs)


def run_tower(
    tower: Tower,
    params: Any,
    clips: Sequence[np.ndarray],
    patch_size: int,
    *,
    packed: bool,
    temporal: bool = False,
    merger: Any = None,
    swiglu_limit: float = 0.0,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(features in the tower's order of tokens, merged tokens or nothing) of each clip.

    Args:
        tower: our encoder.
        params: its parameters.
        clips: pixels, uint8 `[frames, h, w, 3]`, or `[h, w, 3]` for pictures.
        patch_size: pixels per patch side.
        packed: several pictures per row; both layouts have padding.
        temporal: two frames per patch, of which a picture repeats its only one.
        merger: parameters of `models.merger`.
        swiglu_limit: of the merger.
    """
    clips = [clip if clip.ndim == 4 else clip[None] for clip in clips]
    items = [_items(clip, patch_size, temporal) for clip in clips]
    patches, positions = zip(*(item for clip in items for item in clip), strict=True)
    batch, plan = _lay_out(patches, positions, packed)
    inputs = tuple(jnp.asarray(batch[n]) for n in ("patches", "positions", "segments"))

    def run(params: Any, merger: Any, patches: Any, positions: Any, segments: Any) -> Any:
        x = tower(params, patches, positions, segments)
        blocks = find_blocks(positions, segments)
        merged = x if merger is None else merge(merger, x, blocks.tokens, swiglu_limit)
        return x, merged, blocks.segments

    with jax.default_matmul_precision("highest"):
        found = jax.jit(run)(params, merger, *inputs)
    x, merged, block_segments = (np.asarray(y, np.float32) for y in found)
    features = [
        found[merge_order(*(position.max(axis=0) + 1))]
        for found, position in zip(_pick(x, batch["segments"], plan), positions, strict=True)
    ]
    merged = [] if merger is None else _pick(merged, block_segments, plan)
    return _join(features, items), _join(merged, items)


def merge_order(rows: int, columns: int, merge: int = 2) -> np.ndarray:
    """Row-major index of each of the tower's tokens, which go through 2 x 2 blocks in turn."""
    grid = np.arange(rows * columns).reshape(rows // merge, merge, columns // merge, merge)
    return grid.transpose(0, 2, 1, 3).reshape(-1)


def _items(
    clip: np.ndarray, patch_size: int, temporal: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(patches, positions) of every token grid of a clip: attention stays within each."""
    if not temporal:
        return [patchify(frame, patch_size) for frame in clip]
    pairs = np.repeat(clip, 2, axis=0) if len(clip) == 1 else clip
    found = [
        [patchify(frame, patch_size) for frame in pairs[i : i + 2]] for i in range(0, len(pairs), 2)
    ]
    return [(np.concatenate([a, b], axis=-1), positions) for (a, positions), (b, _) in found]


def _lay_out(
    patches: Sequence[np.ndarray], positions: Sequence[np.ndarray], packed: bool
) -> tuple[dict[str, np.ndarray], RowPlan]:
    """Packed rows hold about half of all tokens, so that they hold several pictures each."""
    sizes = [len(p) for p in patches]
    if packed:
        row_length = max(max(sizes), -(-sum(sizes) // 2)) + 5
        plan = plan_rows(sizes, row_length)
        return pack(patches, positions, plan, row_length, plan.max_slots), plan
    plan = RowPlan(tuple(range(len(sizes))), (1,) * len(sizes), len(sizes), 1)
    return pad(patches, positions, max(sizes) + 3), plan


def _pick(rows: np.ndarray, segments: np.ndarray, plan: RowPlan) -> list[np.ndarray]:
    places = zip(plan.rows, plan.slots, strict=True)
    return [rows[row][segments[row] == slot] for row, slot in places]


def _join(found: list[np.ndarray], items: list[list[Any]]) -> list[np.ndarray]:
    """Token grids of one clip, one after the other."""
    if not found:
        return []
    rest = iter(found)
    return [np.concatenate([next(rest) for _ in clip]) for clip in items]
