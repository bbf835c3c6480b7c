"""CogViT and a text tower, embedding pictures and captions in one space (SigLIP)."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cogvit_jax.attention import AttentionPool
from cogvit_jax.layers import dense
from cogvit_jax.models import text, vit
from cogvit_jax.settings import ConfigError
from cogvit_jax.sharding import keep_rows

Texts = dict[str, Array] | Int[Array, "n t"]


class TwoTowers(nn.Module):
    """Unit-length image and text embeddings, with the loss's temperature and bias.

    Parameters by group: `vision/` (the encoder), `text/`, and the projections: `image_pool/`,
    `image_projection/`, `text_projection/`, `log_scale`, `bias`.
    """

    vision_settings: vit.VisionSettings
    text_settings: text.TextSettings
    vocab_size: int
    embed_dim: int
    text_length: int = 64
    init_scale: float = 10.0
    init_bias: float = -10.0

    def setup(self) -> None:
        """Names the parts."""
        _, _, num_heads, mlp_dim = vit.dimensions(self.vision_settings)
        dtype = self.vision_settings.dtype
        self.vision = vit.build(self.vision_settings)
        self.image_pool = AttentionPool(num_heads, mlp_dim, dtype)
        self.image_projection = dense(self.embed_dim, None, dtype)
        self.text = text.build(self.text_settings, self.vocab_size, self.text_length)
        self.text_projection = dense(self.embed_dim, None, self.text_settings.dtype)
        scale, bias = math.log(self.init_scale), self.init_bias
        self.log_scale = self.param("log_scale", nn.initializers.constant(scale), (), jnp.float32)
        self.bias = self.param("bias", nn.initializers.constant(bias), (), jnp.float32)

    def __call__(
        self, image: dict[str, Array], text: Texts
    ) -> tuple[Float[Array, "n e"], Float[Array, "m e"], Float[Array, ""], Float[Array, ""]]:
        """(image embeddings, text embeddings, log_scale, bias)."""
        # Text first: its gather can then hide behind the image tower.
        text_emb = self.embed_texts(text)
        return self.embed_images(image), text_emb, self.log_scale, self.bias

    def embed_images(self, image: dict[str, Array]) -> Float[Array, "n e"]:
        """Embeds the images of a padded or packed batch (see `data.layout`).

        `image` holds `patches [n, t, p]`, `positions [n, t, 2]` and `segments [n, t]`; or, when
        rows hold several images, `[g, r, t, …]`: g groups of r rows, and `slots [g, m]`: for each
        of a group's m images its place in the group, `row * num_slots + segment - 1`.
        `slot_mask [g, r, s]` says which slots hold an image, and by its shape how many a row has.
        Groups stay on their device.
        """
        patches, positions = (
            x.reshape(-1, *x.shape[-2:]) for x in (image["patches"], image["positions"])
        )
        segments = _merge_rows(image["segments"])
        features = self.vision(patches, positions, segments)
        if "slots" not in image:
            return self._project(self.image_pool(features, segments, 1)[:, 0])
        pooled = self.image_pool(features, segments, image["slot_mask"].shape[-1])
        groups = image["slots"].shape[0]
        pooled = pooled.reshape(groups, -1, pooled.shape[-1])
        picked = jnp.take_along_axis(pooled, image["slots"][..., None], axis=1)
        return self._project(picked.reshape(-1, picked.shape[-1]))

    def embed_texts(self, text: Texts) -> Float[Array, "n e"]:
        """Embeds tokenized texts.

        `text` holds `tokens [n, t]` and `segments [n, t]` (1, and 0 for padding); or, when rows
        hold several texts, `[g, r, t]` with `positions [g, r, t]` and `slots [g, m]`, see
        `models.text.TextTower`. Tokens alone do where padding is attended to.

        Raises:
            ConfigError: rows hold several texts, or there are no segments, and `config.text`
                does not fit that.
        """
        batch = text if isinstance(text, dict) else {"tokens": text}
        packed = "slots" in batch
        if packed and self.text_settings.attend_padding:
            raise ConfigError(
                "config.text.attend_padding = True needs one text per row: set it to False, or "
                "config.data.text_layout to 'padded'."
            )
        arrays = {k: x if k == "slots" else _merge_rows(x) for k, x in batch.items()}
        if self.text_settings.attend_padding:
            arrays = {"tokens": arrays["tokens"]}
        elif "segments" not in arrays:
            raise ConfigError("config.text.attend_padding = False needs texts with segments.")
        features = self.text(**arrays)
        return l2_normalize(keep_rows(self.text_projection(keep_rows(features))))

    def _project(self, pooled: Float[Array, "n d"]) -> Float[Array, "n e"]:
        return l2_normalize(keep_rows(self.image_projection(keep_rows(pooled))))


def _merge_rows(x: Int[Array, "*rows t"]) -> Int[Array, "n t"]:
    """Rows of all groups, `[g, r, t] -> [g r, t]`."""
    return x.reshape(-1, x.shape[-1])


def l2_normalize(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Rows of unit length, computed in f32; a zero row stays zero, with a finite gradient."""
    x32 = x.astype(jnp.float32)
    norm_squared = jnp.sum(jnp.square(x32), axis=-1, keepdims=True)
    return (x32 / jnp.sqrt(norm_squared + 1e-12)).astype(x.dtype)
