"""What is in a version of published weights: leaves, ranges of shards, where they lie, checksums.

A part's bytes are its shards one after the other, each in C order and cut into chunks of at most
`chunk_bytes`, which have a CRC-32 each. The manifest has one of its own.
"""

import contextlib
import dataclasses
import json
import zlib
from collections.abc import Collection, Mapping

from rl.weights_store import Store


class WeightsCorrupt(Exception):
    """Bytes of a version are not those that were published; names what."""


@dataclasses.dataclass(frozen=True)
class ShardEntry:
    """A box of a leaf.

    Attributes:
        part: which has it.
        start, stop: of the box, per dim.
        offset: of its first byte in the part.
        checksums: of its chunks.
    """

    part: int
    start: tuple[int, ...]
    stop: tuple[int, ...]
    offset: int
    checksums: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """An array of the tree.

    Attributes:
        name: path, `a/b/c`.
        shape: of the whole array.
        dtype: as it travels.
        original: as it was in the trainer.
        shards: boxes that together cover it once.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    original: str
    shards: tuple[ShardEntry, ...]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Of one part, or of all of a version.

    Attributes:
        version: of the policy.
        num_parts: of the version.
        chunk_bytes: of all chunks but the last of a shard.
        leaves: in tree order.
    """

    version: int
    num_parts: int
    chunk_bytes: int
    leaves: tuple[Leaf, ...]


def encode(manifest: Manifest) -> bytes:
    """As JSON with a checksum."""
    body = json.dumps(dataclasses.asdict(manifest), separators=(",", ":"))
    return json.dumps({"crc32": zlib.crc32(body.encode()), "body": body}).encode()


def decode(text: bytes, what: str) -> Manifest:
    """Undoes `encode`.

    Raises:
        WeightsCorrupt: it is not what `encode` made; names `what`.
    """
    try:
        outer = json.loads(text)
        body = outer["body"]
        if zlib.crc32(body.encode()) != outer["crc32"]:
            raise ValueError("the checksum is not that of its text")
        found = json.loads(body)
        leaves = tuple(_leaf(leaf) for leaf in found["leaves"])
        return Manifest(found["version"], found["num_parts"], found["chunk_bytes"], leaves)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsCorrupt(f"{what}: the manifest cannot be read ({error})") from error


def read_version(store: Store, version: int) -> Manifest | None:
    """All parts of a version as one; None while some are not there.

    Raises:
        WeightsCorrupt: a manifest cannot be read, or parts are not of one version.
    """
    found = store.manifests(version)
    if not found:
        return None
    return join({p: decode(text, f"version {version}, part {p}") for p, text in found.items()})


def complete_versions(store: Store, known: Collection[int] = ()) -> list[int]:
    """Versions whose parts are all there, ascending; one that cannot be read does not count.

    Args:
        store: to look into.
        known: versions that were complete before; only whether they are still there is looked up.
    """
    found = []
    for version in store.versions():
        with contextlib.suppress(WeightsCorrupt):
            if version in known or read_version(store, version) is not None:
                found.append(version)
    return found


def join(parts: Mapping[int, Manifest]) -> Manifest | None:
    """Parts by number -> the whole; None while some are missing."""
    first = parts[min(parts)]
    if len(parts) < first.num_parts:
        return None
    leaves = []
    for same in zip(*(parts[p].leaves for p in sorted(parts)), strict=True):
        described = {(x.name, x.shape, x.dtype, x.original) for x in same}
        if len(described) != 1:
            raise WeightsCorrupt(f"version {first.version}: parts differ in {sorted(described)}")
        shards = tuple(shard for leaf in same for shard in leaf.shards)
        leaves.append(dataclasses.replace(same[0], shards=shards))
    return dataclasses.replace(first, leaves=tuple(leaves))


def _leaf(found: dict) -> Leaf:
    shards = tuple(
        ShardEntry(
            part=s["part"],
            start=tuple(s["start"]),
            stop=tuple(s["stop"]),
            offset=s["offset"],
            checksums=tuple(s["checksums"]),
        )
        for s in found["shards"]
    )
    return Leaf(found["name"], tuple(found["shape"]), found["dtype"], found["original"], shards)
