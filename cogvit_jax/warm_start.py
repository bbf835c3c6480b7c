"""Starting a run from another run's parameters: chosen and renamed by rules, resampled where sizes
differ.

What may differ is what a change of resolution changes: the patch size (the kernel of the patch
embedding) and tables of positions. CogViT itself has rotary positions only, so pictures of any size
fit.
"""

import difflib
import json
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from etils import epath
from rich.console import Console

from cogvit_jax import sharding, tree
from cogvit_jax.checkpoint import CheckpointError, read_params

CHANNELS = 3
# Fields of `config.vision` without which equal parameters mean another function.
VISION_FIELDS = ("qk_norm", "rope_theta", "num_heads", "pixel_mean", "pixel_std", "swiglu_limit")


def warm_start(params: Any, workdir: str, rules: tree.Rules, config: Any, console: Console) -> Any:
    """`params` with those that the rules name replaced by the newest checkpoint's of `workdir`.

    Args:
        params: fresh parameters, where they live; what no rule takes stays as it is.
        workdir: of a run, or of `cogvit_jax.convert`.
        rules: ordered (regex, replacement): the first regex found in a parameter's name gives its
            name there, by `re.sub`; an empty replacement keeps it fresh.
        config: this run's, to tell how its encoder differs from the other's.
        console: tells what was taken, resampled and left.

    Raises:
        CheckpointError: no checkpoint, a parameter that it lacks, or a size that cannot be adapted.
        ConfigError: a rule is no regex or matches nothing.
    """
    names = [name for name, _ in tree.named_leaves(params)]
    tree.check_rules(rules, names, "config.train.init_rules")
    nested, step = read_params(workdir)
    found = dict(tree.named_leaves(nested))
    resampled: list[str] = []
    fresh: list[str] = []

    def take(name: str, x: jax.Array) -> jax.Array:
        source = source_name(rules, name)
        if not source:
            fresh.append(name)
            return x
        if source not in found:
            near = difflib.get_close_matches(source, found, 1)
            raise CheckpointError(
                f"config.train.init_from = {workdir!r} has no parameter {source!r} (for {name!r})"
                + (f"; the nearest is {near[0]!r}" if near else "")
                + ". Map it in config.train.init_rules, or give it '' there to start it afresh."
            )
        value = found[source]
        if value.shape != x.shape:
            value = _adapt(name, value, x.shape, workdir)
            resampled.append(f"{name} {found[source].shape} -> {x.shape}")
        value = value.astype(x.dtype)
        return sharding.place(value, x.sharding)

    started = tree.map_named(take, params)
    console.print(
        f"Started from {workdir}, step {step}: {len(names) - len(fresh)} of {len(names)} parameters"
        + (f"; resampled: {', '.join(resampled)}" if resampled else "")
        + (f"; fresh: {_shorten(fresh)}" if fresh else ""),
        soft_wrap=True,
    )
    for line in _differences(workdir, config):
        console.print(f"[yellow]the encoder there has another {line}", soft_wrap=True)
    return started


def source_name(rules: tree.Rules, name: str) -> str:
    """What a parameter is called in the other run; "" = it starts afresh."""
    for pattern, replacement in rules:
        if re.search(pattern, name):
            return re.sub(pattern, replacement, name, count=1) if replacement else ""
    return ""


def _adapt(name: str, value: np.ndarray, shape: tuple[int, ...], workdir: str) -> np.ndarray:
    for pattern, resample in _RESAMPLE:
        # Only the first dim may differ: the others are the model's width.
        if re.search(pattern, name) and value.shape[1:] == shape[1:]:
            return resample(value, shape[0])
    raise CheckpointError(
        f"{name} has shape {shape} here and {value.shape} in config.train.init_from = {workdir!r}: "
        "use the sizes of that run, or start the parameter afresh in config.train.init_rules."
    )


def resample_patches(kernel: np.ndarray, size: int) -> np.ndarray:
    """A patch embedding `[3 p p, d]` for patches of another side, `[size, d]`.

    The pseudo-inverse resize of FlexiViT (arXiv:2212.08013, eq. 6): of all kernels, the one whose
    products with enlarged patches equal the old products with the patches themselves.
    """
    old, new = (round((n / CHANNELS) ** 0.5) for n in (len(kernel), size))
    enlarge = np.asarray(
        jax.image.resize(np.eye(old * old).reshape(-1, old, old), (old * old, new, new), "linear"),
        np.float64,
    ).reshape(old * old, new * new)
    pixels = kernel.reshape(old * old, -1).astype(np.float64)
    return (np.linalg.pinv(enlarge) @ pixels).reshape(size, -1)


def resample_positions(table: np.ndarray, length: int) -> np.ndarray:
    """Position embeddings `[t, d]` for another number of places, linearly with antialiasing."""
    return np.asarray(jax.image.resize(table, (length, table.shape[1]), "linear"))


_RESAMPLE: tuple[tuple[str, Callable[[np.ndarray, int], np.ndarray]], ...] = (
    (r"patch_embedding/kernel$", resample_patches),
    (r"positions$", resample_positions),
)


def _differences(workdir: str, config: Any) -> list[str]:
    """Fields of the encoders that differ, as `field: there, here`."""
    path = epath.Path(workdir) / "config.json"
    if not path.exists() or "vision" not in config:
        return []
    there = json.loads(path.read_text()).get("vision", {})
    here = json.loads(json.dumps(config.vision.to_dict()))  # tuples become lists, as there
    return [
        f"{field}: {there[field]}, here {here[field]}"
        for field in VISION_FIELDS
        if field in there and field in here and there[field] != here[field]
    ]


def _shorten(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
