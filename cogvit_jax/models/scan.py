"""What both towers share: sizes by name, and identical blocks as one rematerialised `lax.scan`."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import flax.linen as nn
import jax
from jax.sharding import Mesh

from cogvit_jax import settings
from cogvit_jax.attention import choose_implementation

_NAMES = jax.checkpoint_policies.save_only_these_names
# What the backward pass may keep instead of recomputing; None keeps everything. The names are those
# that `attention.Attention` and the MLPs give to their activations; "norms" recomputes no matrix
# product but the last of a block, whose result is the next block's input.
REMAT_POLICIES: dict[str, Callable[..., Any] | None] = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "attention": _NAMES("attention_out"),
    "qkv": _NAMES("attention_out", "qkv"),
    "mlp": _NAMES("attention_out", "mlp_gate", "mlp_up"),
    "norms": _NAMES("attention_out", "qkv", "mlp_gate", "mlp_up"),
    "dots": jax.checkpoint_policies.checkpoint_dots,
    "dots_no_batch": jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims,
}


def resolve_attention(
    config: Any, sizes: Mapping[str, tuple[int, int, int, int]], path: str, mesh: Mesh
) -> Any:
    """A tower's config whose `attention` is that which "auto" means on the mesh's devices.

    Raises:
        ConfigError: an unknown name, or one that cannot run there.
    """
    width, _, num_heads, _ = dimensions(config, sizes, path)
    name = choose_implementation(
        config.attention,
        mesh.devices.flat[0].platform,
        num_heads=num_heads // mesh.shape["tensor"],
        head_dim=width // num_heads,
        dtype=config.dtype,
    )
    return dataclasses.replace(config, attention=name)


def dimensions(
    config: Any, sizes: Mapping[str, tuple[int, int, int, int]], path: str
) -> tuple[int, int, int, int]:
    """(width, depth, num_heads, mlp_dim) of a tower: its size, with what the config overrides.

    Raises:
        ConfigError: an unknown size, or a width that the heads do not divide.
    """
    preset = settings.choose(sizes, config.size, f"{path}.size")
    given = (config.width, config.depth, config.num_heads, config.mlp_dim)
    width, depth, num_heads, mlp_dim = (g or p for g, p in zip(given, preset, strict=True))
    if width % num_heads:
        raise settings.ConfigError(
            f"{path}.width = {width} is not divisible by num_heads = {num_heads}: change either."
        )
    return width, depth, num_heads, mlp_dim


def keep_policy(names: tuple[str, ...], min_bytes: int = 0) -> Callable[..., bool]:
    """A remat policy that keeps named activations and recomputes the rest.

    Args:
        names: as given by `checkpoint_name`.
        min_bytes: smaller activations are recomputed.
    """

    def policy(primitive: Any, *avals: Any, **params: Any) -> bool:
        if primitive.name != "name" or params["name"] not in names:
            return False
        return math.prod(avals[0].shape) * avals[0].dtype.itemsize >= min_bytes

    return policy


def stack(
    block: type[nn.Module],
    depth: int,
    remat: str,
    unroll: int,
    num_inputs: int,
) -> Any:
    """Returns a module class: `depth` copies of `block`, parameters stacked on axis 0.

    Args:
        block: its call maps (x, *inputs) -> (x, None).
        depth: number of blocks.
        remat: a key of REMAT_POLICIES.
        unroll: scan steps per loop iteration; more is faster to run and slower to compile.
        num_inputs: how many inputs besides x every block shares.

    Raises:
        ConfigError: unknown `remat`.
    """
    policy = settings.choose(REMAT_POLICIES, remat, "remat")
    if remat != "none":
        # Inside a scan XLA cannot undo the recomputation, so no barriers are needed.
        block = nn.remat(block, prevent_cse=False, policy=policy)
    return nn.scan(
        block,
        variable_axes={"params": 0, "diagnostics": 0},
        split_rngs={"params": True},
        in_axes=cast(Any, (nn.broadcast,) * num_inputs),
        length=depth,
        unroll=min(unroll, depth),
        metadata_params={nn.PARTITION_NAME: "layers"},
    )
