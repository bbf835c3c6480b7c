"""The vision tower of GLM-4.1V, 4.5V and 4.6V where a `VLM` has CogViT.

`cogvit_jax.models.glm4v` is one pure function; here it is called as a CogViT is.

Shape letters: b rows, t patches, p numbers of a patch, d width, s positions per side.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from cogvit_jax.layers import KERNEL_INIT
from cogvit_jax.models import glm4v
from cogvit_jax.models.glm4v import Glm4vSettings


@dataclass(frozen=True)
class Glm4vTower:
    """Sizes, and what `glm4v.encode` is told.

    Attributes:
        settings: heads, rotary base, pixel statistics and dtype.
        width: of the features.
        depth: blocks.
        mlp_dim: hidden units of their MLPs.
        side: of the learned grid of positions.
        swiglu_limit: these models have none; the merger asks for it.
    """

    settings: Glm4vSettings
    width: int
    depth: int
    mlp_dim: int
    side: int
    swiglu_limit: float = 0.0

    def init(
        self,
        key: Array,
        patches: UInt8[Array, "b t p"],
        positions: Int[Array, "b t 2"],
        segments: Int[Array, "b t"],
    ) -> dict[str, Any]:
        """{"params": new parameters, f32}, as a Linen module's `init`."""
        del positions, segments
        first, table, blocks = jax.random.split(key, 3)
        width, ones = self.width, jnp.ones(self.width)
        outer = {
            "patch_embedding": {
                "kernel": KERNEL_INIT(first, (patches.shape[-1], width)),
                "bias": jnp.zeros(width),
            },
            "post_conv_norm": {"scale": ones},
            "positions": nn.initializers.normal(0.02)(table, (self.side, self.side, width)),
            "norm": {"scale": ones},
        }
        return {
            "params": {
                **outer,
                "blocks": jax.vmap(self._init_block)(jax.random.split(blocks, self.depth)),
            }
        }

    def apply(
        self,
        variables: Any,
        patches: UInt8[Array, "b t p"] | Float[Array, "b t p"],
        positions: Int[Array, "b t 2"],
        segments: Int[Array, "b t"],
    ) -> Float[Array, "b t d"]:
        """Features of every patch; `variables` = {"params": …}."""
        return glm4v.encode(variables["params"], self.settings, patches, positions, segments)

    def _init_block(self, key: Array) -> dict[str, Any]:
        heads = (self.settings.num_heads, self.width // self.settings.num_heads)
        shapes = {
            ("attention", "qkv"): (self.width, 3, *heads),
            ("attention", "out"): (*heads, self.width),
            ("mlp", "gate"): (self.width, self.mlp_dim),
            ("mlp", "up"): (self.width, self.mlp_dim),
            ("mlp", "down"): (self.mlp_dim, self.width),
        }
        block: dict[str, Any] = {
            name: {"scale": jnp.ones(self.width)} for name in ("norm1", "norm2")
        }
        for (part, name), shape in shapes.items():
            key, own = jax.random.split(key)
            matrix = (self.mlp_dim if name == "down" else self.width, -1)
            size = jnp.zeros(shape).reshape(matrix).shape
            block.setdefault(part, {})[name] = {"kernel": KERNEL_INIT(own, size).reshape(shape)}
        return block
