"""Opens data sets by a short name: `scheme:rest`."""

import difflib
import os
from collections.abc import Callable, Iterable, Mapping

from cogvit_jax.data.array_records import open_array_record
from cogvit_jax.data.embedded import open_embedded
from cogvit_jax.data.folder import open_folder
from cogvit_jax.data.records import Source
from cogvit_jax.data.tfds_source import open_tfds
from cogvit_jax.data.webdataset import open_webdataset

SCHEMES = {
    "array_record": open_array_record,
    "embedded": open_embedded,
    "folder": open_folder,
    "tfds": open_tfds,
    "webdataset": open_webdataset,
}


def open_source(spec: str) -> Source:
    """Opens a data set.

    Args:
        spec: `embedded:digits/train` (or photos, instruct, science), `folder:/path`,
            `webdataset:/path/{000..010}.tar`, `array_record:/path/*.array_record` or
            `tfds:name:split`.

    Raises:
        ValueError: unknown scheme, an empty source, or contents that cannot be read.
        FileNotFoundError: nothing is there.
    """
    return open_by_scheme(spec, SCHEMES, example="folder")


def open_by_scheme(
    spec: str, schemes: Mapping[str, Callable[[str], Source]], example: str
) -> Source:
    """Opens `scheme:rest` by the function of its scheme; errors as `open_source`.

    Args:
        spec: what the user wrote.
        schemes: name -> opens the rest.
        example: a scheme to suggest for a bare path.
    """
    scheme, colon, rest = spec.partition(":")
    if scheme not in schemes or not rest:
        raise ValueError(_unknown(spec, scheme, colon, schemes, example))
    source = schemes[scheme](rest)
    if not len(source.records):
        raise ValueError(f"source {spec!r} has no records; check that it is the set you meant")
    return source


def _unknown(spec: str, scheme: str, colon: str, schemes: Iterable[str], example: str) -> str:
    if os.path.exists(spec):
        return f"source {spec!r} lacks a scheme; write '{example}:{spec}' or the like"
    if colon and scheme in schemes:
        return f"source {spec!r} says nothing after '{scheme}:'"
    near = difflib.get_close_matches(scheme, schemes, n=1)
    hint = f"; did you mean {near[0] + ':'!r}?" if near else ""
    return f"source {spec!r}: unknown scheme {scheme!r}{hint} Known: {', '.join(schemes)}"
