"""What frozen towers share: layers as pure functions of parameter dicts, blocks as one scan.

Parameters are `kernel [in, out]`, `bias` and `scale`; those of the blocks are stacked on axis 0.
Their dtype is the dtype of the matrix products; norms and softmax are f32.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cogvit_jax.attention import Rope, apply_rope
from cogvit_jax.sharding import keep_rows

Params = Mapping[str, Any]


def linear_shapes(inputs: int, outputs: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    """Shapes of what `linear` takes."""
    return {"kernel": (inputs, outputs)} | ({"bias": (outputs,)} if bias else {})


def structs(shapes: Any, dtype: str) -> Any:
    """A tree of shapes as `jax.ShapeDtypeStruct`s, for compiling without weights."""
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s, dtype), shapes, is_leaf=_is_shape)


def stacked(shapes: Any, depth: int) -> Any:
    """Shapes of `depth` equal blocks: a first axis in front of every one."""
    return jax.tree.map(lambda s: (depth, *s), shapes, is_leaf=_is_shape)


def run_blocks(
    block: Callable[[Params, Array], Array], params: Params, x: Float[Array, "b t d"]
) -> Float[Array, "b t d"]:
    """Applies `block(parameters of one block, x)` for each block of the stack in turn."""
    return jax.lax.scan(lambda x, p: (keep_rows(block(p, x)), None), keep_rows(x), params)[0]


def linear(params: Params, x: Float[Array, "b t n"]) -> Float[Array, "b t m"]:
    """`x @ kernel + bias`; the bias may be missing."""
    y = x @ params["kernel"]
    return y + params["bias"][None, None] if "bias" in params else y


def layer_norm(params: Params, x: Float[Array, "b t d"], eps: float) -> Float[Array, "b t d"]:
    """LayerNorm (arXiv:1607.06450) in f32, returned in x's dtype."""
    x32 = x.astype(jnp.float32)
    centred = x32 - jnp.mean(x32, axis=-1, keepdims=True)
    normed = centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + eps)
    scale, bias = (params[name].astype(jnp.float32)[None, None] for name in ("scale", "bias"))
    return (normed * scale + bias).astype(x.dtype)


def attention(
    params: Params, x: Float[Array, "b t d"], num_heads: int, rope: Rope | None = None
) -> Float[Array, "b t d"]:
    """Self-attention of all tokens of a row; `params` holds query, key, value and out."""
    heads = (*x.shape[:2], num_heads, x.shape[-1] // num_heads)
    q, k, v = (linear(params[name], x).reshape(heads) for name in ("query", "key", "value"))
    if rope is not None:
        q, k = apply_rope(q, rope), apply_rope(k, rope)
    attended = jax.nn.dot_product_attention(q, k, v)  # 1 / sqrt(head size), softmax in f32
    return linear(params["out"], attended.reshape(x.shape))


def _is_shape(x: Any) -> bool:
    return isinstance(x, tuple)
