"""Mixture of experts: a sigmoid router whose load is balanced without a loss.

The router scores every expert with a sigmoid; a token goes to the `num_selected` experts of the
highest `score + bias`. The bias takes part in nothing else: what the experts return is weighted by
the scores alone, made to add up to 1 and scaled (DeepSeek-V3, arXiv:2412.19437, eq. 12-16; GLM-4.5,
arXiv:2508.06471). `update_bias` moves it against the load (arXiv:2408.15664), outside any gradient.

No token is dropped: (token, expert) pairs are sorted by expert, each expert's stretch is multiplied
by its own matrices (`jax.lax.ragged_dot`), and the results go back to their tokens.

Shape letters: n tokens, s selected experts of a token, e experts, d width, m hidden units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from cogvit_jax.layers import KERNEL_INIT, gated
from cogvit_jax.sharding import BATCH_AXES, auto_axes

EXPERT_INIT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform", batch_axis=(0,))


@dataclass(frozen=True)
class MoEConfig:
    """One mixture-of-experts layer.

    Attributes:
        num_experts: of which the router chooses.
        num_selected: experts per token.
        expert_dim: hidden units of an expert.
        num_shared: experts that every token goes to, as one SwiGLU of their joint hidden units.
        scale: of the routed experts' sum.
    """

    num_experts: int
    num_selected: int
    expert_dim: int
    num_shared: int = 1
    scale: float = 1.0


class MoE(nn.Module):
    """`sum_i weight_i * expert_i(x)` over the selected experts, plus the shared ones.

    How many tokens each expert got is sown as `loads` `[e]` in the collection "loads".
    `router/bias` `[e]` is a parameter that no gradient reaches.

    Args of the call:
        x: activations.
        counted: tokens whose choices count in the loads; padding is routed but should not.
    """

    config: MoEConfig
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], counted: Bool[Array, "b t"]
    ) -> Float[Array, "b t d"]:
        config = self.config
        scores, bias = Router(config.num_experts, name="router")(x)
        kernels = Experts(config, x.shape[-1], name="experts")()
        kernels = {name: kernel.astype(self.dtype) for name, kernel in kernels.items()}
        x = x.astype(self.dtype)
        out, loads = _dispatch(config, x, scores, bias, counted, kernels)
        self.sow("loads", "loads", loads)
        if config.num_shared:
            out += SwiGLU(config.num_shared * config.expert_dim, self.dtype, name="shared")(x)
        return out


class SwiGLU(nn.Module):
    """`down(silu(gate(x)) * up(x))` without biases (arXiv:2002.05202, eq. 6)."""

    mlp_dim: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, False, self.dtype, kernel_init=KERNEL_INIT, name=name)

        gate = checkpoint_name(dense(self.mlp_dim, "gate")(x), "mlp_gate")
        up = checkpoint_name(dense(self.mlp_dim, "up")(x), "mlp_up")
        return dense(x.shape[-1], "down")(gated(gate, up))


class Router(nn.Module):
    """(scores, bias): a sigmoid per expert, in f32, and what is added to choose.

    In f32 whatever the platform's default: near ties choose other experts at less precision.
    """

    num_experts: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"]
    ) -> tuple[Float[Array, "b t e"], Float[Array, " e"]]:
        kernel = self.param("kernel", KERNEL_INIT, (x.shape[-1], self.num_experts), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.num_experts,), jnp.float32)
        logits = jnp.matmul(x.astype(jnp.float32), kernel, precision=jax.lax.Precision.HIGHEST)
        return nn.sigmoid(logits), jax.lax.stop_gradient(bias)


class Experts(nn.Module):
    """The experts' kernels: gate and up `[e, d, m]`, down `[e, m, d]`."""

    config: MoEConfig
    width: int

    @nn.compact
    def __call__(self) -> dict[str, Array]:
        num, dim = self.config.num_experts, self.config.expert_dim
        shapes = {
            "gate": (num, self.width, dim),
            "up": (num, self.width, dim),
            "down": (num, dim, self.width),
        }
        return {name: Kernel(shape, name=name)() for name, shape in shapes.items()}


class Kernel(nn.Module):
    """One stack of matrices."""

    shape: tuple[int, int, int]

    @nn.compact
    def __call__(self) -> Array:
        return self.param("kernel", EXPERT_INIT, self.shape, jnp.float32)


