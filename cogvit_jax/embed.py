"""Uses a trained model: similarities of pictures and texts, or their embeddings.

    python -m cogvit_jax.embed --workdir=DIR --images=a.jpg,b.png --texts="a cat;一只猫"
    python -m cogvit_jax.embed --workdir=DIR --images='photos/*.jpg' --output=embeddings.npz

With pictures and texts it prints, for each picture, the texts from nearest to farthest with the
cosine and the model's probability that they belong together. `--output` writes all embeddings.
"""

import glob
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from cogvit_jax import commands, compilation_cache, run_dir, sharding
from cogvit_jax.data.records import Record
from cogvit_jax.programs import EXPECTED_ERRORS, build, make_embedder
from cogvit_jax.settings import ConfigError

IMAGES = flags.DEFINE_list("images", [], "Picture files or glob patterns, separated by commas.")
TEXTS = flags.DEFINE_string("texts", "", "Texts, separated by semicolons.")
TEXT_FILE = flags.DEFINE_string("text_file", None, "A file with one text per line.")
OUTPUT = flags.DEFINE_string("output", None, "An .npz to write all embeddings to.")


def embed(workdir: str, files: list[str], texts: list[str]) -> dict[str, Any]:
    """Embeds pictures and texts with a run's newest checkpoint.

    Returns:
        `images [n, e]` with `files`, `texts [m, e]` with `captions` (unit vectors), and the
        loss's `scale` and `bias`; of a stage 1 run only the pictures, as means of their patches.
        Pictures that cannot be decoded are left out and logged.

    Raises:
        ConfigError: texts, but a run without text tower.
    """
    config = run_dir.load_config(workdir)
    config.mesh.update(sharding.data_parallel())
    config.data.heldout = ""
    if texts and "text" not in config:
        raise ConfigError(
            f"--texts: the run in {workdir} is of program {config.program!r}, which has no text "
            "tower: give --images and --output, or a stage 2 run."
        )
    program = build(config)
    params, _ = run_dir.load_params(program, config, workdir)
    embedder = make_embedder(config, program.mesh)
    result: dict[str, Any] = {}
    if "log_scale" in params:
        result = {"scale": math.exp(float(params["log_scale"])), "bias": float(params["bias"])}
    if files:
        records = [Record(id=f, image=Path(f).read_bytes(), captions=()) for f in files]
        images, usable = embedder.images(params, records)
        result["images"] = images[usable]
        result["files"] = [f for f, good in zip(files, usable, strict=True) if good]
    if texts:
        result |= {"texts": embedder.texts(params, texts), "captions": texts}
    return result


def probabilities(result: dict[str, Any]) -> np.ndarray:
    """`[n, m]`: the model's probability that a picture and a text belong together."""
    cosines = result["images"] @ result["texts"].T
    return 1 / (1 + np.exp(-(result["scale"] * cosines + result["bias"])))


def show(result: dict[str, Any], console: Console) -> None:
    """A table with the texts of every picture, nearest first."""
    cosines, chances = result["images"] @ result["texts"].T, probabilities(result)
    table = Table("picture", "text", "cosine", "probability")
    for row, file in enumerate(result["files"]):
        for rank, column in enumerate(np.argsort(-cosines[row])):
            table.add_row(
                file if rank == 0 else "",
                result["captions"][column],
                f"{cosines[row, column]:.3f}",
                f"{chances[row, column]:.1%}",
            )
        table.add_section()
    console.print(table)


def find_files(patterns: list[str]) -> list[str]:
    """Files that the patterns name; FileNotFoundError names a pattern that finds none."""
    files = []
    for pattern in patterns:
        found = sorted(glob.glob(pattern))
        if not found:
            raise FileNotFoundError(f"--images: {pattern} names no file.")
        files += found
    return files


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    del argv
    console = Console()
    texts = [t.strip() for t in TEXTS.value.split(";") if t.strip()]
    try:
        if TEXT_FILE.value:
            lines = Path(TEXT_FILE.value).read_text(encoding="utf-8").splitlines()
            texts += [line.strip() for line in lines if line.strip()]
        files = find_files(IMAGES.value)
        if not files and not texts:
            sys.exit("error: give --images, --texts or both.")
        workdir = str(run_dir.WORKDIR.value)
        compilation_cache.enable(compilation_cache.FLAG.value, workdir)
        result = embed(workdir, files, texts)
    except EXPECTED_ERRORS as error:
        sys.exit(f"error: {error}")
    if OUTPUT.value:
        np.savez(OUTPUT.value, **result)
        console.print(f"wrote {OUTPUT.value}")
    if "images" in result and "texts" in result:
        show(result, console)
    elif not OUTPUT.value:
        sys.exit("error: give both --images and --texts for similarities, or --output=FILE.npz.")


if __name__ == "__main__":
    commands.run(main, required=("workdir",))
