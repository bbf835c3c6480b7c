"""Share of tokens that is padding, by layout and size distribution: images and captions.

    python -m benchmarks.packing [--source=SPEC --tokenizer=FILE] [--json=FILE]

Sizes are drawn from named distributions or read from a source; rows are planned by the training
pipeline's own code, so figures are measured on simulated batches. Where captions are packed, the
share of caption tokens that had to be cut is beside the waste. No waste of a scheme means anything
without its distribution: padded captions of 46 tokens waste 28%, of 17 tokens 73%.
"""

import argparse
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from cogvit_jax.data import packing
from cogvit_jax.data.layout import DataSettings, Layout, TextLayout
from cogvit_jax.data.records import Record
from cogvit_jax.data.sources import open_source
from cogvit_jax.data.text import load_tokenizer, token_ids
from cogvit_jax.data.transforms import naflex_size
from configs.stage2 import get_config

PATCH, TEXT_LENGTH = 14, 64
CHIPS = 4  # of one host; captions are balanced over them
SIGLIP2 = (128, 256, 576, 784, 1024)  # NaFlex budgets, open_clip and timm
# width / height: share
ASPECTS = {
    1: 0.3,
    4 / 3: 0.2,
    3 / 4: 0.15,
    3 / 2: 0.15,
    2 / 3: 0.1,
    16 / 9: 0.05,
    9 / 16: 0.03,
    2: 0.02,
}

Sizes = Callable[[int], Sequence[tuple[int, int]]]  # count -> (height, width) in pixels
Lengths = Callable[[int], np.ndarray]  # count -> tokens


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--source", default="embedded:photos/train", help="of pictures, captions")
    parser.add_argument("--tokenizer", default="", help="'' = the embedded vocabulary")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="write the rows to this file too")
    args = parser.parse_args()
    records = [r for r in open_source(args.source).records if isinstance(r.image, bytes)]
    rows = image_rows(args, records) + text_rows(args, records)
    table = Table("what", "scheme", "sizes", "waste", "cut", title="measured on simulated batches")
    for row in rows:
        table.add_row(*(f"{x:.1%}" if isinstance(x, float) else str(x) for x in row.values()))
    Console().print(table)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"status": "measured", "batches": args.batches, "rows": rows}, file, indent=1)


def image_rows(args: argparse.Namespace, records: Sequence[Record]) -> list[dict[str, Any]]:
    """Waste of images: one budget, native size, mixed budgets; padded and packed."""
    rows = []
    pod = get_config().data
    packed = {
        "SigLIP 2 budgets in equal shares": {"lengths": SIGLIP2, "row_length": 1024},
        "the same, stretched up to 25%": {"lengths": SIGLIP2, "row_length": 1024, "stretch": 0.25},
        "the same, rows of 2768 (one of each)": {"lengths": SIGLIP2, "row_length": 2768},
        "configs/stage2.py": {"lengths": tuple(pod.lengths), "row_length": pod.row_length},
    }
    for name, draw in image_sizes(args, records).items():
        sizes = draw(256 * args.batches)
        for budget in (128, 256, 1024):
            used = np.array([naflex_tokens(size, budget) for size in sizes])
            rows.append(row("images", f"padded, budget {budget}", name, 1 - used.mean() / budget))
        for cap in (256, 1024):
            used = np.array([native_tokens(size, cap) for size in sizes])
            scheme = f"padded, native size up to {cap}"
            rows.append(row("images", scheme, name, 1 - used.mean() / cap))
        mixtures = {"SigLIP 2 budgets in equal shares": SIGLIP2, "configs/stage2.py": pod.lengths}
        for scheme, lengths in mixtures.items():
            used = [naflex_tokens(s, lengths[i % len(lengths)]) for i, s in enumerate(sizes)]
            waste = 1 - float(np.mean(used)) / 1024
            rows.append(row("images", f"padded to 1024, {scheme}", name, waste))
        for scheme, fields in packed.items():
            waste = packed_waste(fields, sizes)
            rows.append(row("images", f"packed, {scheme}", name, waste))
    return rows


