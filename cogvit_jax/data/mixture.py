"""Sources mixed by weight, in an endless shuffled order that is a function of the seed."""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence

import grain

from cogvit_jax import settings
from cogvit_jax.data.records import Source
from cogvit_jax.data.sources import open_source

# Separates the sources of a mixture; commas in braces and brackets belong to a source.
OUTER_COMMA = r",(?![^{\[]*[}\]])"


def short_names(text: str) -> tuple[str, ...]:
    """A name for each source of a mixture, for metrics; opens nothing.

    Example:
        short_names("embedded:digits/train@0.8,webdataset:/d/{0..9}.tar")
        == ("digits_train", "d_0_9_tar")
    """
    names: list[str] = []
    for part in filter(None, (p.strip() for p in re.split(OUTER_COMMA, text))):
        spec = part.rpartition("@")[0] if "@" in part else part
        name = re.sub(r"[^0-9A-Za-z]+", "_", spec.partition(":")[2] or spec).strip("_")
        names.append(name if name not in names else f"{name}_{len(names)}")
    return tuple(names)


def open_mixture(
    text: str, field: str, opener: Callable[[str], Source] | None = None
) -> tuple[tuple[Source, ...], tuple[float, ...]]:
    """Sources and weights of `spec@weight,spec@weight`; a weight left out is 1.

    Args:
        text: the mixture.
        field: its name in error messages.
        opener: opens one source; raises ValueError where it cannot be read. None = `open_source`.

    Raises:
        ConfigError: empty, a weight that is no positive number, or a source that cannot be read.
        FileNotFoundError: a source is not there.
    """
    sources, weights = [], []
    for part in filter(None, (p.strip() for p in re.split(OUTER_COMMA, text))):
        spec, _, weight = part.rpartition("@") if "@" in part else (part, "", "1")
        try:
            value = float(weight)
        except ValueError:
            value = -1.0
        if not 0 < value < math.inf:
            raise settings.ConfigError(f"{field}: {part!r} needs a positive number after '@'.")
        try:
            sources.append((opener or open_source)(spec))
        except ValueError as error:
            raise settings.ConfigError(f"{field}: {error}") from error
        weights.append(value)
    if not sources:
        raise settings.ConfigError(f"{field} is empty: name a source, such as 'folder:/path'.")
    return tuple(sources), tuple(weights)


def shuffled_mixture(
    sources: Sequence[Source], weights: Sequence[float], seed: int
) -> grain.MapDataset:
    """Endless (source number, record number), shuffled anew in each pass over a source."""
    parts = []
    for number, source in enumerate(sources):
        indices = grain.MapDataset.range(len(source.records))
        part = indices.seed(seed + number).shuffle().repeat()
        parts.append(part.map(_Tag(number)))
    return parts[0] if len(parts) == 1 else grain.MapDataset.mix(parts, list(weights))


@dataclasses.dataclass(frozen=True)
class _Tag:
    number: int

    def __call__(self, index: int) -> tuple[int, int]:
        return self.number, int(index)
