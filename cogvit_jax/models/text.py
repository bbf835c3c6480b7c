"""The text tower: a bidirectional transformer as in SigLIP2 (arXiv:2502.14786).

Learned positions, LayerNorm, tanh-GELU MLP. QK-Norm is ours: the report trains all towers with
Muon, under which logits grow without it.

SigLIP2 attends to padding and pools at the last position, which most captions fill with padding:
with `attend_padding` and without `qk_norm` the tower is SigLIP2's exactly. Without
`attend_padding` a text sees only itself and is pooled at its last token, eos. Its embedding then
does not depend on how far it is padded, so that many texts can share a row (`data.text_packing`).
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cogvit_jax.attention import Attention
from cogvit_jax.layers import GeluMLP
from cogvit_jax.models import scan
from cogvit_jax.settings import ConfigError
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
    """`config.text`.

    Attributes:
        size: a key of SIZES; the next four replace its numbers where they are not 0.
        vocab_size: rows of the embedding table; 0 = the tokenizer's number of pieces. More than
            that may be set, so that shapes do not depend on the tokenizer.
        attend_padding: padding is seen and pooled, as in SigLIP2; False is needed for packed rows.
        qk_norm: RMS-normalise each head's queries and keys.
        attention, dtype, remat, scan_unroll: as in `config.vision`.
    """

    size: str = "B"
    width: int = 0
    depth: int = 0
    num_heads: int = 0
    mlp_dim: int = 0
    vocab_size: int = 0
    attend_padding: bool = True
    qk_norm: bool = True
    attention: str = "auto"
    dtype: str = "bfloat16"
    remat: str = "full"
    scan_unroll: int = 1


class Block(nn.Module):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))`."""

    num_heads: int
    mlp_dim: int
    qk_norm: bool
    dtype: str
    implementation: str = "xla"

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t d"], segments: Int[Array, "n t"] | None
    ) -> tuple[Float[Array, "n t d"], None]:
        normed = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm1")(x)
        attention = Attention(
            self.num_heads,
            self.qk_norm,
            dtype=self.dtype,
            implementation=self.implementation,
            name="attention",
        )
        x = keep_rows(x + attention(normed, segments))
        normed = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm2")(x)
        return keep_rows(x + GeluMLP(self.mlp_dim, self.dtype, name="mlp")(normed)), None


class TextTower(nn.Module):
    """Token ids -> one feature per text.

    Args of the call:
        tokens: one text per row, or several.
        segments: 0 = padding, k = k-th text of the row; None: padding is a token like any other.
        positions: place of each token within its text; None: its column.
        slots: the rows form g groups of equal size, and these are the places of the last tokens
            of each group's m texts, `row * t + column`; groups stay on their device. None: one
            text per row.
    """

    vocab_size: int
    length: int
    width: int
    depth: int
    num_heads: int
    mlp_dim: int
    qk_norm: bool = True
    dtype: str = "float32"
    remat: str = "none"
    scan_unroll: int = 1
    attention: str = "xla"

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "n t"],
        segments: Int[Array, "n t"] | None = None,
        positions: Int[Array, "n t"] | None = None,
        slots: Int[Array, "g m"] | None = None,
    ) -> Float[Array, "texts {self.width}"]:
        init = nn.initializers.normal(1 / self.width**0.5)
        embedding = nn.Embed(self.vocab_size, self.width, embedding_init=init, name="embedding")
        # Gathered whole where it is split, so that looking up moves weights, not activations.
        table = keep_whole(embedding.embedding.astype(self.dtype))
        x = keep_rows(jnp.take(table, tokens, axis=0))
        places = self.param("positions", init, (self.length, self.width), jnp.float32)
        x = keep_rows(
            x + place_embeddings(jnp.asarray(places, self.dtype), positions, tokens.shape[1])
        )
        blocks = scan.stack(Block, self.depth, self.remat, self.scan_unroll, num_inputs=1)
        block = (self.num_heads, self.mlp_dim, self.qk_norm, self.dtype, self.attention)
        x, _ = blocks(*block, name="blocks")(x, segments)
        last = pick_last(x, segments, slots)
        return nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(last)


def place_embeddings(
    table: Float[Array, "l d"], positions: Int[Array, "n t"] | None, length: int
) -> Float[Array, "n t d"]:
    """What is added to each token for its place in its text; `[1, length, d]` if that is known."""
    if positions is None:
        return table[None, :length]
    # A product rather than a gather: its gradient sums many rows per place in f32, a scatter
    # would sum them in the table's type.
    return jnp.einsum(
        "ntl,ld->ntd", jax.nn.one_hot(positions, len(table), dtype=table.dtype), table
    )


def pick_last(
    x: Float[Array, "n t d"], segments: Int[Array, "n t"] | None, slots: Int[Array, "g m"] | None
) -> Float[Array, "texts d"]:
    """The feature of each text's last token."""
    if segments is None:
        return x[:, -1]
    if slots is None:
        slots = jnp.sum(segments > 0, axis=1, keepdims=True) - 1
    grouped = x.reshape(len(slots), -1, x.shape[-1])
    picked = jnp.take_along_axis(grouped, slots[..., None], axis=1)
    return keep_rows(picked.reshape(-1, x.shape[-1]))


def build(config: TextSettings, vocab_size: int, length: int) -> TextTower:
    """The tower that `config.text` describes, for texts of at most `length` tokens.

    Raises:
        ConfigError: an unknown size.
    """
    width, depth, num_heads, mlp_dim = dimensions(config)
    return TextTower(
        vocab_size=vocab_size,
        length=length,
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_dim=mlp_dim,
        qk_norm=config.qk_norm,
        dtype=config.dtype,
        remat=config.remat,
        scan_unroll=config.scan_unroll,
        attention="xla" if config.attention == "auto" else config.attention,
    )


def table_size(config: TextSettings, num_pieces: int) -> int:
    """Rows of the embedding table for a tokenizer of `num_pieces`; raises ConfigError."""
    if config.vocab_size and config.vocab_size < num_pieces:
        raise ConfigError(
            f"config.text.vocab_size = {config.vocab_size} is less than the {num_pieces} pieces of "
            "config.data.tokenizer: raise it, set 0 (the tokenizer's), or use another tokenizer."
        )
    return config.vocab_size or num_pieces


def dimensions(config: TextSettings) -> tuple[int, int, int, int]:
    """(width, depth, num_heads, mlp_dim) of a config; raises ConfigError."""
    return scan.dimensions(config, SIZES, "config.text")


def forward_flops(config: TextSettings, num_tokens: int, tokens_per_text: float) -> float:
    """Matrix-multiply FLOPs of the tower for `num_tokens`, attention within each text only."""
    width, depth, _, mlp_dim = dimensions(config)
    per_token = 2 * (4 * width**2 + 2 * width * mlp_dim) + 4 * tokens_per_text * width
    return float(num_tokens * depth * per_token)
