"""One layer of the decoder: attention over the row or over a cache, then an MLP or experts.

Shape letters: b rows, t tokens, d width, h heads, g kv heads, k head dim, s cache slots.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float

from cogvit_jax.layers import KERNEL_INIT, RMSNorm
from cogvit_jax.sharding import keep_tokens
from mmtp.models import attend as attention
from mmtp.models import rope
from mmtp.models.attend import Attend, Inputs
from mmtp.models.moe import MoE, SwiGLU
from mmtp.models.presets import DecoderConfig

# Of one layer: k and v [b, s, g, k], and which keys later tokens may see [b, s].
LayerCache = tuple[Array, Array, Array]


class Attention(nn.Module):
    """Grouped-query self-attention with rotary positions, over the row or over a cache."""

    config: DecoderConfig
    attend: Attend = attention.xla

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], inputs: Inputs, cache: LayerCache | None = None
    ) -> tuple[Float[Array, "b t d"], tuple[Array, Array] | None]:
        q = self._project(x, self.config.num_heads, "query", "q_norm", inputs)
        k = self._project(x, self.config.num_kv_heads, "key", "k_norm", inputs)
        v = self._project(x, self.config.num_kv_heads, "value")
        kept = None
        if cache is None:
            out = self.attend(q, k, v, inputs)
        else:
            keys = attention.write(cache[0], k, inputs.order)
            values = attention.write(cache[1], v, inputs.order)
            usable = write_usable(cache[2], inputs)
            out = attention.cached(q, keys, values, inputs.order, usable)
            kept = (k, v)
        out = checkpoint_name(out, "attention_out")
        return nn.DenseGeneral(
            x.shape[-1],
            axis=(-2, -1),
            use_bias=False,
            dtype=self.config.dtype,
            kernel_init=KERNEL_INIT,
            name="out",
        )(out), kept

    def _project(
        self,
        x: Array,
        num_heads: int,
        name: str,
        norm: str | None = None,
        inputs: Inputs | None = None,
    ) -> Array:
        """Heads of queries, keys or values; the first two are normalised and turned."""
        config = self.config
        heads = nn.DenseGeneral(
            (num_heads, config.head_dim),
            use_bias=config.qkv_bias,
            dtype=config.dtype,
            kernel_init=KERNEL_INIT,
            name=name,
        )(x)
        heads = checkpoint_name(heads, "qkv")
        if norm and config.qk_norm:
            heads = RMSNorm(config.norm_eps, config.dtype, name=norm)(heads)
        if inputs is not None:
            heads = rope.rotate(heads, inputs.rope, config.rope_interleaved)
        return heads


class Block(nn.Module):
    """`x + norm(attention(norm(x)))`, then `x + norm(mlp(norm(x)))`; outer norms: sandwich only.

    Args of the call:
        x: residual stream.
        inputs: of the row.
        cache: (k, v) `[b, s, g, k]` and usable `[b, s]` before these tokens, or None.

    Returns:
        the residual stream, and with a cache (k, v) `[b, t, g, k]` of these tokens, else None.
    """

    config: DecoderConfig
    attend: Attend = attention.xla

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], inputs: Inputs, cache: LayerCache | None = None
    ) -> tuple[Float[Array, "b t d"], tuple[Array, Array] | None]:
        config = self.config
        mixer = Attention(config, self.attend, name="attention")
        out, kept = mixer(self._norm("norm1", x), inputs, cache)
        x = keep_tokens(x + self._post_norm("post_norm1", out))
        normed = self._norm("norm2", x)
        if config.moe is None:
            out = SwiGLU(config.mlp_dim, config.dtype, name="mlp")(normed)
        else:
            out = MoE(config.moe, config.dtype, name="moe")(normed, inputs.segments > 0)
        return keep_tokens(x + self._post_norm("post_norm2", out)), kept

    def _norm(self, name: str, x: Array) -> Array:
        return RMSNorm(self.config.norm_eps, self.config.dtype, name=name)(x)

    def _post_norm(self, name: str, x: Array) -> Array:
        return self._norm(name, x) if self.config.sandwich_norms else x


def write_usable(usable: Bool[Array, "b s"], inputs: Inputs) -> Bool[Array, "b s"]:
    """A cache's `usable` with the new tokens."""
    new = jnp.ones(inputs.order.shape, bool) if inputs.usable is None else inputs.usable
    return attention.write(usable, new, inputs.order)
