"""Converts vision-language models from and to Hugging Face's files.

    python -m mmtp.convert hf:/path/GLM-OCR runs/glm_ocr
    python -m mmtp.convert runs/vlm_sft /path/exported

The first reads a GLM-OCR, released or exported, and writes a workdir: its parameters, tokenizer
and config, from which `mmtp.chat` and `mmtp.serve` answer and `mmtp.main` fine-tunes
(`--config.train.init_from`). The second reads the newest checkpoint of a run of `mmtp.main` and
writes what transformers' GlmOcrForConditionalGeneration.from_pretrained and AutoTokenizer load,
with the layers for multi-token prediction where released models have them.
"""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console
from rich.table import Table

from cogvit_jax import checkpoint, commands, settings, tree
from cogvit_jax.interop.files import WeightsError
from cogvit_jax.models.vit import CogViT
from mmtp.data.images import ImageSettings
from mmtp.data.tokenizer import load_tokenizer
from mmtp.interop.glm import describe, load_glm
from mmtp.interop.glm_config import read_images
from mmtp.interop.glm_save import save_glm, vision_fields
from mmtp.models.decoder import DecoderConfig
from mmtp.models.vlm import PROJECTOR_RATIO, VLM
from mmtp.run import load_run

# `cogvit_jax.convert` has a flag `dtype`, and a process may import both.
_DTYPE = flags.DEFINE_string(
    "array_dtype", "", 'Of the arrays written: float32 or bfloat16; "" = as they are read.'
)

HF = "hf:"
SEQ_LEN, MOST_PATCHES = 8192, 4096  # of what a workdir is asked; training sets its own
ERRORS = (WeightsError, settings.ConfigError, checkpoint.CheckpointError, OSError, ValueError)


def convert(source: str, target: str, dtype: str, console: Console) -> None:
    """Reads `source`, `hf:FOLDER` or a workdir, and writes `target`, a new workdir or folder.

    Raises:
        ConfigError: an unknown dtype, or two `hf:`.
        FileNotFoundError, FileExistsError: no source; a target that is there.
        WeightsError, CheckpointError: weights that are damaged, or that the target cannot hold.
    """
    if target.startswith(HF):
        raise settings.ConfigError(f"{target!r}: only the source takes {HF}; give a folder.")
    folder = Path(target).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not an empty folder: remove it or choose another.")
    if source.startswith(HF):
        import_files(Path(source.removeprefix(HF)).expanduser(), folder, dtype, console)
    else:
        export_run(source, folder, dtype, console)


def import_files(source: Path, workdir: Path, dtype: str, console: Console) -> None:
    """GLM-OCR's files -> a workdir: parameters, config.json and tokenizer.json."""
    described = describe(source, dtype)
    if not described.family.cogvit:
        raise WeightsError(
            f"{source}: its vision tower is GLM-4V's and mmtp.main trains CogViT: ask the files "
            "themselves, with python -m mmtp.chat --checkpoint."
        )
    load_tokenizer(str(source))
    console.print(f"reading {source}", markup=False, soft_wrap=True)
    model, params = load_glm(source, dtype)
    hidden = PROJECTOR_RATIO * model.decoder.width
    if model.projector_dim != hidden:
        raise WeightsError(
            f"{source}: the merger's hidden width is {model.projector_dim}, expected {hidden}: "
            "mmtp.main trains no other."
        )
    _show(params, console)
    console.print(f"writing {workdir}", markup=False, soft_wrap=True)
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoint.save_params(str(workdir), params)
    tokenizer = workdir.absolute() / "tokenizer.json"
    shutil.copyfile(source / "tokenizer.json", tokenizer)
    images = read_images(source, vision_fields(model)["patch_size"], MOST_PATCHES)
    config = make_config(model, images, str(tokenizer), min(SEQ_LEN, described.max_length))
    (workdir / "config.json").write_text(json.dumps(config, indent=2))
    console.print(_advice(workdir, config), markup=False, soft_wrap=True)


def export_run(workdir: str, folder: Path, dtype: str, console: Console) -> None:
    """The newest checkpoint of a run -> files that transformers loads."""
    if dtype:
        settings.choose({"float32": 0, "bfloat16": 0}, dtype, "--array_dtype")
    console.print(f"reading {workdir}", markup=False, soft_wrap=True)
    loaded, config = load_run(workdir), json.loads((Path(workdir) / "config.json").read_text())
    _show(loaded.params, console)
    console.print(f"writing {folder}", markup=False, soft_wrap=True)
    tokenizer = config["data"]["tokenizer"]
    save_glm(folder, loaded.model, loaded.params, tokenizer, loaded.images, dtype)
    console.print(f"wrote {folder}", markup=False, soft_wrap=True)


def make_config(model: VLM, images: ImageSettings, tokenizer: str, seq_len: int) -> dict[str, Any]:
    """config.json of a workdir with this model: what `mmtp.run.load_run` reads."""
    assert isinstance(model.vision, CogViT)
    pictures = dataclasses.asdict(images)
    del pictures["patch_size"]
    return {
        "program": "vlm",
        "mesh": {"rules": [[".*", []]]},
        "vision": {"size": "L", "dtype": model.vision.dtype, **vision_fields(model)},
        "vision_memory": {},
        "decoder": {"size": "glm_0p5b", **_decoder_fields(model.decoder)},
        "mmtp": dataclasses.asdict(model.mtp),
        "loss": {},
        "images": pictures,
        "data": {
            "tokenizer": tokenizer,
            "seq_len": seq_len,
            "vision_row_length": images.max_patches,
        },
    }


def _decoder_fields(config: DecoderConfig) -> dict[str, Any]:
    fields = dataclasses.asdict(config)
    assert fields.pop("moe") is None
    return fields


def _advice(workdir: Path, config: dict[str, Any]) -> str:
    """How to fine-tune: what a config must have in common with the checkpoint."""
    data, vision = config["data"], config["vision"]
    fields = {
        "train.init_from": workdir,
        "data.tokenizer": data["tokenizer"],
        "images.frames_per_patch": config["images"]["frames_per_patch"],
        "vision.pixel_mean": tuple(vision["pixel_mean"]),
        "vision.pixel_std": tuple(vision["pixel_std"]),
    }
    flag_lines = [f'    --config.{name}="{value}"' for name, value in fields.items()]
    return "\n".join(
        [
            f"wrote {workdir}; its sections vision, decoder and mmtp are those of a config that "
            "goes on from it, such as",
            "    python -m mmtp.main --config=configs/vlm_sft.py --workdir=NEW \\",
            " \\\n".join(flag_lines),
        ]
    )


def _show(params: Any, console: Console) -> None:
    table = Table("part", "arrays", "parameters", "dtype")
    for column in table.columns[1:3]:
        column.justify = "right"
    for part, arrays in params.items():
        leaves = [x for _, x in tree.named_leaves(arrays)]
        size = sum(x.size for x in leaves)
        table.add_row(part, str(len(leaves)), f"{size:,}", str(leaves[0].dtype))
    console.print(table)


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    if len(argv) != 3:
        sys.exit("error: give a source and a target: python -m mmtp.convert hf:FOLDER WORKDIR")
    try:
        convert(argv[1], argv[2], _DTYPE.value, Console())
    except ERRORS as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    commands.run(main, required=())
