"""Stage 1's student: CogViT on a masked picture, and a head for each teacher."""

import flax.linen as nn
from jaxtyping import Array, Bool, Float, UInt8

from cogvit_jax.models import heads, vit


class Student(nn.Module):
    """Predicts the features of every teacher at every patch.

    Parameters: `vision/` (the encoder, with `mask_token`), which stage 2 starts from, and
    `head_<teacher>/`, which are thrown away.

    Attributes:
        vision_settings: of the encoder.
        teachers: (name, kind of head, width of its features) of each.
        side: patches per side of the student's picture.
    """

    vision_settings: vit.VisionSettings
    teachers: tuple[tuple[str, str, int], ...]
    side: int

    @nn.compact
    def __call__(
        self, patches: UInt8[Array, "b n p"], masked: Bool[Array, "b n"]
    ) -> dict[str, Float[Array, "b n _"]]:
        """{teacher: predictions}, from pictures of which the masked patches are not seen."""
        vision = vit.build(self.vision_settings, "vision")
        features = vision(patches, *vit.square_grid(len(patches), self.side), masked)
        dtype = self.vision_settings.dtype
        return {
            name: heads.build(kind, dim, dtype, f"head_{name}")(features)
            for name, kind, dim in self.teachers
        }