def text_rows(args: argparse.Namespace, records: Sequence[Record]) -> list[dict[str, Any]]:
    """Waste of captions, and what is cut of them; 256 per chip."""
    rows = []
    plans = {"alt-text": (17.0, 256), "rewritten": (46.0, 512)}
    for name, draw in caption_lengths(args, records).items():
        lengths = [draw(256 * CHIPS) for _ in range(args.batches)]
        mean = float(np.mean(lengths))
        waste = 1 - mean / TEXT_LENGTH
        rows.append(row("text", f"padded to {TEXT_LENGTH}", f"{name}, mean {mean:.1f}", waste, 0.0))
        budget, row_length = plans.get(name.split(":")[0], (math.ceil(2 * mean) / 2, 128))
        layout = TextLayout.make(
            DataSettings(
                train="",
                global_batch=256 * CHIPS,
                text_layout="packed",
                text_length=TEXT_LENGTH,
                text_row_length=row_length,
                text_budget=float(budget),
            ),
            CHIPS,
            256,
        )
        used = [np.mean(segments_of(layout, x) > 0) for x in lengths]
        room = CHIPS * layout.num_rows * row_length
        cut = 1 - float(np.mean(used)) * room / (mean * 256 * CHIPS)
        scheme = f"packed, {layout.num_rows} rows of {row_length} per chip (text_budget {budget:g})"
        rows.append(row("text", scheme, f"{name}, mean {mean:.1f}", 1 - float(np.mean(used)), cut))
    return rows


def row(what: str, scheme: str, sizes: str, waste: float, cut: Any = "") -> dict[str, Any]:
    """One line of the table."""
    return {"what": what, "scheme": scheme, "sizes": sizes, "waste": float(waste), "cut": cut}


def image_sizes(args: argparse.Namespace, records: Sequence[Record]) -> dict[str, Sizes]:
    """Name -> sizes of pictures in pixels."""
    rng = np.random.default_rng(args.seed)

    def lognormal(count: int) -> list[tuple[int, int]]:
        area = 0.30e6 * np.exp(0.8 * rng.standard_normal(count))
        aspect = rng.choice(list(ASPECTS), count, p=list(ASPECTS.values()))
        sides = np.sqrt(area / aspect), np.sqrt(area * aspect)
        return [(max(1, round(h)), max(1, round(w))) for h, w in zip(*sides, strict=True)]

    found = [size_of(r.image) for r in records]

    def drawn(count: int) -> list[tuple[int, int]]:
        return [found[i] for i in rng.integers(len(found), size=count)]

    return {
        "area lognormal (median 0.30 MP, sigma 0.8), 8 shapes": lognormal,
        f"{len(found)} files of {args.source}": drawn,
    }


def caption_lengths(args: argparse.Namespace, records: Sequence[Record]) -> dict[str, Lengths]:
    """Name -> tokens per caption, eos included, at most TEXT_LENGTH."""
    rng = np.random.default_rng(args.seed + 1)

    def clipped(values: np.ndarray) -> np.ndarray:
        return np.clip(np.round(values), 2, TEXT_LENGTH).astype(int)

    tokenizer = load_tokenizer(args.tokenizer)
    captions = [c for r in records for c in r.captions]
    found = clipped(np.array([len(token_ids(tokenizer, c)) for c in captions]))
    return {
        "alt-text: lognormal, deviation 10": lambda n: clipped(rng.lognormal(2.685, 0.545, n)),
        "rewritten: normal, deviation 10": lambda n: clipped(rng.normal(46.1, 10, n)),
        args.source: lambda n: found[rng.integers(len(found), size=n)],
    }


def size_of(image: Any) -> tuple[int, int]:
    """(height, width) of an encoded file."""
    with Image.open(io.BytesIO(image)) as picture:
        return picture.height, picture.width


def naflex_tokens(size: tuple[int, int], budget: int) -> int:
    """Patches of a picture that is brought to a budget, up or down."""
    height, width = naflex_size(*size, PATCH, budget)
    return height * width // PATCH**2


def native_tokens(size: tuple[int, int], cap: int) -> int:
    """Patches of a picture at its own size, brought down only where that exceeds `cap`."""
    native = math.ceil(size[0] / PATCH) * math.ceil(size[1] / PATCH)
    return native if native <= cap else naflex_tokens(size, cap)


def packed_waste(fields: dict[str, Any], sizes: Sequence[tuple[int, int]]) -> float:
    """Of batches of one chip: 256 images, in four microbatches of 64."""
    config = DataSettings(train="", global_batch=256, layout="packed", **fields)
    layout = Layout.make(config, num_shards=1, seed=0, microbatches=4)
    wastes = []
    for start in range(0, len(sizes) - 255, 256):
        counts = [
            naflex_tokens(size, layout.budget(0, place))
            for place, size in enumerate(sizes[start : start + 256])
        ]
        patches = [np.zeros((n, 0), np.uint8) for n in counts]
        positions = [np.zeros((n, 2), np.int32) for n in counts]
        wastes.append(packing.waste(layout.arrange(patches, positions, 0)["segments"]))
    return float(np.mean(wastes))


def segments_of(layout: TextLayout, lengths: np.ndarray) -> np.ndarray:
    """Segment ids of a host's captions of these lengths."""
    return layout.arrange([[1] * int(n) for n in lengths], pad_id=0)[0]["segments"]


if __name__ == "__main__":
    main()
