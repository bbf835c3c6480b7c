"""CogViT and a text tower, embedding pictures and captions in one space (SigLIP)."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cogvit_jax.attention import AttentionPool
from cogvit_jax.layers import dense
from cogvit_jax.models import text, vit
from cogvit_jax.sharding import keep_rows


class TwoTowers(nn.Module):
    """Unit-length image and text embeddings, with the loss's temperature and bias.

    Parameters by group: `vision/` (the encoder), `text/`, and the projections: `image_pool/`,
    `image_projection/`, `text_projection/`, `log_scale`, `bias`.
    """

    vision_settings: vit.VisionSettings
    text_settings: text.TextSettings
    vocab_size: int
    embed_dim: int
    init_scale: float = 10.0
    init_bias: float = -10.0

    def setup(self) -> None:
        """Names the parts."""
        _, _, num_heads, mlp_dim = vit.dimensions(self.vision_settings)
        dtype = self.vision_settings.dtype
        self.vision = vit.build(self.vision_settings)
        self.image_pool = AttentionPool(num_heads, mlp_dim, dtype)
        self.image_projection = dense(self.embed_dim, None, dtype)
        self.text = text.build(self.text_settings, self.vocab_size)
        self.text_projection = dense(self.embed_dim, None, self.text_settings.dtype)
        scale, bias = math.log(self.init_scale), self.init_bias
        self.log_scale = self.param("log_scale", nn.initializers.constant(scale), (), jnp.float32)
        self.bias = self.param("bias", nn.initializers.constant(bias), (), jnp.float32)

    def __call__(
        self, image: dict[str, Array], tokens: Int[Array, "n t"]
    ) -> tuple[Float[Array, "n e"], Float[Array, "n e"], Float[Array, ""], Float[Array, ""]]:
        """(image embeddings, text embeddings, log_scale, bias) of n pairs."""
        # Text first: its gather can then hide behind the image tower.
        text_emb = self.embed_texts(tokens)
        return self.embed_images(image), text_emb, self.log_scale, self.bias

    def embed_images(self, image: dict[str, Array]) -> Float[Array, "n e"]:
        """Embeds the images of a padded or packed batch (see `data.packing`).

        `image` holds `patches [b, t, p]`, `positions [b, t, 2]`, `segments [b, t]` and, when rows
        hold several images, `slots [g, m]`: the rows form g groups of equal size, and slots names
        for each of a group's m images its place in the group, `row * num_slots + segment - 1`.
        `slot_mask [b, s]` says which slots hold an image, and by its shape how many a
        row has. Groups stay on their device.
        """
        features = self.vision(image["patches"], image["positions"], image["segments"])
        if "slots" not in image:
            return self._project(self.image_pool(features, image["segments"], 1)[:, 0])
        num_slots = image["slot_mask"].shape[1]
        pooled = self.image_pool(features, image["segments"], num_slots)
        groups = image["slots"].shape[0]
        pooled = pooled.reshape(groups, -1, pooled.shape[-1])
        picked = jnp.take_along_axis(pooled, image["slots"][..., None], axis=1)
        return self._project(picked.reshape(-1, picked.shape[-1]))

    def embed_texts(self, tokens: Int[Array, "n t"]) -> Float[Array, "n e"]:
        """Embeds tokenized texts."""
        return l2_normalize(keep_rows(self.text_projection(keep_rows(self.text(tokens)))))

    def _project(self, pooled: Float[Array, "n d"]) -> Float[Array, "n e"]:
        return l2_normalize(keep_rows(self.image_projection(keep_rows(pooled))))


def l2_normalize(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Rows of unit length, computed in f32; a zero row stays zero, with a finite gradient."""
    x32 = x.astype(jnp.float32)
    norm_squared = jnp.sum(jnp.square(x32), axis=-1, keepdims=True)
    return (x32 / jnp.sqrt(norm_squared + 1e-12)).astype(x.dtype)
