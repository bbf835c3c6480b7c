"""Keeps the good pictures of a source: large, sharp, plain in shape, each one once.

    python -m cogvit_jax.data.filter --source=folder:/data/pictures --output=/data/kept.array_record

Writes the kept records to one ArrayRecord file, and beside it (or to --report) a report: counts by
reason in report.json, histograms and examples in report.png. Thresholds are measured as
`config.quality` says (cogvit_jax/data/quality.py).
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import grain
import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cogvit_jax import commands
from cogvit_jax.data import filter_report, quality
from cogvit_jax.data.array_records import write_array_record, write_classes
from cogvit_jax.data.quality import Assessment, QualitySettings
from cogvit_jax.data.records import CorruptRecord, Record, Source
from cogvit_jax.data.sources import open_source
from cogvit_jax.data.transforms import decode_image

# What the command rejects unless told otherwise: clear faults only.
DEFAULTS = QualitySettings(
    min_side=64, max_aspect=8.0, min_sharpness=5.0, min_contrast=4.0, max_hash_distance=4
)
_HELP = {
    "min_side": "Shorter side in pixels.",
    "max_aspect": "Longer side / shorter side.",
    "min_sharpness": "Variance of the Laplacian of the grey copy; 0 keeps blurred pictures.",
    "min_contrast": "Standard deviation of the grey copy, in levels of 0 ... 255.",
    "max_hash_distance": "Bits in which hashes of copies differ at most; -1 keeps copies.",
}


class NothingKept(ValueError):
    """Every record was rejected."""


@dataclass(frozen=True)
class Verdict:
    """What became of one record.

    Attributes:
        reason: "" where it is kept, else "corrupt: ...", "quality: ..." or "copy: of <id>".
        assessment: None where it is corrupt.
    """

    id: str
    reason: str
    assessment: Assessment | None


def filter_source(
    spec: str, output: str | Path, report: str | Path, settings: QualitySettings = DEFAULTS
) -> dict[str, Any]:
    """Writes the kept records of a source, its class names, and the report.

    Args:
        spec: as `sources.open_source` reads it.
        output: the ArrayRecord file to write; its folder is made.
        report: folder for report.json and report.png; made.
        settings: thresholds.

    Returns:
        What report.json holds, see `filter_report.summary`.

    Raises:
        ConfigError: a threshold out of range.
        NothingKept: nothing is left to write; the report is written.
        ValueError, FileNotFoundError: the source cannot be opened.
    """
    quality.check(settings)
    source, output, report = open_source(spec), Path(output), Path(report)
    verdicts = judge(source, settings)
    summary = filter_report.summary(spec, settings, verdicts)
    report.mkdir(parents=True, exist_ok=True)
    filter_report.write(report, summary, verdicts, source, settings)
    kept = [i for i, verdict in enumerate(verdicts) if not verdict.reason]
    if not kept:
        counts = ", ".join(f"{name} {count}" for name, count in summary["rejected"].items())
        raise NothingKept(
            f"source {spec!r}: none of its {len(verdicts)} records is kept ({counts}). Loosen the "
            f"thresholds, or repair the data; examples are in {report}."
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_classes(output.parent, source)
    write_array_record(output, _records(source, kept))
    return summary


def judge(source: Source, settings: QualitySettings) -> list[Verdict]:
    """One verdict per record, in order; pictures are decoded by threads, at full size."""
    readers = grain.ReadOptions(num_threads=8, prefetch_buffer_size=64)
    found = grain.MapDataset.range(len(source.records)).map(_Judge(source, settings))
    verdicts = list(_progress(found.to_iter_dataset(readers), source, "measuring"))
    usable = [i for i, verdict in enumerate(verdicts) if not verdict.reason]
    hashes = [verdicts[i].assessment.hash for i in usable]  # type: ignore[union-attr]
    originals = quality.duplicates(np.array(hashes, np.uint64), settings.max_hash_distance)
    for place in np.flatnonzero(originals >= 0).tolist():
        copy, first = verdicts[usable[place]], verdicts[usable[int(originals[place])]]
        verdicts[usable[place]] = Verdict(copy.id, f"copy: of {first.id}", copy.assessment)
    return verdicts


@dataclass(frozen=True)
class _Judge:
    source: Source
    settings: QualitySettings

    def __call__(self, index: int) -> Verdict:
        name = f"{self.source.name} [{index}]"
        try:
            record = self.source.records[int(index)]
            name = record.id
            assessment = quality.assess(decode_image(record.image))
        except CorruptRecord as error:
            return Verdict(name, f"corrupt: {error}", None)
        return Verdict(name, quality.reject(self.settings, assessment), assessment)


def _records(source: Source, indices: Sequence[int]) -> Iterator[Record]:
    for index in _progress(indices, source, "writing", len(indices)):
        yield source.records[index]


def _progress(steps: Any, source: Source, what: str, total: int | None = None) -> Any:
    """Shows a bar on a terminal."""
    console = Console(stderr=True)
    return track(
        steps,
        f"{source.name}: {what}",
        total=len(source.records) if total is None else total,
        console=console,
        disable=not console.is_terminal,
    )


def show(summary: dict[str, Any], console: Console) -> None:
    """A table of how many records were kept, and why the others were not."""
    table = Table("", "records", "share", title=summary["source"])
    counts = Counter({"kept": summary["kept"]}) | Counter(summary["rejected"])
    for name, count in sorted(counts.items(), key=lambda item: (item[0] != "kept", -item[1])):
        table.add_row(name, str(count), f"{count / summary['records']:.1%}")
    console.print(table)


def define_flags() -> None:
    """The command's flags; on call, because other commands have flags of the same names."""
    flags.DEFINE_string("source", None, "Source to read, e.g. folder:/data/pictures.")
    flags.DEFINE_string("output", None, "ArrayRecord file to write.")
    flags.DEFINE_string("report", None, "Folder for the report; by default OUTPUT.report.")
    for field in fields(QualitySettings):
        define = flags.DEFINE_integer if field.type is int else flags.DEFINE_float
        define(field.name, getattr(DEFAULTS, field.name), _HELP[field.name])


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    del argv
    values = flags.FLAGS
    report = values.report or f"{values.output}.report"
    thresholds: dict[str, Any] = {f.name: values[f.name].value for f in fields(QualitySettings)}
    settings = QualitySettings(**thresholds)
    try:
        summary = filter_source(values.source, values.output, report, settings)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    show(summary, Console())
    print(f"{values.output}: {summary['kept']} records; the report is in {report}")


if __name__ == "__main__":
    define_flags()
    commands.run(main, required=("source", "output"))
