"""Converts CogViT's weights from and to the files of the models whose vision tower it is.

    python -m cogvit_jax.convert --from=glm_ocr:/path/GLM-OCR --to=cogvit:runs/from_glm
    python -m cogvit_jax.convert --from=cogvit:runs/stage1 --to=glm_ocr:/path/exported

`cogvit:` is the workdir of a run of any stage, or one that this command wrote: its `vision` section
and parameters, which `config.train.init_from` takes. `glm_ocr:` and `glm5_next:` (GLM-5.3-Flash)
are folders in Hugging Face's layout, of a whole model or of the vision tower alone; what is written
there loads with transformers' GlmOcrVisionModel and Glm5NextVisionModel.from_pretrained.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import flags
from etils import epath
from rich.console import Console
from rich.table import Table

from cogvit_jax import checkpoint, commands, settings, tree
from cogvit_jax.interop import cogvit, glm_vision
from cogvit_jax.interop.files import WeightsError, open_weights

# The data converter has flags of the same names, and a process may import both.
_FROM = flags.DEFINE_string("from", None, "What to read, KIND:PATH.", allow_override=True)
_TO = flags.DEFINE_string("to", None, "What to write, KIND:PATH.", allow_override=True)
_DTYPE = flags.DEFINE_string("dtype", "float32", "Of exported arrays: float32 or bfloat16.")
_MERGER = flags.DEFINE_bool(
    "merger", False, "Also read the downsampling and merger; they are always written if there."
)
_TEMPORAL = flags.DEFINE_bool(
    "temporal", False, "Keep the patch kernel's two frames, for videos, instead of their sum."
)

COGVIT = "cogvit"
KINDS = {kind: kind for kind in (COGVIT, cogvit.GLM_OCR, cogvit.GLM5_NEXT)}
_ERRORS = (WeightsError, settings.ConfigError, checkpoint.CheckpointError, OSError)


@dataclass(frozen=True)
class Converted:
    """What was converted.

    Attributes:
        params: {"vision": …} and, where there is one, {"merger": …}.
        dtype: of the arrays written.
        unread: names in the source that nothing was made of.
    """

    params: dict[str, Any]
    dtype: str
    unread: Sequence[str]


def convert(
    source: str, target: str, dtype: str = "float32", merger: bool = False, temporal: bool = False
) -> Converted:
    """Reads `source` and writes `target`, both KIND:PATH, of which one is `cogvit:`.

    Raises:
        ConfigError: an unknown kind or dtype, or two kinds that do not go together.
        FileNotFoundError, FileExistsError: no source; a target that is there.
        WeightsError, CheckpointError: weights that are damaged or of another model.
    """
    (kind, path), (to, folder) = parse(source, "--from"), parse(target, "--to")
    if (kind == COGVIT) == (to == COGVIT):
        raise settings.ConfigError(
            f"--from={source} --to={target}: one of them must be {COGVIT}:, the other not."
        )
    if to == COGVIT:
        return import_tower(kind, path, folder, merger, temporal)
    return export_tower(path, to, folder, dtype)


def import_tower(kind: str, path: str, workdir: str, merger: bool, temporal: bool) -> Converted:
    """GLM's files -> a workdir with parameters alone and a config.json with `vision` alone."""
    folder = epath.Path(workdir)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not an empty folder: remove it or choose another.")
    weights = open_weights(path)
    vision, fields = cogvit.read_cogvit(weights, temporal)
    _check_kind(kind, fields["swiglu_limit"], "--from", path)
    params = {"vision": vision}
    if merger:
        params["merger"] = glm_vision.read_merger(glm_vision.find_tower(weights))
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save_params(workdir, params)
    (folder / "config.json").write_text(json.dumps({"vision": fields}, indent=2))
    return Converted(params, "float32", weights.unused())


def export_tower(workdir: str, kind: str, folder: str, dtype: str) -> Converted:
    """The newest checkpoint of a run -> GLM's files; whatever is no encoder is left out."""
    config = epath.Path(workdir) / "config.json"
    if not config.exists():
        raise FileNotFoundError(
            f"{config} does not exist: --from={COGVIT}: takes the workdir of a run."
        )
    fields = json.loads(config.read_text()).get("vision", {})
    params, _ = checkpoint.read_params(workdir)
    if "vision" not in params:
        raise WeightsError(
            f"{workdir}: its parameters are {', '.join(params)}, expected 'vision' among them: "
            "only runs that train a CogViT can be exported."
        )
    _check_kind(kind, fields.get("swiglu_limit", 0.0), "--to", workdir)
    vision = {name: x for name, x in params["vision"].items() if name != "mask_token"}
    merger = params.get("merger")
    cogvit.save_cogvit(folder, vision, fields, merger, dtype)
    used = {"vision": vision} | ({"merger": merger} if merger else {})
    names = {name for name, _ in tree.named_leaves(used)}
    left = [name for name, _ in tree.named_leaves(params) if name not in names]
    return Converted(used, dtype, left)


def parse(spec: str, flag: str) -> tuple[str, str]:
    """(kind, path) of KIND:PATH; raises ConfigError."""
    kind, colon, path = spec.partition(":")
    if not (colon and path):
        raise settings.ConfigError(
            f"{flag}={spec!r} must be KIND:PATH, such as {COGVIT}:runs/stage1."
        )
    return settings.choose(KINDS, kind, flag), path


def show(converted: Converted, console: Console) -> None:
    """A table of what was converted, and the names that were not."""
    table = Table("part", "tensors", "parameters", "dtype")
    for column in table.columns[1:3]:
        column.justify = "right"
    parts: dict[str, list[np.ndarray]] = {}
    for name, x in tree.named_leaves(converted.params):
        parts.setdefault("/".join(name.split("/")[:2]), []).append(x)
    for part, arrays in parts.items():
        size = sum(x.size for x in arrays)
        table.add_row(part, str(len(arrays)), f"{size:,}", converted.dtype)
    table.add_section()
    everything = [x for arrays in parts.values() for x in arrays]
    total = sum(x.size for x in everything)
    table.add_row("all", str(len(everything)), f"{total:,}", converted.dtype)
    console.print(table)
    left = Counter(re.sub(r"\.\d+\.", ".N.", name) for name in converted.unread)
    for name, count in sorted(left.items()):
        console.print(f"left unread: {name}" + (f" ({count})" if count > 1 else ""), markup=False)


def _check_kind(kind: str, swiglu_limit: float, flag: str, path: str) -> None:
    found = cogvit.kind(swiglu_limit)
    if kind != found:
        raise WeightsError(
            f"{path} is a {found} (swiglu_limit = {swiglu_limit:g}), not a {kind}: give "
            f"{flag}={found}:PATH."
        )


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    del argv
    console = Console()
    try:
        source, target = str(_FROM.value), str(_TO.value)
        found = convert(source, target, _DTYPE.value, _MERGER.value, _TEMPORAL.value)
    except _ERRORS as error:
        sys.exit(f"error: {error}")
    show(found, console)
    console.print(f"wrote {_TO.value}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    commands.run(main, required=("from", "to"))
