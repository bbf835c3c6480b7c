"""Stage 2: CogViT and a text tower learn one space from image-text pairs (report §2.1).

NaFlex images, SigLIP's sigmoid loss over the global batch, Muon with a schedule per module.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from cogvit_jax import settings, sharding
from cogvit_jax.data.assets import FONT_PATH
from cogvit_jax.data.layout import DataSettings
from cogvit_jax.data.mixture import open_mixture
from cogvit_jax.data.pipeline import pair_batches
from cogvit_jax.data.shapes import batch_shapes
from cogvit_jax.data.text import load_tokenizer
from cogvit_jax.evals.attention import make_diagnose, max_logits
from cogvit_jax.evals.embed import Embedder
from cogvit_jax.evals.gallery import gallery
from cogvit_jax.evals.retrieval import retrieval
from cogvit_jax.evals.zero_shot import zero_shot
from cogvit_jax.models import text, vit
from cogvit_jax.models.scan import resolve_attention
from cogvit_jax.models.two_towers import TwoTowers
from cogvit_jax.program import Evaluator, Program
from cogvit_jax.programs.pair_loss import (
    LossSettings,
    make_pair_loss,
    make_share_texts,
    resolve_method,
)


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """`config.evals`: what runs on `data.heldout` every `train.eval_every` steps.

    Attributes:
        batch_size: pictures or texts per call.
        zero_shot, retrieval: on or off; zero-shot runs on the sources that have classes.
        gallery: pictures in the grid with the captions ranked highest; 0 = none.
        gallery_captions: captions below each picture.
        attention: the largest attention logit of each tower, which QK-Norm is there to bound.
    """

    batch_size: int = 256
    zero_shot: bool = True
    retrieval: bool = True
    gallery: int = 0
    gallery_captions: int = 3
    attention: bool = True


def build(config: Any, mesh: Mesh | None = None) -> Program:
    """The program that a stage 2 config describes.

    Args:
        config: see `configs/stage2.py`.
        mesh: devices; None = what `config.mesh` says.

    Raises:
        ConfigError: a field is unknown or out of range; FileNotFoundError: data is not there.
    """
    mesh = mesh or sharding.make_mesh(
        settings.read(sharding.MeshSettings, config.mesh, "config.mesh")
    )
    data = settings.read(DataSettings, config.data, "config.data")
    loss = settings.read(LossSettings, config.loss, "config.loss")
    vision = settings.read(vit.VisionSettings, config.vision, "config.vision")
    model = make_model(config, mesh)
    method = resolve_method(loss, mesh, data.global_batch, config.embed_dim)
    return Program(
        init=lambda key: model.init(key, *dummy_inputs(vision, data))["params"],
        loss=make_pair_loss(model, method, loss.chunk_size, mesh),
        shared=make_share_texts(model, method, mesh),
        batches=lambda state: pair_batches(
            data,
            mesh,
            vision.patch_size,
            config.seed,
            state,
            loss.positives,
            config.train.microbatches,
        ),
        mesh=mesh,
        evaluators=make_evaluators(config, model, make_embedder(config, mesh)),
        step_flops=partial(step_flops, config),
        num_examples=lambda batch: batch["text_ids"].size,
        batch_shapes=partial(
            batch_shapes, data, mesh, vision.patch_size, config.train.microbatches
        ),
    )


def make_model(config: Any, mesh: Mesh) -> TwoTowers:
    """The two towers of a config, with the attention that suits the mesh's devices."""
    loss = settings.read(LossSettings, config.loss, "config.loss")
    vision = settings.read(vit.VisionSettings, config.vision, "config.vision")
    texts = settings.read(text.TextSettings, config.text, "config.text")
    return TwoTowers(
        vision_settings=resolve_attention(vision, vit.SIZES, "config.vision", mesh),
        text_settings=resolve_attention(texts, text.SIZES, "config.text", mesh),
        vocab_size=text.table_size(texts, load_tokenizer(config.data.tokenizer).vocab_size),
        embed_dim=config.embed_dim,
        text_length=config.data.text_length,
        init_scale=loss.init_scale,
        init_bias=loss.init_bias,
    )


