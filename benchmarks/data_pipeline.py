"""Images/s of decoding, NaFlex resizing and packing on one core, against what a step needs.

    python -m benchmarks.data_pipeline [--images=FOLDER] [--step_seconds=1.5 --hosts=64]

Runs the training pipeline's own code (`data.examples`, the budgets of configs/stage2.py) in one
thread on JPEGs: the embedded photographs brought to `--megapixels`, or the files of a folder as
they are. Speeds are measured in CPU seconds, so that a busy machine does not matter, and exclude
reading from storage. The need is arithmetic: global batch / step seconds / hosts.
"""

import argparse
import io
import itertools
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from cogvit_jax import settings
from cogvit_jax.data.examples import Examples
from cogvit_jax.data.layout import DataSettings, Layout
from cogvit_jax.data.pairs import Collate, PairExample
from cogvit_jax.data.records import Record, Source
from cogvit_jax.data.sources import open_source
from cogvit_jax.data.text import load_tokenizer
from cogvit_jax.data.transforms import decode_image, naflex_size, patchify, resize
from configs.stage2 import get_config

SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG")


def main() -> None:
    """Prints speeds and how many cores a host needs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, help="a folder of JPEGs")
    parser.add_argument("--megapixels", type=float, default=0.3, help="of embedded photographs")
    parser.add_argument("--batch", type=int, default=256, help="images per chip")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--step_seconds", type=float, default=1.5, help="of the training step")
    parser.add_argument("--hosts", type=int, default=64, help="v5e:16x16 has 64 of 4 chips")
    parser.add_argument("--json", help="write the figures to this file too")
    args = parser.parse_args()
    files = read_folder(args.images) if args.images else embedded_jpegs(args.megapixels)
    config = make_settings(args.batch)
    parts = {**stages(files, config), **pipeline(files, config, args.batches)}
    need = get_config().data.global_batch / args.step_seconds / args.hosts
    cores = need / parts["whole example and packing"]
    table = Table("part", "images/s per core", title=describe(files, args))
    for name, speed in parts.items():
        table.add_row(f"{name} (measured)", f"{speed:,.0f}")
    table.add_row(
        f"need per host (estimated: {args.step_seconds:g} s, {args.hosts} hosts)", f"{need:,.0f}"
    )
    table.add_row("cores that a host needs (estimated)", f"{cores:.1f}")
    Console().print(table)
    if args.json:
        figures = {"images_per_second_per_core": parts, "need_per_host": need, "cores": cores}
        Path(args.json).write_text(
            json.dumps({"files": describe(files, args), **figures}, indent=1)
        )


def make_settings(batch: int) -> DataSettings:
    """`config.data` of configs/stage2.py for one chip."""
    fields = dict(get_config().data) | {"global_batch": batch, "tokenizer": ""}
    return settings.read(DataSettings, fields, "config.data")


def read_folder(folder: Path) -> list[bytes]:
    """JPEG files in and below a folder, 500 at most."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES)[:500]
    if not paths:
        raise SystemExit(f"error: --images={folder} holds no JPEG.")
    return [p.read_bytes() for p in paths]


def embedded_jpegs(megapixels: float) -> list[bytes]:
    """The embedded photographs as JPEGs of quality 90 of nearly this size each."""
    files = []
    for record in open_source("embedded:photos/train").records:
        if not isinstance(record.image, bytes):
            continue
        pixels = decode_image(record.image)
        scale = math.sqrt(megapixels * 1e6 / (pixels.shape[0] * pixels.shape[1]))
        size = round(pixels.shape[0] * scale), round(pixels.shape[1] * scale)
        file = io.BytesIO()
        Image.fromarray(resize(pixels, size)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def describe(files: Sequence[bytes], args: argparse.Namespace) -> str:
    """What was read: number, mean size."""
    areas = [np.prod(Image.open(io.BytesIO(f)).size) / 1e6 for f in files]
    where = args.images or "embedded photographs"
    kilobytes = np.mean([len(f) for f in files]) / 1e3
    return f"{len(files)} JPEGs of {where}, mean {np.mean(areas):.2f} MP, {kilobytes:.0f} kB"


def stages(files: Sequence[bytes], config: DataSettings) -> dict[str, float]:
    """Images per CPU second of each part alone, at the budgets of the config."""
    patch_size = get_config().vision.patch_size
    spent = dict.fromkeys(("decode", "resize", "patchify"), 0.0)
    budgets = list(itertools.islice(itertools.cycle(config.lengths), 4 * len(config.lengths)))
    for budget, file in zip(budgets, itertools.cycle(files), strict=False):
        start = time.process_time()
        image = decode_image(file, min_side=int(2 * patch_size * budget**0.5))
        decoded = time.process_time()
        image = resize(image, naflex_size(*image.shape[:2], patch_size, budget))
        resized = time.process_time()
        patchify(image, patch_size)
        spent["decode"] += decoded - start
        spent["resize"] += resized - decoded
        spent["patchify"] += time.process_time() - resized
    return {name: len(budgets) / seconds for name, seconds in spent.items()}


def pipeline(files: Sequence[bytes], config: DataSettings, num_batches: int) -> dict[str, float]:
    """Images per CPU second of whole examples with their captions, and of laying out batches."""
    captions = [c for r in open_source("embedded:photos/train").records for c in r.captions]
    texts = itertools.cycle(captions)
    records = tuple(Record(str(i), f, (next(texts),)) for i, f in enumerate(files))
    tokenizer = load_tokenizer()
    layout = Layout.make(config, num_shards=1, seed=0)
    order = [(0, i % len(files)) for i in range(config.global_batch * num_batches)]
    patch_size = get_config().vision.patch_size
    make = PairExample(tokenizer, layout, config, patch_size)
    share = (config.global_batch, layout.host_batch, layout.host_offset)
    examples = Examples(order, (Source("files", records),), make, *share, seed=0, first=0)
    collate = Collate(layout, tokenizer.pad_id)
    making = packing = 0.0
    for number in range(num_batches):
        start = time.process_time()
        batch = [examples[number * config.global_batch + i] for i in range(config.global_batch)]
        made = time.process_time()
        collate(batch)
        making += made - start
        packing += time.process_time() - made
    count = config.global_batch * num_batches
    return {
        "whole example": count / making,
        "packing a batch": count / packing,
        "whole example and packing": count / (making + packing),
    }


if __name__ == "__main__":
    main()
