"""Norms and MLPs shared by all towers.

The names given to activations are those that `models.scan.REMAT_POLICIES` can save.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from cogvit_jax.sharding import keep_rows

KERNEL_INIT = nn.initializers.xavier_uniform()
# A fused q, k, v kernel is initialised over d × 3d; twice the variance gives each of the three what
# it would get by itself.
QKV_INIT = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dim, computed in f32 (arXiv:1910.07467, eq. 4).

    Shapes: `[..., d] -> [..., d]`, in `dtype`.
    """

    eps: float = 1e-5
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        x32 = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x32), axis=-1, keepdims=True)
        normed = x32 / jnp.sqrt(mean_square + self.eps)
        return jnp.asarray(normed * _match(scale, x.ndim), self.dtype)


class SwiGLU(nn.Module):
    """`down(silu(gate(x)) * up(x))` with biases (arXiv:2002.05202, eq. 6).

    Gate and up are two kernels, so that Muon orthogonalises each by itself. `limit`: see `gated`.
    """

    mlp_dim: int
    dtype: str = "float32"
    limit: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        gate = checkpoint_name(dense(self.mlp_dim, "gate", self.dtype)(x), "mlp_gate")
        up = checkpoint_name(dense(self.mlp_dim, "up", self.dtype)(x), "mlp_up")
        return dense(x.shape[-1], "down", self.dtype)(keep_rows(gated(gate, up, self.limit)))


def gated(
    gate: Float[Array, "*b m"], up: Float[Array, "*b m"], limit: float = 0.0
) -> Float[Array, "*b m"]:
    """`silu(gate) * up`; a `limit` that is not 0 cuts gate to at most it and up to within ± it.

    GLM-5.3-Flash's vision tower (transformers' `Glm5NextVisionMLP`) has the limit 10.
    """
    if limit:
        gate, up = jnp.minimum(gate, limit), jnp.clip(up, -limit, limit)
    return nn.silu(gate) * up


class GeluMLP(nn.Module):
    """Two-layer MLP with the tanh form of GELU, as SigLIP's towers and heads use."""

    mlp_dim: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        up = checkpoint_name(dense(self.mlp_dim, "up", self.dtype)(x), "mlp_up")
        hidden = nn.gelu(up, approximate=True)
        return dense(x.shape[-1], "down", self.dtype)(keep_rows(hidden))


def dense(features: int, name: str | None, dtype: str, use_bias: bool = True) -> nn.Dense:
    """A Dense layer with f32 parameters, compute in `dtype`."""
    return nn.Dense(features, use_bias, dtype=dtype, kernel_init=KERNEL_INIT, name=name)


def _match(vector: Float[Array, " d"], ndim: int) -> Array:
    """A vector with leading axes of size 1: rank promotion is an error in our tests."""
    return vector.reshape((1,) * (ndim - 1) + (-1,))
