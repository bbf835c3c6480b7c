"""Converts any source of documents to another record format.

    python -m mmtp.data.convert jsonl:/data/train.jsonl array_record:/data/train.array_record
    python -m mmtp.data.convert tasks:ocr/heldout 'webdataset:/data/ocr-{00..07}.tar'

The second argument says which format: jsonl, array_record or webdataset; braces spread the records
over several files. Encoded pictures are copied byte for byte, pixels become PNG files. A file
appears under its name only once it is whole, and files that are there already are an error unless
--overwrite is given, or --resume, which keeps them and writes the others.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from absl import flags, logging
from rich.console import Console
from rich.progress import Progress

from cogvit_jax import commands
from cogvit_jax.data.records import CorruptRecord, Source
from cogvit_jax.data.webdataset import expand_braces
from cogvit_jax.settings import unknown
from mmtp.data.array_records import write_array_record
from mmtp.data.formats import check_writable
from mmtp.data.jsonl import write_jsonl
from mmtp.data.records import Document
from mmtp.data.sources import open_source
from mmtp.data.webdataset import write_webdataset

WRITERS: dict[str, Callable[[Path, Iterable[Document]], int]] = {
    "array_record": write_array_record,
    "jsonl": write_jsonl,
    "webdataset": write_webdataset,
}


def convert(
    spec: str, to: str, *, overwrite: bool = False, resume: bool = False
) -> tuple[int, int]:
    """Writes a source in another format.

    Args:
        spec: as `sources.open_source` reads it.
        to: `FORMAT:PATH`; braces in the path make several files, of consecutive records.
        overwrite: replaces files that are there.
        resume: keeps files that are there, as finished by an earlier call with these arguments.

    Returns:
        (documents written, documents skipped as corrupt).

    Raises:
        ValueError: an unknown format, or the source cannot be opened.
        FileExistsError: a file is there, and neither `overwrite` nor `resume`.
        FileNotFoundError: nothing at `spec`.
    """
    scheme, _, rest = to.partition(":")
    if scheme not in WRITERS or not rest:
        raise ValueError(unknown(f"output {to!r}: format {scheme!r}", scheme, WRITERS))
    source = open_source(spec)
    paths = [Path(os.path.expanduser(path)) for path in expand_braces(rest)]
    existing = [path for path in paths if path.exists()]
    if existing and not (overwrite or resume):
        raise FileExistsError(f"{existing[0]} is there already; give --overwrite or --resume")
    written = total = 0
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(source.name, total=len(source.records))
        for part, path in enumerate(paths):
            first, last = (len(source.records) * (part + k) // len(paths) for k in (0, 1))
            if not (resume and path in existing):
                path.parent.mkdir(parents=True, exist_ok=True)
                steps = _counted(range(first, last), lambda: progress.advance(task))
                written += WRITERS[scheme](path, _readable(source, steps))
                total += last - first
    return written, total - written


def _counted(indices: Iterable[int], advance: Callable[[], None]) -> Iterator[int]:
    for index in indices:
        yield index
        advance()


def _readable(source: Source, indices: Iterable[int]) -> Iterator[Document]:
    records: Any = source.records
    for index in indices:
        try:
            document = records[index]
            check_writable(document)
            yield document
        except CorruptRecord as error:
            logging.warning("skipped: %s", error)


def define_flags() -> None:
    """The command's flags; on call, because other commands have flags of the same names."""
    flags.DEFINE_bool("overwrite", False, "Replace files that are there.")
    flags.DEFINE_bool("resume", False, "Keep files that are there and write the others.")


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    values = flags.FLAGS
    if len(argv) != 3:
        sys.exit("error: give a source and an output: python -m mmtp.data.convert IN OUT")
    try:
        written, skipped = convert(
            argv[1], argv[2], overwrite=values.overwrite, resume=values.resume
        )
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{argv[2]}: {written} documents written, {skipped} skipped as corrupt")


if __name__ == "__main__":
    define_flags()
    commands.run(main, required=())
