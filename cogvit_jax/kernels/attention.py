"""Attention over short packed rows as one TPU kernel: QK-norm, axial RoPE and the mask inside.

Activations stay `[b, t, d]` in HBM; nothing is transposed there and no `[t, t]` array reaches it.
In VMEM a tile of 128 features (one to four heads) is transposed to `[features, tokens]`. Then

*   a head is a range of sublanes: sums over its features and the half turn of RoPE need no
    cross-lane moves, for any head dim that divides 128;
*   logits are computed as `[keys, queries]`, so that the row maximum, the sum and everything else
    that belongs to a query lies along lanes and is broadcast for free, and the four products after
    the softmax need no transposed copy of a `[t, t]` array.

The forward saves two numbers per head and query, largest logit and sum, for the backward (as in
FlashAttention, arXiv:2205.14135, but without its online softmax: a row of keys fits). Logits are
in units of log 2, the scale being part of the query gain, because the hardware computes 2**x.

Operands of matrix products have the dtype of `qkv`; norms, rotations, softmax and sums are f32.
Shape letters: b rows, t tokens, h heads, k head dim, d = h·k.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from cogvit_jax.kernels import attention_body
from cogvit_jax.kernels.attention_tile import LANES, Spec
from cogvit_jax.sharding import BATCH_AXES, auto_axes

HEAD_DIMS = (32, 64, 128)
MAX_TOKENS = 2048

Gains = tuple[Float[Array, " k"], Float[Array, " k"]]
Rope = tuple[Float[Array, "b t k"], Float[Array, "b t k"]]


def attend(
    qkv: tuple[Float[Array, "b t _"], ...],
    segments: Int[Array, "b t"] | None = None,
    rope: Rope | None = None,
    gains: Gains | None = None,
    *,
    num_heads: int,
    norm_eps: float = 1e-5,
    interpret: bool = False,
) -> Float[Array, "b t d"]:
    """Softmax attention within segments; differentiable in qkv and gains.

    Args:
        qkv: raw projections, heads side by side: either (q, k, v), each `[b, t, d]`, or one array
            `[b, t, 3d]` that holds them side by side, which saves copies of the projection and of
            its gradient. Only the first form can be split over the mesh axis `tensor`.
        segments: tokens attend to those of equal id. None: to the whole row.
        rope: cos and sin as `attention.axial_rope` makes them (the second half of the features
            repeats the first). Gets no gradient.
        gains: of query and key norm; None: no norm.
        num_heads: heads in d features.
        norm_eps: of the norms.
        interpret: run in Pallas' interpreter, on any platform.

    Under a mesh every device works on its rows and, over `tensor`, on its heads.

    Raises:
        ValueError: unsupported head dim, width or number of tokens.
    """
    rows, tokens = qkv[0].shape[:2]
    head_dim = sum(a.shape[2] for a in qkv) // 3 // num_heads
    if not supported(num_heads, head_dim, tokens):
        raise ValueError(
            f"the attention kernel takes head dims {HEAD_DIMS}, widths that are multiples of "
            f"{LANES} and at most {MAX_TOKENS} tokens, got {num_heads} heads of {head_dim} and "
            f"{tokens} tokens: use implementation 'xla'."
        )
    pad = -tokens % LANES
    if pad:
        qkv = tuple(_pad(a, pad) for a in qkv)
        known = jnp.ones((rows, tokens), jnp.int32) if segments is None else segments
        segments = jnp.pad(known, ((0, 0), (0, pad)), constant_values=-1)
        rope = None if rope is None else (_pad(rope[0], pad), _pad(rope[1], pad))
    eps = None if gains is None else norm_eps
    spec = Spec(head_dim, eps, segments is not None, rope is not None, interpret)
    small = []
    if segments is not None:
        small.append(segments.astype(jnp.int32)[:, None])
    if rope is not None:
        halves = jnp.stack([r[..., : head_dim // 2] for r in rope], axis=1)
        small.append(jnp.swapaxes(halves, 2, 3).astype(jnp.float32))  # b 2 k/2 t
    out: Array = _attention(spec, qkv, _gain_columns(gains, head_dim), tuple(small))
    return out[:, :tokens]


def supported(num_heads: int, head_dim: int, tokens: int = LANES) -> bool:
    """Whether the kernel takes these shapes (per device)."""
    whole_tiles = num_heads * head_dim % LANES == 0
    return head_dim in HEAD_DIMS and whole_tiles and tokens <= MAX_TOKENS


def splits_heads() -> bool:
    """Whether the mesh in context splits heads, so that `attend` wants (q, k, v)."""
    mesh = jax.sharding.get_abstract_mesh()
    return "tensor" in auto_axes() and mesh.shape["tensor"] > 1


def _pad(x: Array, num: int) -> Array:
    return jnp.pad(x, ((0, 0), (0, num), (0, 0)))


def _gain_columns(gains: Gains | None, head_dim: int) -> Float[Array, "2 k lanes"]:
    """Gains of query and key along sublanes; the query's carries the scale of the logits."""
    unit = jnp.ones((head_dim,), jnp.float32)
    query, key = gains or (unit, unit)
    columns = jnp.stack([query * (math.log2(math.e) / math.sqrt(head_dim)), key])
    return jnp.broadcast_to(columns[:, :, None].astype(jnp.float32), (2, head_dim, LANES))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(
    spec: Spec, arrays: tuple[Array, ...], gains: Array, small: tuple[Array, ...]
) -> Array:
    return _forward(spec, arrays, gains, small)[0]