def make_embedder(config: Any, mesh: Mesh) -> Embedder:
    """Embeds pictures and texts with the towers of a config."""
    data = settings.read(DataSettings, config.data, "config.data")
    model = make_model(config, mesh)

    def embed_images(params: Any, image: Any) -> Any:
        return model.apply({"params": params}, image, method=TwoTowers.embed_images)

    def embed_texts(params: Any, tokens: jax.Array) -> Any:
        return model.apply({"params": params}, tokens, method=TwoTowers.embed_texts)

    return Embedder(
        embed_images=jax.jit(embed_images),
        embed_texts=jax.jit(embed_texts),
        mesh=mesh,
        tokenizer=load_tokenizer(data.tokenizer),
        text_length=data.text_length,
        patch_size=config.vision.patch_size,
        length=data.eval_length or max(data.lengths),
        batch_size=settings.read(EvalSettings, config.evals, "config.evals").batch_size,
        mask_padding=not model.text_settings.attend_padding,
    )


def make_evaluators(config: Any, model: TwoTowers, embedder: Embedder) -> dict[str, Evaluator]:
    """What `config.evals` asks for, on each source of `config.data.heldout`."""
    options = settings.read(EvalSettings, config.evals, "config.evals")
    evaluators: dict[str, Evaluator] = {}
    if config.data.heldout:
        sources, _ = open_mixture(config.data.heldout, "config.data.heldout")
        for source in sources:
            name = source.name.rpartition(":")[2].strip("/").replace("/", "_")
            if options.zero_shot and source.classes:
                evaluators[f"zero_shot/{name}"] = partial(zero_shot, embedder, source)
            if options.retrieval:
                evaluators[f"retrieval/{name}"] = partial(retrieval, embedder, source)
            if options.gallery:
                evaluators[f"gallery/{name}"] = partial(
                    gallery, embedder, source, FONT_PATH, options.gallery, options.gallery_captions
                )
        if options.attention:
            evaluators["attention"] = partial(
                max_logits, make_diagnose(model.apply), partial(embedder.sample, sources[0])
            )
    return evaluators


def dummy_inputs(
    vision: vit.VisionSettings, data: DataSettings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The smallest batch that shows the model all its shapes."""
    patch_dim = 3 * vision.patch_size**2
    image = {
        "patches": jnp.zeros((1, 1, patch_dim), jnp.uint8),
        "positions": jnp.zeros((1, 1, 2), jnp.int32),
        "segments": jnp.ones((1, 1), jnp.int32),
    }
    tokens = jnp.zeros((1, data.text_length), jnp.int32)
    return image, {"tokens": tokens, "segments": jnp.ones_like(tokens)}


def step_flops(config: Any, batch: dict[str, Any]) -> float:
    """Model FLOPs of a step: forward and twice that backward; recomputation does not count."""
    vision = settings.read(vit.VisionSettings, config.vision, "config.vision")
    texts = settings.read(text.TextSettings, config.text, "config.text")
    data = settings.read(DataSettings, config.data, "config.data")
    pairs = batch["text_ids"].size
    num_tokens, text_tokens = batch["image"]["segments"].size, batch["text"]["tokens"].size
    # Attention within an image costs the square of its length: a token of a packed row meets on
    # average sum(length ** 2) / sum(length) others.
    packed = sum(n * n for n in data.lengths) / sum(data.lengths)
    context = packed if "slots" in batch["image"] else num_tokens / pairs
    images = vit.forward_flops(vision, num_tokens, context)
    logits = 2.0 * pairs * pairs * config.embed_dim
    return 3 * (images + text.forward_flops(texts, text_tokens, text_tokens / pairs) + logits)
