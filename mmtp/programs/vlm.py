"""Pretraining and fine-tuning of the vision-language model, with multi-token prediction."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh

from cogvit_jax import settings, sharding
from cogvit_jax.models import vit
from cogvit_jax.models.scan import resolve_attention
from cogvit_jax.program import Program
from cogvit_jax.settings import ConfigError
from mmtp.data import chat, images
from mmtp.data.layout import DataSettings, Layout
from mmtp.data.pipeline import DocumentExample, batch_shapes, document_batches
from mmtp.data.tokenizer import Tokenizer, load_tokenizer
from mmtp.models import attend, context, decoder, splash, vlm
from mmtp.models.attend import Attend
from mmtp.models.mtp_settings import MTPSettings
from mmtp.models.mtp_settings import check as check_mtp
from mmtp.models.projector import VisionMemory, check_memory
from mmtp.programs import vlm_loss
from mmtp.programs.vlm_evals import make_evaluators
from mmtp.programs.vlm_flops import step_flops
from mmtp.programs.vlm_loss import LossSettings
from mmtp.programs.vlm_pipeline import make_pipelined_loss, read_schedule
from mmtp.programs.vlm_statistics import make_statistics

# How the decoder attends. "xla" holds all logits of a row, "splash" is a TPU kernel; the others
# sweep a row's keys in blocks, on one device, or with rows split over `context`, whose keys are
# gathered or go round a ring.
ATTENTION: dict[str, Attend] = {
    "xla": attend.xla,
    "splash": splash.splash,
    "blockwise": context.over_mesh(context.local),
    "gathered": context.over_mesh(context.gathered),
    "ring": context.over_mesh(context.ring),
}
LONG_ROW = 1024  # tokens from which "auto" sweeps in blocks


def build(config: Any, mesh: Mesh | None = None) -> Program:
    """The program that `configs/vlm_pretrain.py` or `configs/vlm_sft.py` describes.

    Args:
        config: a whole config.
        mesh: devices; None = what `config.mesh` says.

    Raises:
        ConfigError: a field is unknown or out of range; FileNotFoundError: data is not there.
    """
    mesh = mesh or sharding.make_mesh(
        settings.read(sharding.MeshSettings, config.mesh, "config.mesh")
    )
    tokenizer = load_tokenizer(config.data.tokenizer)
    model = make_model(config, tokenizer, mesh)
    loss = settings.read(LossSettings, config.loss, "config.loss")
    vlm_loss.check(loss)
    data, supervise = read_data(config)
    layout = make_layout(config, data, model, mesh)
    example = DocumentExample(tokenizer, read_images(config), layout, supervise, read_chat(config))
    check_memory(model.memory, layout.vision_rows)
    if mesh.shape["stage"] > 1:
        pipelined = make_pipelined_loss(model, loss, config, mesh)
    else:
        pipelined = None
    chosen = choose_attention(config.attention, data.seq_len, model.decoder.head_dim, mesh)
    return Program(
        init=partial(vlm.init, model),
        loss=pipelined or vlm_loss.make_loss(model, loss, chosen),
        batches=lambda state: document_batches(data, example, mesh, config.seed, state),
        mesh=mesh,
        statistics=make_statistics(
            model, loss.router_bias_rate, config.train.init_from, config.train.init_rules
        ),
        evaluators=make_evaluators(config, model, example, loss, chosen, mesh),
        step_flops=partial(step_flops, config, model),
        num_examples=lambda batch: batch["tokens"].size,
        batch_shapes=partial(batch_shapes, layout, mesh),
    )


def make_model(config: Any, tokenizer: Tokenizer, mesh: Mesh) -> vlm.VLM:
    """The model of a config, with the attention that suits the mesh's devices.

    Raises:
        ConfigError: a field is wrong, or the vocabulary has more tokens than the model.
    """
    vision = settings.read(vit.VisionSettings, config.vision, "config.vision")
    language = decoder.resolve(
        settings.read(decoder.DecoderSettings, config.decoder, "config.decoder")
    )
    if tokenizer.vocab_size > language.vocab_size:
        raise ConfigError(
            f"config.decoder.vocab_size = {language.vocab_size} is less than the "
            f"{tokenizer.vocab_size} tokens of config.data.tokenizer = {config.data.tokenizer!r}: "
            "raise it (to a multiple of 128)."
        )
    return vlm.VLM(
        vision=vit.build(resolve_attention(vision, vit.SIZES, "config.vision", mesh)),
        decoder=language,
        mtp=check_mtp(settings.read(MTPSettings, config.mmtp, "config.mmtp")),
        image_token=tokenizer.id("<|image|>"),
        patch_dim=patch_dim(config),
        memory=settings.read(VisionMemory, config.vision_memory, "config.vision_memory"),
    )


def patch_dim(config: Any) -> int:
    """Numbers per patch."""
    return 3 * config.images.frames_per_patch * config.vision.patch_size**2


def read_images(config: Any) -> images.ImageSettings:
    """`config.images`, with the encoder's patches."""
    side = config.vision.patch_size
    found = settings.read(images.ImageSettings, config.images, "config.images", patch_size=side)
    images.check(found)
    return found


