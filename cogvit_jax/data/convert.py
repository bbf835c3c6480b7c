"""Converts any source to one ArrayRecord file, the fastest to read at random.

python -m cogvit_jax.data.convert --from='webdataset:/in/{000..127}.tar' --to=/out/all.array_record
"""

from collections.abc import Iterator
from pathlib import Path

from absl import app, flags, logging
from rich.console import Console
from rich.progress import track

from cogvit_jax.data.array_records import write_array_record, write_classes
from cogvit_jax.data.records import CorruptRecord, Record, Source
from cogvit_jax.data.sources import open_source

_FROM = flags.DEFINE_string("from", "", "source to read, e.g. folder:/data/pictures")
_TO = flags.DEFINE_string("to", "", "file to write, e.g. /data/pictures.array_record")


def convert(spec: str, path: str | Path) -> tuple[int, int]:
    """Writes a source to `path`, and its class names to classes.json beside it.

    Pictures are copied, not decoded: one that cannot be decoded is found when it is read.

    Returns:
        (records written, records skipped as corrupt).
    """
    source, path = open_source(spec), Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_classes(path.parent, source)
    written = write_array_record(path, _readable(source))
    return written, len(source.records) - written


def _readable(source: Source) -> Iterator[Record]:
    console = Console(stderr=True)
    indices = range(len(source.records))
    for index in track(indices, source.name, console=console, disable=not console.is_terminal):
        try:
            yield source.records[index]
        except CorruptRecord as error:
            logging.warning("skipped: %s", error)


def main(_: list[str]) -> None:
    """Converts and prints what was written."""
    if not (_FROM.value and _TO.value):
        raise app.UsageError("give both --from=SPEC and --to=FILE")
    written, skipped = convert(_FROM.value, _TO.value)
    print(f"{_TO.value}: {written} records written, {skipped} skipped as corrupt")


if __name__ == "__main__":
    app.run(main)
