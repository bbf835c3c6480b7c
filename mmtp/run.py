"""A trained model and all that is needed to talk to it, from a run's folder or released files."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from cogvit_jax import run_dir, sharding
from cogvit_jax.checkpoint import CheckpointError
from cogvit_jax.program import Program
from mmtp.data.chat import ChatSettings
from mmtp.data.images import ImageSettings
from mmtp.data.tokenizer import Tokenizer, load_tokenizer
from mmtp.interop.glm import describe, load_glm
from mmtp.interop.glm_config import patch_size, read_images
from mmtp.models import vlm
from mmtp.models.vlm import VLM
from mmtp.programs import vlm as program
from mmtp.programs import vlm_loss
from mmtp.programs.vlm_statistics import saved_router_bias, with_router_bias


@dataclass(frozen=True)
class Loaded:
    """A model that can be asked.

    Attributes:
        model: what the parameters do not say.
        params: on one device.
        tokenizer: text to ids and back.
        images: how pictures are cut into patches.
        chat: how conversations are written.
        name: of the run, for the user.
        max_length: tokens of a row in training; prompt and reply together should not exceed it.
        vision_length: patches of a row of pictures in training, the largest picture.
    """

    model: VLM
    params: Any
    tokenizer: Tokenizer
    images: ImageSettings
    chat: ChatSettings
    name: str
    max_length: int
    vision_length: int


def load(path: str) -> Loaded:
    """Opens the folder of a run of `mmtp.main`, or one with a released GLM checkpoint.

    Raises:
        FileNotFoundError: neither is there.
        CheckpointError, WeightsError: what is there cannot be used.
    """
    if list(epath.Path(path).glob("*.safetensors")):
        return load_released(path)
    return load_run(path)


def load_run(workdir: str) -> Loaded:
    """The newest parameters of a run of `mmtp.main`, on this machine's first device."""
    config = run_dir.load_config(workdir)
    if config.program != "vlm":
        raise CheckpointError(
            f"{workdir} holds a run of program {config.program!r}: give the folder of a run of "
            "mmtp.main."
        )
    mesh = one_device()
    config.mesh.rules = ((".*", ()),)
    tokenizer = load_tokenizer(config.data.tokenizer)
    model = program.make_model(config, tokenizer, mesh)
    loss = vlm_loss.LossSettings()
    only_shapes = Program(
        init=partial(vlm.init, model),
        loss=vlm_loss.make_loss(model, loss, program.ATTENTION["xla"]),
        batches=_no_batches,
        mesh=mesh,
    )
    params, _ = run_dir.load_params(only_shapes, config, workdir)
    if model.decoder.moe:
        bias = saved_router_bias(model, workdir)
        params = with_router_bias(params, {"router_bias": bias})
    return Loaded(
        model=model,
        params=params,
        tokenizer=tokenizer,
        images=program.read_images(config),
        chat=program.read_chat(config),
        name=Path(workdir).name,
        max_length=config.data.seq_len,
        vision_length=config.data.vision_row_length,
    )


def load_released(folder: str, dtype: str = "", most_patches: int = 4096) -> Loaded:
    """GLM-OCR, GLM-4.1V, 4.5V or 4.6V from Hugging Face's files, with their tokenizer.json.

    Args:
        folder: of the checkpoint.
        dtype: of parameters and activations; "" = that of the files.
        most_patches: bound on the size of pictures, which lie in rows of that many patches.
    """
    path = Path(folder).expanduser()
    tokenizer = load_tokenizer(str(path))
    model, params = load_glm(path, dtype)
    described = describe(path)
    images = read_images(path, patch_size(model.patch_dim), most_patches)
    return Loaded(
        model=model,
        params=sharding.replicate(one_device(), params),
        tokenizer=tokenizer,
        images=images,
        chat=ChatSettings(released_style(path)),
        name=path.name,
        max_length=min(described.max_length, 8192),
        vision_length=images.max_patches,
    )


def released_style(folder: Path) -> str:
    """The template (key of `chat.STYLES`) that a released model was trained with."""
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    return "glm_4_1v" if kind == "glm4v" else "glm_ocr"


def one_device() -> Mesh:
    """A mesh of this machine's first device."""
    return sharding.make_mesh(sharding.MeshSettings(data=1), jax.local_devices()[:1])


def _no_batches(_: Any) -> Any:
    raise RuntimeError("a model that is loaded to be asked has no training data")