def read_chat(config: Any) -> chat.ChatSettings:
    """`config.chat`; a config without it, as converted checkpoints have, means the defaults."""
    found = settings.read(chat.ChatSettings, config.get("chat", {}), "config.chat")
    settings.choose(chat.STYLES, found.style, "config.chat.style")
    return found


def read_data(config: Any) -> tuple[DataSettings, str]:
    """`config.data`, and which tokens are to be predicted: "all" or what the "assistant" says."""
    section = dict(config.data)
    supervise = section.pop("supervise")
    section.pop("tokenizer")
    settings.choose({"all": 0, "assistant": 0}, supervise, "config.data.supervise")
    return settings.read(DataSettings, section, "config.data"), supervise


def make_layout(config: Any, data: DataSettings, model: vlm.VLM, mesh: Mesh) -> Layout:
    """How this host's documents lie in every batch."""
    return Layout.make(
        data,
        num_shards=sharding.num_batch_shards(mesh),
        depth=model.mtp.depth,
        patch_dim=model.patch_dim,
        image_token=model.image_token,
        microbatches=config.train.microbatches * pipeline_microbatches(config, model, mesh),
        context=mesh.shape["context"],
        num_hosts=jax.process_count(),
        host=jax.process_index(),
    )


def pipeline_microbatches(config: Any, model: vlm.VLM, mesh: Mesh) -> int:
    """In how many parts the pipeline takes what one device gets at a time."""
    return read_schedule(config, model, mesh).microbatches if mesh.shape["stage"] > 1 else 1


def choose_attention(name: str, seq_len: int, head_dim: int, mesh: Mesh) -> Attend:
    """The attention that `config.attention` means: a key of ATTENTION, or "auto".

    Raises:
        ConfigError: an unknown name, one that does not fit `config.mesh.context`, or a kernel that
            does not take these rows on the mesh's devices.
    """
    split, platform = mesh.shape["context"] > 1, mesh.devices.flat[0].platform
    kernel = splash.fits(platform, seq_len, head_dim)
    if name == "auto":
        whole = "splash" if kernel else "blockwise" if seq_len > LONG_ROW else "xla"
        name = "gathered" if split else whole
    chosen: Callable[..., Any] = settings.choose(ATTENTION, name, "config.attention")
    if split != (name in ("gathered", "ring")):
        raise ConfigError(
            f"config.attention = {name!r} with config.mesh.context = {mesh.shape['context']}: "
            "'gathered' and 'ring' are for rows that are split over several devices, the others "
            "for whole ones; 'auto' always fits."
        )
    if name == "splash" and not kernel:
        raise ConfigError(
            f"config.attention = 'splash' cannot run rows of {seq_len} tokens and heads of "
            f"{head_dim} on {platform}: it takes multiples of {splash.LANES} tokens and of "
            f"{splash.LANES // 2} features, on TPUs; choose 'auto' or 'blockwise'."
        )
    return chosen
