"""A stack of identical blocks as one `lax.scan`, with rematerialisation by name."""

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax

from cogvit_jax import settings

# What the backward pass may keep instead of recomputing; None keeps everything.
REMAT_POLICIES: dict[str, Callable[..., Any] | None] = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.checkpoint_dots,
    "dots_no_batch": jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims,
}


def stack(block: type[nn.Module], depth: int, remat: str, unroll: int, num_inputs: int) -> Any:
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
