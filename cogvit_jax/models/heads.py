"""Heads that map the student's features to a teacher's width, one per teacher."""

import flax.linen as nn
from jaxtyping import Array, Float

from cogvit_jax import settings
from cogvit_jax.layers import dense
from cogvit_jax.sharding import keep_rows

KINDS = ("linear", "mlp")


class MLPHead(nn.Module):
    """Dense, LayerNorm, GELU, Dense: RADIO's adaptor (arXiv:2312.06709) without its residual part.

    The hidden layer is as wide as the wider of its two sides, so that it narrows neither. The norm
    before the GELU keeps its inputs in one range whatever the first kernel grows to.
    """

    dim: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b {self.dim}"]:
        hidden = dense(max(x.shape[-1], self.dim), "up", self.dtype)(x)
        normed = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(hidden)
        return dense(self.dim, "down", self.dtype)(keep_rows(nn.gelu(normed, approximate=True)))


def build(kind: str, dim: int, dtype: str, name: str) -> nn.Module:
    """The head of one teacher.

    "linear" is EVA-02's single layer (arXiv:2303.11331): what the student knows must then be in its
    features, not in the head that is thrown away. "mlp" lets features differ from any teacher's,
    which helps where several teachers ask for different things (RADIO, UNIC).

    Args:
        kind: one of KINDS, `config.teachers.<name>.head`.
        dim: width of the teacher's features.
        dtype: of the computation; parameters are f32.
        name: of the module and so of its parameters, the teacher's or "head_" and the teacher's.

    Raises:
        ConfigError: an unknown kind.
    """
    if kind not in KINDS:
        field = f"config.teachers.{name.removeprefix('head_')}.head"
        raise settings.ConfigError(settings.unknown(f"{field} = {kind!r}", kind, KINDS))
    if kind == "linear":
        return dense(dim, name, dtype)
    return MLPHead(dim, dtype, name=name)
