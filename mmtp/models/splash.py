"""Attention of whole rows as one TPU kernel that holds no t x t array and skips the future.

The kernel is JAX's own (`jax.experimental.pallas.ops.tpu.splash_attention`): causal, within
documents by segment ids, with fewer key heads than query heads.

Shape letters: b rows, t tokens, h heads, g kv heads, k head dim.
"""

from typing import Any

import jax
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as kernel,
)
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as static_mask
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from cogvit_jax.sharding import BATCH_AXES, auto_axes
from mmtp.models import context
from mmtp.models.attend import Inputs

LANES = 128  # the kernel's tiles are multiples of it
BLOCKS = (1024, 512, 256, LANES)


def fits(platform: str, num_tokens: int, head_dim: int) -> bool:
    """Whether the kernel takes rows of `num_tokens` and heads of `head_dim` on a platform."""
    return platform == "tpu" and num_tokens % LANES == 0 and head_dim % (LANES // 2) == 0


def splash(
    q: Float[Array, "b t h k"],
    k: Float[Array, "b t g k"],
    v: Float[Array, "b t g k"],
    inputs: Inputs,
    interpret: bool = False,
) -> Float[Array, "b t h k"]:
    """`attend.xla` for rows in natural order (it does not read `inputs.order`).

    The kernel cannot let a token alone see itself: where `inputs.usable` is given this is
    `context.local`. `interpret` runs it, slowly, on any platform.
    """
    if inputs.usable is not None:
        return context.over_mesh(context.local)(q, k, v, inputs)
    axes = auto_axes()
    rows = tuple(a for a in BATCH_AXES if a in axes) or None
    heads = PartitionSpec(rows, None, "tensor" if "tensor" in axes else None)

    def local(q: Array, k: Array, v: Array, segments: Array) -> Array:
        attend = _make_kernel(q.shape[2], q.shape[1], interpret)
        scaled = (q * q.shape[-1] ** -0.5).astype(q.dtype)
        first = (x.swapaxes(1, 2) for x in (scaled, k, v))  # heads before tokens
        ids = kernel.SegmentIds(segments, segments)
        return jax.vmap(attend)(*first, ids).swapaxes(1, 2)

    if axes:
        specs = (heads, heads, heads, PartitionSpec(rows))
        local = jax.shard_map(
            local, in_specs=specs, out_specs=heads, axis_names=axes, check_vma=False
        )
    return local(q, k, v, inputs.segments)


def _make_kernel(num_heads: int, num_tokens: int, interpret: bool) -> Any:
    block = next(size for size in BLOCKS if num_tokens % size == 0)
    sizes = kernel.BlockSizes(
        block_q=block,
        block_kv=block,
        block_kv_compute=min(block, 512),
        block_q_dkv=block,
        block_kv_dkv=block,
        block_kv_dkv_compute=min(block, 512),
        block_q_dq=block,
        block_kv_dq=block,
    )
    causal = static_mask.CausalMask((num_tokens, num_tokens))
    return kernel.make_splash_mha(
        static_mask.MultiHeadMask([causal] * num_heads),
        block_sizes=sizes,
        head_shards=1,
        q_seq_shards=1,
        # What remat policies that save attention keep, so that it is not run once more.
        residual_checkpoint_name="attention_out",
        interpret=interpret,
    )
