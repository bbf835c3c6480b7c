"""A GLM-style causal language model: from embeddings to logits, with and without a cache.

Pre-norm or sandwich-norm layers (RMSNorm; the second norm of the sandwich is on what attention and
MLP add to the residual stream), grouped queries, M-RoPE, SwiGLU or a mixture of experts. The same
function as the text models of transformers' GLM-OCR, GLM-4.1V and GLM-4.5V.

Rows hold one or more documents, told apart by segment ids. Their tokens may come in any order
(rows that are split over a mesh axis are reordered to share the work of causal attention):
`Inputs.order` says who sees whom.

    params["embedding"]["table"]  [v, d]
    params["blocks"]              every leaf stacked [l, …]; with experts, layers after the first
    params["dense_blocks"]        … `num_dense_layers`, which are here (absent where there are none)
    params["norm"]["scale"]       [d]
    params["head"]["kernel"]      [d, v] (absent if tied)

Shape letters: b rows, t tokens, d width, h heads, g kv heads, k head dim, v vocabulary, s cache
slots, l layers, e experts.
"""

import dataclasses
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from cogvit_jax.layers import RMSNorm
from cogvit_jax.models.scan import REMAT_POLICIES
from cogvit_jax.sharding import BATCH_AXES, auto_axes, keep_tokens
from mmtp.models import attend as attention
from mmtp.models import rope
from mmtp.models.attend import Attend, Inputs
from mmtp.models.block import Block, LayerCache, write_usable
from mmtp.models.presets import DecoderConfig
from mmtp.models.presets import DecoderSettings as DecoderSettings
from mmtp.models.presets import resolve as resolve

POST_NORMS = ("post_norm1", "post_norm2")
Params = Any


class Cache(NamedTuple):
    """Keys and values of the tokens so far; every row is one sequence, and slot i its token i.

    Attributes:
        k, v: after norm and rotation.
        usable: keys that later tokens may see.
    """

    k: Float[Array, "l b s g k"]
    v: Float[Array, "l b s g k"]
    usable: Bool[Array, "b s"]


def init(key: Array, config: DecoderConfig) -> Params:
    """New parameters, f32.

    Embeddings have deviation width^-1/2 (0.026 at GLM-OCR's width, where GLM's is 0.02), so that
    logits of a tied model begin at unit variance at any width.
    """
    blocks, dense, table, head = jax.random.split(key, 4)
    params: dict[str, Any] = {
        "embedding": {"table": init_embedding(table, config, config.vocab_size)},
        "blocks": init_blocks(blocks, config, config.depth - _num_dense(config)),
        "norm": {"scale": jnp.ones(config.width)},
    }
    if _num_dense(config):
        params["dense_blocks"] = init_blocks(dense, dense_layers(config), _num_dense(config))
    if not config.tied:
        params["head"] = {"kernel": init_embedding(head, config, config.vocab_size).T}
    return params


def init_embedding(key: Array, config: DecoderConfig, num: int) -> Float[Array, "{num} d"]:
    """`num` new rows of an embedding table."""
    return config.width**-0.5 * jax.random.normal(key, (num, config.width))


def init_blocks(key: Array, config: DecoderConfig, depth: int) -> Params:
    """Parameters of `depth` equal blocks, stacked.

    The outer norms of the sandwich begin at (2 L)^-1/2, L the decoder's layers, as GPT-2 scales its
    residual layers: at 1 the first layer's output, of unit size, drowns the embeddings.
    """
    x = jnp.zeros((1, 1, config.width), config.dtype)
    inputs = make_inputs(config, rope.text_positions(1, 1), jnp.ones((1, 1), jnp.int32))
    block = Block(config)
    blocks = jax.vmap(lambda k: block.init(k, x, inputs)["params"])(jax.random.split(key, depth))
    factor = (2 * config.depth) ** -0.5
    outer = {n: {"scale": factor * v["scale"]} for n, v in blocks.items() if n in POST_NORMS}
    return {**blocks, **outer}


def dense_layers(config: DecoderConfig) -> DecoderConfig:
    """The same without experts: what the first layers of a mixture of experts are."""
    return dataclasses.replace(config, moe=None, num_dense_layers=0)


def make_inputs(
    config: DecoderConfig,
    positions: Int[Array, "b t 3"],
    segments: Int[Array, "b t"],
    order: Int[Array, "b t"] | None = None,
    usable: Bool[Array, "b t"] | None = None,
) -> Inputs:
    """What the layers know of the tokens; `order` None = as they come."""
    if order is None:
        order = jax.lax.broadcasted_iota(jnp.int32, segments.shape, 1)
    angles = rope.angles(positions, config.rotary_dim, config.mrope_sections, config.rope_theta)
    return Inputs(angles, segments, order, usable)


def embed(
    params: Params, config: DecoderConfig, tokens: Int[Array, "b t"]
) -> Float[Array, "b t d"]:
    """Rows of the embedding table, in the config's dtype."""
    table = params["embedding"]["table"].astype(config.dtype)
    return keep_tokens(_keep_features(jnp.take(table, tokens, axis=0)))


def run(
    params: Params,
    config: DecoderConfig,
    x: Float[Array, "b t d"],
    inputs: Inputs,
    cache: Cache | None = None,
    attend: Attend = attention.xla,
) -> tuple[Float[Array, "b t d"], Cache | None]:
    """All layers.

    Args:
        params: of the decoder.
        config: its numbers.
        x: embeddings, in the config's dtype.
        inputs: of the rows.
        cache: of the tokens before these; then segments and `attend` play no part, tokens are
            written at slots `inputs.order[:, 0]` and on, and see slots up to their own order.
            Prompts of unequal lengths are padded on the right: what lies behind a row's length is
            written over later and seen by nobody.
        attend: attention of a row to itself.

    Returns:
        the residual stream before the final norm, and the cache with these tokens, or None.
    """
    hidden, cache, _ = run_counting(params, config, x, inputs, cache, attend)
    return hidden, cache


