"""Reads every record of a source as training would, and reports each one that cannot be used.

    python -m mmtp.data.validate jsonl:/data/train.jsonl --seq_len=4096 --supervise=assistant

Prints a line for every bad record with its place and the reason (not JSON, a missing or truncated
picture, an unknown category or role, nothing to learn, too long, an id that was there before), then
a table of documents, tokens and pictures by category. Ends with status 1 if any record is bad.
"""

import functools
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cogvit_jax import commands
from cogvit_jax.data.records import CorruptRecord, Source
from mmtp.data import images
from mmtp.data.chat import STYLES, ChatSettings
from mmtp.data.documents import SUPERVISE, encode
from mmtp.data.encoded import Encoded
from mmtp.data.formats import Placed
from mmtp.data.images import ImageSettings
from mmtp.data.records import CATEGORIES
from mmtp.data.sources import open_source
from mmtp.data.tokenizer import Tokenizer, load_tokenizer

_IMAGES, _CHAT = ImageSettings(), ChatSettings()
_STRETCH = 512  # records
_COLUMNS = ("documents", "tokens", "supervised", "pictures", "patches")


@dataclass(frozen=True)
class Rules:
    """What a record must satisfy.

    Attributes:
        supervise: as `documents.encode` has it: "assistant" asks for an assistant's turn.
        seq_len: longest document in tokens; 0 = any.
    """

    tokenizer: Tokenizer
    images: ImageSettings = _IMAGES
    chat: ChatSettings = _CHAT
    supervise: str = "all"
    seq_len: int = 0


@dataclass(frozen=True)
class Finding:
    """What one record is; `reason` = "" where it can be used."""

    place: str
    reason: str
    id: str = ""
    category: str = ""
    counts: tuple[int, ...] = ()


@dataclass
class Summary:
    """Bad records in order, and category -> sums of good ones in the order of the table."""

    bad: list[Finding] = field(default_factory=list)
    categories: dict[str, np.ndarray] = field(default_factory=dict)


def validate(source: Source, rules: Rules, num_threads: int = 4) -> Iterator[Finding]:
    """One finding for each record, in order."""
    places: dict[int, str] = {}
    for finding in _judged(source, rules, num_threads):
        # Hashes, so that the ids of a large set fit in memory.
        before = places.setdefault(hash(finding.id), finding.place) if finding.id else ""
        if before not in ("", finding.place) and not finding.reason:
            reason = f"its id {finding.id!r} is that of {before}"
            finding = Finding(finding.place, reason, finding.id, finding.category)
        yield finding


def judge(source: Source, rules: Rules, index: int) -> Finding:
    """What record `index` is."""
    records: Any = source.records
    place = f"{source.name}[{index}]"
    if isinstance(source.records, Placed):
        place = source.records.place(index)
    try:
        document = records[index]
    except CorruptRecord as error:
        return Finding(place, str(error).removeprefix(f"{place}: "))
    try:
        encoded = encode(document, rules.tokenizer, rules.images, rules.supervise, rules.chat)
        check_encoded(encoded, rules)
    except CorruptRecord as error:
        return Finding(place, str(error), document.id, document.category)
    return Finding(place, "", document.id, document.category, _counts(encoded))


def check_encoded(encoded: Encoded, rules: Rules) -> None:
    """Raises CorruptRecord where a document is too long, or placeholders are not its pictures'."""
    placeholders = int(np.sum(encoded.tokens == rules.tokenizer.id("<|image|>")))
    features = sum(visual.num_tokens for visual in encoded.visuals)
    if placeholders != features:
        raise CorruptRecord(
            f"{encoded.id}: {placeholders} placeholders for {features} features of pictures"
        )
    if rules.seq_len and len(encoded.tokens) > rules.seq_len:
        raise CorruptRecord(
            f"{encoded.id}: {len(encoded.tokens)} tokens ({features} of pictures) exceed "
            f"--seq_len={rules.seq_len}"
        )


def summarise(findings: Iterator[Finding], console: Console) -> Summary:
    """Prints bad records as they are found; returns all of them and the sums."""
    summary = Summary()
    for finding in findings:
        if finding.reason:
            summary.bad.append(finding)
            console.print(f"{finding.place}: {finding.reason}", markup=False, soft_wrap=True)
        else:
            sums = summary.categories.setdefault(
                finding.category, np.zeros(len(_COLUMNS), np.int64)
            )
            sums += np.array(finding.counts)
    return summary


def show(summary: Summary, console: Console) -> None:
    """A table of what can be used, by category."""
    table = Table("category", *_COLUMNS)
    known = [name for name in CATEGORIES if name in summary.categories]
    for name in known:
        table.add_row(name, *map(str, summary.categories[name]))
    if known:
        table.add_section()
        table.add_row("all", *map(str, sum(summary.categories.values())))  # type: ignore[arg-type]
    console.print(table)


def _judged(source: Source, rules: Rules, num_threads: int) -> Iterator[Finding]:
    """Findings in order; a stretch of records is read by threads at a time."""
    total = len(source.records)
    with ThreadPoolExecutor(num_threads) as pool:
        for first in range(0, total, _STRETCH):
            stretch = range(first, min(first + _STRETCH, total))
            yield from pool.map(functools.partial(judge, source, rules), stretch)


def _counts(encoded: Encoded) -> tuple[int, ...]:
    patches = sum(len(visual.patches) for visual in encoded.visuals)
    supervised = int(encoded.supervised.sum())
    return 1, len(encoded.tokens), supervised, len(encoded.visuals), patches


def define_flags() -> None:
    """The command's flags; on call, because other commands have flags of the same names."""
    default = _IMAGES
    flags.DEFINE_enum("supervise", "all", list(SUPERVISE), "What is learnt; assistant for SFT.")
    flags.DEFINE_integer("seq_len", 0, "Longest document in tokens; 0 for any length.")
    flags.DEFINE_string("tokenizer", "", "A tokenizer.json; by default the embedded one.")
    flags.DEFINE_enum("chat", "glm_ocr", list(STYLES), "Chat template.")
    flags.DEFINE_integer("frames_per_patch", default.frames_per_patch, "1, or 2 as in GLM.")
    flags.DEFINE_integer("min_patches", default.min_patches, "Of a picture.")
    flags.DEFINE_integer("max_patches", default.max_patches, "Of a picture or frame.")
    flags.DEFINE_integer("max_video_patches", default.max_video_patches, "Of a video.")


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    values = flags.FLAGS
    if len(argv) != 2:
        sys.exit("error: give one source: python -m mmtp.data.validate SPEC")
    names = ("frames_per_patch", "min_patches", "max_patches", "max_video_patches")
    chosen: dict[str, Any] = {name: values[name].value for name in names}
    settings = ImageSettings(**chosen)
    try:
        images.check(settings)
        tokenizer = load_tokenizer(values.tokenizer)
        rules = Rules(
            tokenizer, settings, ChatSettings(values.chat), values.supervise, values.seq_len
        )
        source = open_source(argv[1])
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    console, bar = Console(), Console(stderr=True)
    findings = track(
        validate(source, rules),
        source.name,
        total=len(source.records),
        console=bar,
        disable=not bar.is_terminal,
    )
    summary = summarise(iter(findings), console)
    show(summary, console)
    total = len(source.records)
    console.print(f"{total - len(summary.bad)} of {total} records can be used", highlight=False)
    sys.exit(1 if summary.bad else 0)


if __name__ == "__main__":
    define_flags()
    commands.run(main, required=())
