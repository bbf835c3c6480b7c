"""The text tower: a bidirectional transformer as in SigLIP2 (arXiv:2502.14786).

Learned positions, LayerNorm, tanh-GELU MLP, no mask (padding is attended to, as in SigLIP), pooled
at the last position. QK-Norm is ours: the report trains all towers with Muon, under which logits
grow without it. `qk_norm=False` gives SigLIP2's tower exactly.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cogvit_jax.attention import Attention
from cogvit_jax.layers import GeluMLP
from cogvit_jax.models import scan
from cogvit_jax.sharding import keep_rows, keep_whole

# width, depth, num_heads, mlp_dim; SigLIP2's text towers. `tiny` is for laptops and tests.
SIZES = {
    "tiny": (128, 2, 2, 256),
    "B": (768, 12, 12, 3072),
    "L": (1024, 24, 16, 4096),
    "So400m": (1152, 27, 16, 4304),
}


@dataclass(frozen=True)
class TextSettings:
    """`config.text`; the tokenizer decides the vocabulary.

    Attributes:
        size: a key of SIZES; the next four replace its numbers where they are not 0.
        qk_norm: RMS-normalise each head's queries and keys.
        dtype, remat, scan_unroll: as in `config.vision`.
    """

    size: str = "B"
    width: int = 0
    depth: int = 0
    num_heads: int = 0
    mlp_dim: int = 0
    qk_norm: bool = True
    dtype: str = "bfloat16"
    remat: str = "full"
    scan_unroll: int = 1


class Block(nn.Module):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))`."""

    num_heads: int
    mlp_dim: int
    qk_norm: bool
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "n t d"]) -> tuple[Float[Array, "n t d"], None]:
        normed = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm1")(x)
        attention = Attention(self.num_heads, self.qk_norm, dtype=self.dtype, name="attention")
        x = keep_rows(x + attention(normed))
        normed = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm2")(x)
        return keep_rows(x + GeluMLP(self.mlp_dim, self.dtype, name="mlp")(normed)), None


class TextTower(nn.Module):
    """Token ids of fixed length -> one feature per text (that of the last position)."""

    vocab_size: int
    width: int
    depth: int
    num_heads: int
    mlp_dim: int
    qk_norm: bool = True
    dtype: str = "float32"
    remat: str = "none"
    scan_unroll: int = 1

    @nn.compact
    def __call__(self, tokens: Int[Array, "n t"]) -> Float[Array, "n {self.width}"]:
        init = nn.initializers.normal(1 / self.width**0.5)
        embedding = nn.Embed(self.vocab_size, self.width, embedding_init=init, name="embedding")
        # Gathered whole where it is split, so that looking up moves weights, not activations.
        table = keep_whole(embedding.embedding.astype(self.dtype))
        x = keep_rows(jnp.take(table, tokens, axis=0))
        positions = self.param("positions", init, (tokens.shape[1], self.width), jnp.float32)
        x = keep_rows(x + positions[None].astype(self.dtype))
        blocks = scan.stack(Block, self.depth, self.remat, self.scan_unroll, num_inputs=0)
        x, _ = blocks(self.num_heads, self.mlp_dim, self.qk_norm, self.dtype, name="blocks")(x)
        return nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(x[:, -1])


def build(config: TextSettings, vocab_size: int) -> TextTower:
    """The tower that `config.text` describes; raises ConfigError on an unknown size."""
    width, depth, num_heads, mlp_dim = dimensions(config)
    return TextTower(
        vocab_size=vocab_size,
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_dim=mlp_dim,
        qk_norm=config.qk_norm,
        dtype=config.dtype,
        remat=config.remat,
        scan_unroll=config.scan_unroll,
    )


def dimensions(config: TextSettings) -> tuple[int, int, int, int]:
    """(width, depth, num_heads, mlp_dim) of a config; raises ConfigError."""
    return scan.dimensions(config, SIZES, "config.text")


def forward_flops(config: TextSettings, num_texts: int, length: int) -> float:
    """Matrix-multiply FLOPs of the tower for `num_texts` texts of `length` tokens."""
    width, depth, _, mlp_dim = dimensions(config)
    per_token = 2 * (4 * width**2 + 2 * width * mlp_dim) + 4 * length * width
    return float(num_texts * length * depth * per_token)