def run_counting(
    params: Params,
    config: DecoderConfig,
    x: Float[Array, "b t d"],
    inputs: Inputs,
    cache: Cache | None = None,
    attend: Attend = attention.xla,
) -> tuple[Float[Array, "b t d"], Cache | None, Float[Array, "l e"] | None]:
    """`run`, and how many tokens each expert of each layer with experts got (None without)."""
    num_dense = _num_dense(config)
    first = second = None
    if cache is not None:
        first = (cache.k[:num_dense], cache.v[:num_dense], cache.usable)
        second = (cache.k[num_dense:], cache.v[num_dense:], cache.usable)
    kept = []
    if num_dense:
        x, new, _ = run_blocks(
            params["dense_blocks"], dense_layers(config), x, inputs, first, attend
        )
        kept.append(new)
    x, new, loads = run_blocks(params["blocks"], config, x, inputs, second, attend)
    kept.append(new)
    if cache is None:
        return x, None, loads
    k, v = (jnp.concatenate(parts) for parts in zip(*kept, strict=True))
    return x, Cache(k, v, write_usable(cache.usable, inputs)), loads


def run_blocks(
    blocks: Params,
    config: DecoderConfig,
    x: Float[Array, "b t d"],
    inputs: Inputs,
    cache: LayerCache | None = None,
    attend: Attend = attention.xla,
) -> tuple[Float[Array, "b t d"], tuple[Array, Array] | None, Float[Array, "l e"] | None]:
    """Equal blocks with stacked parameters, one after the other.

    Args:
        blocks: parameters, every leaf `[l, …]`, such as a stage's part of `params["blocks"]`.
        config: of these blocks.
        x: residual stream.
        inputs: of the rows.
        cache: (k, v) `[l, b, s, g, k]` and usable `[b, s]`, or None.
        attend: attention of a row to itself.

    Returns:
        the residual stream, (k, v) with these tokens, and the experts' loads.
    """
    policy = REMAT_POLICIES[config.remat]
    # Inside a scan XLA cannot undo the recomputation, so no barriers are needed.
    block = Block if config.remat == "none" else nn.remat(Block, prevent_cse=False, policy=policy)
    depth = jax.tree.leaves(blocks)[0].shape[0]
    cache_axes = nn.broadcast if cache is None else (0, 0, nn.broadcast)
    stack: Any = nn.scan(
        block,
        variable_axes={"params": 0, "loads": 0},
        split_rngs={"params": True},
        in_axes=cast(Any, (nn.broadcast, cache_axes)),
        length=depth,
        # With a cache the copies that unrolling would make of it cost more than the loop.
        unroll=min(config.scan_unroll, depth) if cache is None else 1,
    )(config, attend)
    variables = {"params": blocks}
    if config.moe is None:
        (x, new), loads = stack.apply(variables, keep_tokens(x), inputs, cache), None
    else:
        (x, new), sown = stack.apply(variables, keep_tokens(x), inputs, cache, mutable=["loads"])
        loads = sown["loads"]["moe"]["loads"][0]
    if cache is None:
        return x, None, loads
    # Written here, all layers at once: a scan that returned whole caches would copy every slot.
    write = jax.vmap(attention.write, in_axes=(0, 0, None))
    return x, (write(cache[0], new[0], inputs.order), write(cache[1], new[1], inputs.order)), loads


def final_norm(
    params: Params, config: DecoderConfig, hidden: Float[Array, "b t d"]
) -> Float[Array, "b t d"]:
    """What the output matrix is applied to."""
    norm: Any = RMSNorm(config.norm_eps, config.dtype)
    return norm.apply({"params": params["norm"]}, hidden)


def output_matrix(params: Params, config: DecoderConfig) -> Float[Array, "d v"]:
    """From normed hidden states to logits."""
    return params["embedding"]["table"].T if config.tied else params["head"]["kernel"]


def logits(
    params: Params, config: DecoderConfig, normed: Float[Array, "b t d"]
) -> Float[Array, "b t v"]:
    """Logits of the next token, f32; products in the config's dtype."""
    matrix = output_matrix(params, config).astype(config.dtype)
    return jnp.matmul(normed, matrix, preferred_element_type=jnp.float32)


def init_cache(config: DecoderConfig, rows: int, slots: int) -> Cache:
    """An empty cache."""
    shape = (config.depth, rows, slots, config.num_kv_heads, config.head_dim)
    k, v = (jnp.zeros(shape, config.dtype) for _ in range(2))
    return Cache(k, v, jnp.zeros((rows, slots), bool))


def _keep_features(x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    """Splits looked-up embeddings as the table is, by features over "fsdp".

    From there one all-to-all leads to rows. Without this step the compiler gathers every device's
    rows, and in the backward pass their gradients.
    """
    auto = auto_axes()
    if "fsdp" not in auto:
        return x
    rows = tuple(a for a in BATCH_AXES if a in auto and a != "fsdp")
    spec = PartitionSpec(rows or None, "context" if "context" in auto else None, "fsdp")
    return jax.lax.with_sharding_constraint(x, spec)


def _num_dense(config: DecoderConfig) -> int:
    """Layers apart from `params["blocks"]`."""
    return config.num_dense_layers if config.moe else 0
