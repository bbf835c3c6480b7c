"""Stage 2: CogViT and a text tower learn one space from image-text pairs (report §2.1).

NaFlex images, SigLIP's sigmoid loss over the global batch, Muon with a schedule per module.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from cogvit_jax import settings, sharding
from cogvit_jax.data.assets import FONT_PATH
from cogvit_jax.data.mixture import open_mixture
from cogvit_jax.data.pipeline import DataSettings, TrainBatches
from cogvit_jax.data.text import load_tokenizer
from cogvit_jax.evals.attention import make_diagnose, max_logits
from cogvit_jax.evals.embed import Embedder
from cogvit_jax.evals.gallery import gallery
from cogvit_jax.evals.retrieval import retrieval
from cogvit_jax.evals.zero_shot import zero_shot
from cogvit_jax.losses.siglip import METHODS, sigmoid_loss
from cogvit_jax.models import text, vit
from cogvit_jax.models.two_towers import TwoTowers
from cogvit_jax.program import Evaluator, Loss, Program


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """`config.loss`.

    Attributes:
        method: how the N × N logits are spread over devices, see `losses.siglip`; "all_pairs" is
            the whole matrix at once, placed by the compiler.
        chunk_size: images per tile of logits; 0 = all of a device's.
        init_scale, init_bias: at step 0.
        positives: "concept": records that share a concept or caption are positives of each other;
            "pair": only an image and its own caption.
    """

    method: str = "bidirectional"
    chunk_size: int = 0
    init_scale: float = 10.0
    init_bias: float = -10.0
    positives: str = "concept"


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
    model = make_model(config)
    return Program(
        init=lambda key: model.init(key, *dummy_inputs(vision, data))["params"],
        loss=partial(pair_loss, model, make_sigmoid_loss(loss, mesh)),
        batches=lambda state: TrainBatches(data, mesh, vision.patch_size, config.seed, state),
        mesh=mesh,
        evaluators=make_evaluators(config, model, make_embedder(config, mesh)),
        step_flops=partial(step_flops, config),
        num_examples=lambda batch: batch["tokens"].shape[0],
        max_microbatches=1,
    )


def make_model(config: Any) -> TwoTowers:
    """The two towers of a config."""
    loss = settings.read(LossSettings, config.loss, "config.loss")
    return TwoTowers(
        vision_settings=settings.read(vit.VisionSettings, config.vision, "config.vision"),
        text_settings=settings.read(text.TextSettings, config.text, "config.text"),
        vocab_size=load_tokenizer(config.data.tokenizer).vocab_size,
        embed_dim=config.embed_dim,
        init_scale=loss.init_scale,
        init_bias=loss.init_bias,
    )


def make_embedder(config: Any, mesh: Mesh) -> Embedder:
    """Embeds pictures and texts with the towers of a config."""
    data = settings.read(DataSettings, config.data, "config.data")
    model = make_model(config)

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
    )


def pair_loss(
    model: TwoTowers,
    sigmoid: Callable[..., Any],
    params: Any,
    frozen: Any,
    batch: dict[str, Any],
    key: jax.Array,
) -> Loss:
    """Embeds a batch and compares every image with every text."""
    embedded: Any = model.apply({"params": params}, batch["image"], batch["tokens"])
    images, texts, log_scale, bias = embedded
    total, weight, sums = sigmoid(images, texts, log_scale, bias, batch["pair_ids"])
    one = jnp.ones(())
    metrics = {
        "logit/positive": (sums["positive_logit_sum"], sums["num_positives"]),
        "logit/negative": (sums["negative_logit_sum"], sums["num_negatives"]),
        "logit/scale": (jnp.exp(log_scale), one),
        "logit/bias": (bias, one),
    }
    return Loss(total, weight, metrics)


def make_sigmoid_loss(config: LossSettings, mesh: Mesh) -> Callable[..., Any]:
    """(images, texts, log_scale, bias, pair_ids) -> (total, weight, metrics), over all devices."""
    settings.choose(dict.fromkeys(METHODS), config.method, "config.loss.method")
    keep_ids = settings.choose(
        {"concept": True, "pair": False}, config.positives, "config.loss.positives"
    )
    if config.method == "all_pairs" and config.chunk_size:
        raise settings.ConfigError(
            f"config.loss.chunk_size = {config.chunk_size} has no effect with method 'all_pairs': "
            "set it to 0, or choose another config.loss.method."
        )
    if config.method == "all_pairs":

        def whole(images: Any, texts: Any, log_scale: Any, bias: Any, ids: Any) -> Any:
            ids = ids if keep_ids else None
            return sigmoid_loss(images, texts, log_scale, bias, pair_ids=ids, method="all_pairs")

        return whole

    axes = sharding.BATCH_AXES

    def share(images: Any, texts: Any, log_scale: Any, bias: Any, ids: Any) -> Any:
        sums = sigmoid_loss(
            images,
            texts,
            log_scale,
            bias,
            pair_ids=ids if keep_ids else None,
            axis_name=axes,
            method=config.method,
            chunk_size=config.chunk_size or None,
        )
        return jax.tree.map(lambda x: jax.lax.psum(x, axes), sums)

    rows, replicated = PartitionSpec(axes), PartitionSpec()
    return jax.shard_map(
        share,
        mesh=mesh,
        in_specs=(rows, rows, replicated, replicated, rows),
        out_specs=replicated,
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
                max_logits, make_diagnose(model.apply), embedder, sources[0]
            )
    return evaluators


def dummy_inputs(vision: vit.VisionSettings, data: DataSettings) -> tuple[dict[str, Any], Any]:
    """The smallest batch that shows the model all its shapes."""
    patch_dim = 3 * vision.patch_size**2
    image = {
        "patches": jnp.zeros((1, 1, patch_dim), jnp.uint8),
        "positions": jnp.zeros((1, 1, 2), jnp.int32),
        "segments": jnp.ones((1, 1), jnp.int32),
    }
    return image, jnp.zeros((1, data.text_length), jnp.int32)


def step_flops(config: Any, batch: dict[str, Any]) -> float:
    """Model FLOPs of a step: forward and twice that backward; recomputation does not count."""
    vision = settings.read(vit.VisionSettings, config.vision, "config.vision")
    texts = settings.read(text.TextSettings, config.text, "config.text")
    rows, length = batch["image"]["segments"].shape
    pairs, text_length = batch["tokens"].shape
    tokens_per_image = min(length, rows * length // pairs)
    images = vit.forward_flops(vision, rows * length, tokens_per_image)
    logits = 2.0 * pairs * pairs * config.embed_dim
    return 3 * (images + text.forward_flops(texts, pairs, text_length) + logits)
