"""Frozen teachers of stage 1: one interface to SigLIP2, DINOv3, HOG and our own towers."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from cogvit_jax import settings, tree
from cogvit_jax.models import dinov3, heads, hog, siglip2, vit
from cogvit_jax.settings import ConfigError

NORMALIZE = {
    "phi_s": "PHI-S: rotated and scaled by one number, so that every dim has variance 1",
    "ema_std": "centred and scaled dim by dim, by running statistics",
    "layer_norm": "each patch's feature by itself",
    "none": "as they are",
}


@dataclass(frozen=True)
class TeacherSettings:
    """`config.teachers.<name>`.

    Attributes:
        kind: a key of KINDS: "siglip2" (a fixed resolution), "siglip2_naflex", "dinov3", "hog", or
            "tower", a CogViT that our stage 2 trained.
        path: the weights: a local .safetensors file or folder; of a "tower" the workdir of its run,
            or "" to train one on the embedded pictures; "" for "hog".
        size: a key of `models.siglip2.SIZES` or `models.dinov3.SIZES`; "" for the other kinds.
        image_size: side of the square picture that the teacher sees, in pixels.
        patch_size: pixels per patch side, as the checkpoint has it.
        weight: of this teacher's loss in the sum.
        head: what maps the student's features to the teacher's, "linear" or "mlp".
        normalize: of the teacher's features, a key of NORMALIZE.
        cache: folder of features that were computed once; "" = computed in every step.
        dtype: of weights and activations.
    """

    kind: str
    path: str = ""
    size: str = ""
    image_size: int = 256
    patch_size: int = 16
    weight: float = 1.0
    head: str = "linear"
    normalize: str = "ema_std"
    cache: str = ""
    dtype: str = "bfloat16"

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class Teacher:
    """A frozen model of patches.

    Attributes:
        dim: of its features.
        grid: rows and columns of patches; m = grid².
        flops: of the matrix products for one picture.
        shapes: () -> parameters as a tree of `jax.ShapeDtypeStruct`s.
        features: (parameters, uint8 patches `[b, m, 3 p²]`) -> `[b, m, dim]`.
    """

    dim: int
    grid: int
    flops: float
    shapes: Callable[[], Any]
    features: Callable[[Any, Array], Array]


def build(
    config: TeacherSettings,
    vision: vit.VisionSettings | None = None,
    section: str = "config.teachers",
) -> Teacher:
    """The teacher that a config describes; needs no weights.

    Args:
        config: one teacher.
        vision: of a "tower", `config.vision` of its run.
        section: the config section's name in errors.

    Raises:
        ConfigError: an unknown kind, size, head or normaliser; a picture that is not a whole
            number of patches; a tower without `vision` or of another patch size.
    """
    make = settings.choose(KINDS, config.kind, f"{section}.kind")
    settings.choose(dict.fromkeys(heads.KINDS), config.head, f"{section}.head")
    settings.choose(NORMALIZE, config.normalize, f"{section}.normalize")
    if config.patch_size < 1 or config.image_size < 1 or config.image_size % config.patch_size:
        below = config.image_size - config.image_size % max(config.patch_size, 1)
        raise ConfigError(
            f"{section}.image_size = {config.image_size} is not a multiple of patch_size = "
            f"{config.patch_size}: set it to {below or config.patch_size}, or change patch_size."
        )
    return make(config, vision, section)


def match_grid(features: Float[Array, "b m d"], side: int) -> Float[Array, "b n d"]:
    """Features of a square grid of patches on the student's grid, `side` x `side`.

    The same where the grids agree; else antialiased bilinear resampling, in f32. A teacher whose
    picture is sized so that the grids agree keeps its features sharp.
    """
    rows, num_patches, dim = features.shape
    grid = math.isqrt(num_patches)
    if grid == side:
        return features
    squares = features.reshape(rows, grid, grid, dim).astype(jnp.float32)
    resized = jax.image.resize(squares, (rows, side, side, dim), "bilinear", antialias=True)
    return resized.reshape(rows, side * side, dim).astype(features.dtype)


def _siglip2(config: TeacherSettings, _: Any, section: str) -> Teacher:
    settings.choose(siglip2.SIZES, config.size, f"{section}.size")
    fixed = config.kind == "siglip2"
    num_positions = config.grid**2 if fixed else siglip2.NAFLEX_POSITIONS
    return _transformer(
        config,
        partial(siglip2.shapes, config.size, config.patch_size, num_positions, config.dtype),
        partial(siglip2.features, size=config.size),
    )


def _dinov3(config: TeacherSettings, _: Any, section: str) -> Teacher:
    settings.choose(dinov3.SIZES, config.size, f"{section}.size")
    return _transformer(
        config,
        partial(dinov3.shapes, config.size, config.patch_size, config.dtype),
        partial(dinov3.features, size=config.size),
    )


def _transformer(
    config: TeacherSettings, shapes: Callable[[], Any], features: Callable[..., Array]
) -> Teacher:
    tower = shapes()
    depth, width, _ = tower["blocks"]["attention"]["query"]["kernel"].shape
    num_patches = config.grid**2
    kernels = [x for name, x in tree.named_leaves(tower) if name.endswith("kernel")]
    products = 2 * num_patches * sum(math.prod(x.shape) for x in kernels)
    attention = 4 * num_patches**2 * width * depth
    return Teacher(width, config.grid, float(products + attention), shapes, features)


def _hog(config: TeacherSettings, _: Any, __: str) -> Teacher:
    def features(params: Any, patches: UInt8[Array, "b m p"]) -> Array:
        del params
        return hog.features(patches, config.patch_size)

    return Teacher(hog.DIM, config.grid, 0.0, dict, features)


def _tower(config: TeacherSettings, vision: vit.VisionSettings | None, section: str) -> Teacher:
    if vision is None:
        raise ConfigError(f"{section}.kind = 'tower' needs the vision settings of its run.")
    if vision.patch_size != config.patch_size:
        raise ConfigError(
            f"{section}.patch_size = {config.patch_size}, but the tower of {config.path!r} has "
            f"patches of {vision.patch_size} pixels: set it to that."
        )
    model = vit.build(
        dataclasses.replace(vision, dtype=config.dtype, remat="none", attention="auto")
    )

    def inputs(patches: Array) -> tuple[Array, Array, Array]:
        return patches, *vit.square_grid(len(patches), config.grid)

    def shapes() -> Any:
        patches = jnp.zeros((1, config.grid**2, 3 * config.patch_size**2), jnp.uint8)
        params = jax.eval_shape(model.init, jax.random.key(0), *inputs(patches))["params"]
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, config.dtype), params)

    def features(params: Any, patches: UInt8[Array, "b m p"]) -> Array:
        return cast(Array, model.apply({"params": params}, *inputs(patches)))

    flops = vit.forward_flops(vision, config.grid**2, float(config.grid**2))
    return Teacher(model.width, config.grid, flops, shapes, features)


KINDS: dict[str, Callable[[TeacherSettings, vit.VisionSettings | None, str], Teacher]] = {
    "siglip2": _siglip2,
    "siglip2_naflex": _siglip2,
    "dinov3": _dinov3,
    "hog": _hog,
    "tower": _tower,
}