def _forward(
    spec: Spec, arrays: tuple[Array, ...], gains: Array, small: tuple[Array, ...]
) -> tuple[Array, Any]:
    rows, heads = _specs(len(arrays))

    def local(arrays: tuple[Array, ...], gains: Array, small: tuple[Array, ...]) -> Any:
        return attention_body.forward(spec, _joined(arrays), gains, small)

    in_specs = ((heads,) * len(arrays), PartitionSpec(), (rows,) * len(small))
    out, stats = _over_mesh(local, in_specs, (heads, _heads_first(heads)))(arrays, gains, small)
    # Where a remat policy saves this name the backward runs no forward kernel.
    out, stats = (checkpoint_name(x, "attention_out") for x in (out, stats))
    return out, (arrays, gains, small, stats)


def _backward(spec: Spec, saved: Any, dout: Array) -> tuple[Any, ...]:
    arrays, gains, small, stats = saved
    rows, heads = _specs(len(arrays))
    split = _heads_first(heads)

    def local(
        arrays: Any, gains: Array, small: Any, stats: Array, dout: Array
    ) -> tuple[Any, Array]:
        dqkv, dgains = attention_body.backward(spec, _joined(arrays), gains, small, stats, dout)
        return tuple(jnp.split(dqkv, len(arrays), axis=2)), dgains[:, None]

    many = (heads,) * len(arrays)
    in_specs = (many, PartitionSpec(), (rows,) * len(small), split, heads)
    run = _over_mesh(local, in_specs, (many, split))
    darrays, dgains = run(arrays, gains, small, stats, dout)
    return darrays, jnp.sum(dgains, axis=(0, 1)), None


_attention.defvjp(_forward, _backward)


def _joined(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else jnp.concatenate(arrays, axis=2)


def _specs(num_arrays: int) -> tuple[PartitionSpec, PartitionSpec]:
    """How arrays [b ...] and [b t features] lie on the mesh; fused features are not split."""
    auto = auto_axes()
    rows = tuple(a for a in BATCH_AXES if a in auto) or None
    heads = "tensor" if "tensor" in auto and num_arrays > 1 else None
    return PartitionSpec(rows), PartitionSpec(rows, None, heads)


def _heads_first(heads: PartitionSpec) -> PartitionSpec:
    """The same for arrays [b, heads, ...]."""
    return PartitionSpec(heads[0], heads[2])


def _over_mesh(local: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
    """A kernel is opaque to the partitioner: each device is told its part."""
    axes = auto_axes()
    if not axes:
        return local
    return jax.shard_map(
        local, in_specs=in_specs, out_specs=out_specs, axis_names=axes, check_vma=False
    )
