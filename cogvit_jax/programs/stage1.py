"""Stage 1: CogViT learns to see what is masked, as two frozen teachers see it (report §2.1).

35% of a picture's patches are hidden from the student, which predicts the features of SigLIP2
(semantics) and DINOv3 (texture) there. Each teacher has its own resolution, patch size,
normalisation, head and weight; grids agree because each teacher's picture is sized for that.
"""

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
from jax.sharding import Mesh
from rich.console import Console

from cogvit_jax import settings, sharding
from cogvit_jax.data import feature_cache, masking, pictures
from cogvit_jax.data.mixture import short_names
from cogvit_jax.data.pipeline import picture_batches
from cogvit_jax.data.quality import QualitySettings
from cogvit_jax.data.quality import check as check_quality
from cogvit_jax.data.shapes import picture_shapes
from cogvit_jax.evals.embed import Embedder, of_patches
from cogvit_jax.models import vit
from cogvit_jax.models.scan import resolve_attention
from cogvit_jax.models.student import Student
from cogvit_jax.program import Batches, Program
from cogvit_jax.programs import teachers
from cogvit_jax.programs.distill_loss import DistillSettings, make_distill_loss, make_statistics
from cogvit_jax.programs.stage1_evals import EvalSettings, Shown, make_evaluators
from cogvit_jax.programs.teachers import Taught


def build(config: Any, mesh: Mesh | None = None) -> Program:
    """The program that a stage 1 config describes; teachers are read when training starts.

    Args:
        config: see `configs/stage1.py`.
        mesh: devices; None = what `config.mesh` says.

    Raises:
        ConfigError: a field is unknown or out of range.
    """
    mesh = mesh or sharding.make_mesh(
        settings.read(sharding.MeshSettings, config.mesh, "config.mesh")
    )
    loss = settings.read(DistillSettings, config.loss, "config.loss")
    taught = teachers.read(config)
    example = make_example(config, taught)
    student = make_student(config, taught, mesh)
    sources = short_names(config.data.train)
    batches = make_batches(config, example, taught, mesh)
    load = cache(
        partial(teachers.load, taught, config, mesh, Console(quiet=jax.process_index() > 0))
    )

    def init(key: jax.Array) -> Any:
        return student.init(key, *dummy_inputs(example))["params"]

    shown = Shown(student, taught, example, init, load)
    return Program(
        init=init,
        loss=make_distill_loss(student, taught, loss, sources),
        batches=batches,
        mesh=mesh,
        frozen=load,
        frozen_shapes=partial(teachers.shapes, taught, config.teachers.rules, mesh),
        statistics=make_statistics(taught, loss, student.side, sources, batches),
        evaluators=make_evaluators(config, make_embedder(config, mesh), shown, mesh),
        step_flops=partial(step_flops, config, taught),
        num_examples=lambda batch: batch["source"].size,
        batch_shapes=partial(picture_shapes, example, mesh, config.train.microbatches),
    )


def make_example(config: Any, taught: tuple[Taught, ...]) -> pictures.PictureExample:
    """How a record becomes an example of this run.

    Raises:
        ConfigError: cached features where crops or flips are random, or a field is wrong.
    """
    data = settings.read(pictures.PictureSettings, config.data, "config.data")
    caches = {t.name: t.cache for t in taught if t.cache}
    if caches and (tuple(data.crop_scale) != (1.0, 1.0) or data.flip):
        raise settings.ConfigError(
            f"config.teachers.{next(iter(caches))}.cache holds features of whole pictures: "
            "set config.data.crop_scale to (1.0, 1.0) and config.data.flip to False, or the cache "
            "to ''."
        )
    mask = settings.read(masking.MaskSettings, config.mask, "config.mask")
    student = pictures.View(data.image_size, config.vision.patch_size)
    masking.num_masked(mask, student.side**2)
    judged = settings.read(QualitySettings, config.quality, "config.quality")
    check_quality(judged)
    views = dict.fromkeys(t.view for t in taught if not t.cache)
    return pictures.PictureExample(
        config=data,
        mask=mask,
        quality=judged,
        student=student,
        teachers=tuple(views),
        caches=caches,
    )


def make_student(config: Any, taught: tuple[Taught, ...], mesh: Mesh) -> Student:
    """The student of a config, with the attention that suits the mesh's devices."""
    vision = settings.read(vit.VisionSettings, config.vision, "config.vision")
    return Student(
        vision_settings=resolve_attention(vision, vit.SIZES, "config.vision", mesh),
        teachers=tuple((t.name, t.config.head, t.model.dim) for t in taught),
        side=pictures.View(config.data.image_size, config.vision.patch_size).side,
    )


def make_batches(
    config: Any, example: pictures.PictureExample, taught: tuple[Taught, ...], mesh: Mesh
) -> Callable[[dict[str, Any] | None], Batches]:
    """Opens the data, and the caches of features after a check that they are this run's."""

    def batches(state: dict[str, Any] | None) -> Batches:
        for one in taught:
            if one.cache:
                wanted = cache_meta(config, one)
                feature_cache.open_cache(one.cache.folder, wanted, f"{one.section}.cache")
        return picture_batches(example, mesh, config.seed, state)

    return batches


def cache_meta(config: Any, one: Taught) -> dict[str, Any]:
    """What must be equal where features are computed and where they are read."""
    fields = dataclasses.asdict(one.config)
    kept = ("kind", "path", "size", "image_size", "patch_size", "dtype")
    return {name: fields[name] for name in kept} | {
        "train": config.data.train,
        "shape": [one.model.grid**2, one.model.dim],
    }


def make_embedder(config: Any, mesh: Mesh) -> Embedder:
    """Embeds pictures as the mean of the encoder's patch features, at native aspect ratio."""
    vision = settings.read(vit.VisionSettings, config.vision, "config.vision")
    encoder = vit.build(resolve_attention(vision, vit.SIZES, "config.vision", mesh))
    side = pictures.View(config.data.image_size, config.vision.patch_size).side

    def features(params: Any, image: Any) -> jax.Array:
        inputs = (image["patches"], image["positions"], image["segments"])
        return encoder.apply({"params": params["vision"]}, *inputs)  # type: ignore[return-value]

    batch_size = settings.read(EvalSettings, config.evals, "config.evals").batch_size
    return of_patches(features, mesh, vision.patch_size, side**2, batch_size)


def dummy_inputs(example: pictures.PictureExample) -> tuple[Any, Any]:
    """The smallest batch that shows the student all its shapes."""
    n, p = example.student.side**2, example.student.patch_size
    return jax.numpy.zeros((1, n, 3 * p * p), jax.numpy.uint8), jax.numpy.zeros((1, n), bool)


def step_flops(config: Any, taught: tuple[Taught, ...], batch: dict[str, Any]) -> float:
    """Model FLOPs of a step: the student forward and twice that backward, the teachers forward."""
    vision = settings.read(vit.VisionSettings, config.vision, "config.vision")
    num, tokens = batch["masked"].shape
    student = vit.forward_flops(vision, num * tokens, float(tokens))
    width = vit.dimensions(vision)[0]
    for one in taught:
        dim, wide = one.model.dim, max(width, one.model.dim)
        per_token = width * dim if one.config.head == "linear" else wide * (width + dim)
        student += 2.0 * num * tokens * per_token
    return 3 * student + num * sum(t.model.flops for t in taught if not t.cache)