def select(
    scores: Float[Array, "b t e"], bias: Float[Array, " e"], config: MoEConfig
) -> tuple[Int[Array, "b t s"], Float[Array, "b t s"]]:
    """(experts, weights) of every token."""
    _, chosen = jax.lax.top_k(
        jax.lax.stop_gradient(scores) + bias.reshape(1, 1, -1), config.num_selected
    )
    weights = jnp.take_along_axis(scores, chosen, axis=-1)
    weights /= jnp.sum(weights, axis=-1, keepdims=True) + 1e-20
    return chosen, weights * config.scale


def count(
    chosen: Int[Array, "b t s"], counted: Bool[Array, "b t"], num_experts: int
) -> Float[Array, " e"]:
    """Tokens that go to each expert, f32: sums of microbatches and devices stay exact to 2^24."""
    hits = jax.nn.one_hot(chosen, num_experts, dtype=jnp.float32) * counted[..., None, None]
    return jnp.sum(hits, axis=(0, 1, 2))


def update_bias(
    bias: Float[Array, "l e"], loads: Float[Array, "l e"], rate: float
) -> Float[Array, "l e"]:
    """`bias + rate * sign(mean load - load)` per layer (arXiv:2408.15664, algorithm 1)."""
    mean = jnp.mean(loads, axis=-1, keepdims=True)
    return bias + rate * jnp.sign(mean - loads)


def run_experts(
    x: Float[Array, "n d"],
    chosen: Int[Array, "n s"],
    weights: Float[Array, "n s"],
    kernels: Mapping[str, Any],
) -> Float[Array, "n d"]:
    """The weighted sum over each token's experts; gate and up `[e, d, m]`, down `[e, m, d]`."""
    num_tokens, num_selected = chosen.shape
    experts = chosen.reshape(-1)
    order = jnp.argsort(experts, stable=True)
    sizes = jnp.bincount(experts, length=kernels["gate"].shape[0]).astype(jnp.int32)
    inputs = x[order // num_selected]
    gate = checkpoint_name(jax.lax.ragged_dot(inputs, kernels["gate"], sizes), "mlp_gate")
    up = checkpoint_name(jax.lax.ragged_dot(inputs, kernels["up"], sizes), "mlp_up")
    out = jax.lax.ragged_dot(gated(gate, up), kernels["down"], sizes)
    back = jnp.argsort(order)
    return jnp.einsum("nsd,ns->nd", out[back].reshape(num_tokens, num_selected, -1), weights)


def _dispatch(
    config: MoEConfig,
    x: Array,
    scores: Array,
    bias: Array,
    counted: Array,
    kernels: Mapping[str, Array],
) -> tuple[Array, Array]:
    """(what the experts make of x, their loads), each device working on its own tokens.

    Choosing and sorting over all devices' tokens would move every activation.
    """
    auto = auto_axes()
    tensor = "tensor" if "tensor" in auto else None
    rows = tuple(a for a in BATCH_AXES if a in auto)
    columns = "context" if "context" in auto else None

    def local(
        x: Array, scores: Array, bias: Array, counted: Array, kernels: Mapping[str, Array]
    ) -> tuple[Array, Array]:
        chosen, weights = select(scores, bias, config)
        flat, experts, shares = (a.reshape(-1, a.shape[-1]) for a in (x, chosen, weights))
        out = run_experts(flat, experts, shares.astype(x.dtype), kernels).reshape(x.shape)
        loads = count(chosen, counted, config.num_experts)
        split = (*rows, columns) if columns else rows
        return (jax.lax.psum(out, tensor) if tensor else out), (
            jax.lax.psum(loads, split) if split else loads
        )

    if not auto:
        return local(x, scores, bias, counted, kernels)
    tokens, whole = PartitionSpec(rows or None, columns), PartitionSpec()
    inner, outer = PartitionSpec(None, None, tensor), PartitionSpec(None, tensor)
    specs = {"gate": inner, "up": inner, "down": outer}
    return jax.shard_map(
        local,
        in_specs=(tokens, tokens, whole, tokens, specs),
        out_specs=(tokens, whole),
        axis_names=auto,
        check_vma=False,
    )(x, scores, bias, counted, kernels)
