"""Where published weights lie: a `Store` is a frozen dataclass of functions.

A version has one *part* per publishing process, and a part is one run of bytes and a manifest that
is written last. What has no manifest is not there yet. Stores check nothing: checksums are the
business of `rl.weights`, which sees the same bytes whatever they came through.
"""

import bisect
import contextlib
import dataclasses
import mmap
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Bytes = bytes | memoryview | mmap.mmap | Any  # whatever has the buffer protocol


class WeightsGone(LookupError):
    """A version, or part of it, is not in the store (any more)."""


@dataclasses.dataclass(frozen=True)
class Store:
    """What weights are written to and read from; all functions may be called from any thread.

    Attributes:
        write: (version, part, offset, data); a part begins with a write of nothing at 0, which
            drops what was there, and goes on without holes. The data are not changed afterwards.
            Raises OSError where there is no room.
        commit: (version, part, manifest): from now on the part is there, all of it.
        versions: () -> those with at least one committed part, ascending.
        manifests: version -> {part: manifest}; empty if there are none.
        read: (version, part, offset, size) -> so many bytes, or fewer where the part ends;
            WeightsGone where the part is not there. May be a view that stays valid when the version
            is deleted.
        drop: (version, part); the other parts stay, which others may be writing.
        delete: version, all parts; nothing happens where it is not there.
    """

    write: Callable[[int, int, int, Bytes], None]
    commit: Callable[[int, int, bytes], None]
    versions: Callable[[], Sequence[int]]
    manifests: Callable[[int], Mapping[int, bytes]]
    read: Callable[[int, int, int, int], Bytes]
    drop: Callable[[int, int], None]
    delete: Callable[[int], None]


def memory_store() -> Store:
    """In this process: what is written is kept, not copied, and read without a copy."""
    memory = _Memory()
    return Store(
        memory.write,
        memory.commit,
        memory.versions,
        memory.manifests,
        memory.read,
        memory.drop,
        memory.delete,
    )


def folder_store(root: str | Path) -> Store:
    """Files below `root`, such as /dev/shm/weights or a network file system; read by mapping them.

    `0000000012/part0.bin` and `part0.json`, which is renamed to its name when all else is written.
    """
    folder = _Folder(Path(root))
    return Store(
        folder.write,
        folder.commit,
        folder.versions,
        folder.manifests,
        folder.read,
        folder.drop,
        folder.delete,
    )


def joined(stores: Sequence[Store]) -> Store:
    """Parts of several stores, one per publishing host, as one store to read from."""

    def owner(version: int, part: int) -> Store:
        for store in stores:
            if part in store.manifests(version):
                return store
        raise WeightsGone(f"part {part} of version {version} is in none of {len(stores)} stores")

    def manifests(version: int) -> Mapping[int, bytes]:
        return {part: text for store in stores for part, text in store.manifests(version).items()}

    def refuse(*_: Any) -> None:
        raise PermissionError("joined stores are only read from")

    return Store(
        write=refuse,
        commit=refuse,
        versions=lambda: sorted({v for store in stores for v in store.versions()}),
        manifests=manifests,
        read=lambda version, part, offset, size: owner(version, part).read(
            version, part, offset, size
        ),
        drop=refuse,
        delete=refuse,
    )


class _Memory:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        # (version, part) -> where pieces begin, and pieces
        self.parts: dict[tuple[int, int], tuple[list[int], list[memoryview]]] = {}
        self.committed: dict[int, dict[int, bytes]] = {}

    def write(self, version: int, part: int, offset: int, data: Bytes) -> None:
        with self.lock:
            if not offset and not len(data):
                self.parts[version, part] = ([], [])
            if len(data):
                starts, pieces = self.parts[version, part]
                starts.append(offset)
                pieces.append(memoryview(data).cast("B"))

    def commit(self, version: int, part: int, manifest: bytes) -> None:
        with self.lock:
            self.committed.setdefault(version, {})[part] = manifest

    def versions(self) -> Sequence[int]:
        with self.lock:
            return sorted(version for version, parts in self.committed.items() if parts)

    def manifests(self, version: int) -> Mapping[int, bytes]:
        with self.lock:
            return dict(self.committed.get(version, {}))

    def read(self, version: int, part: int, offset: int, size: int) -> Bytes:
        with self.lock:
            if (version, part) not in self.parts:
                raise WeightsGone(f"part {part} of version {version} is not in memory")
            starts, pieces = self.parts[version, part]
            first = max(0, bisect.bisect_right(starts, offset) - 1)
            last = bisect.bisect_left(starts, offset + size)
            found = list(zip(starts[first:last], pieces[first:last], strict=True))
        views = [piece[max(0, offset - at) : offset + size - at] for at, piece in found]
        return views[0] if len(views) == 1 else b"".join(views)

    def drop(self, version: int, part: int) -> None:
        with self.lock:
            self.committed.get(version, {}).pop(part, None)
            self.parts.pop((version, part), None)

    def delete(self, version: int) -> None:
        with self.lock:
            self.committed.pop(version, None)
            for key in [k for k in self.parts if k[0] == version]:
                del self.parts[key]


@dataclasses.dataclass(frozen=True)
class _Folder:
    root: Path

    def of(self, version: int) -> Path:
        return self.root / f"{version:010d}"

    def write(self, version: int, part: int, offset: int, data: Bytes) -> None:
        self.of(version).mkdir(parents=True, exist_ok=True)
        path = self.of(version) / f"part{part}.bin"
        if not offset and not len(data):  # begins anew; whoever has mapped the old file keeps it
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        with open(path, "ab") as file:
            if file.tell() != offset:
                raise OSError(f"{path} has {file.tell()} bytes where {offset} were written")
            file.write(data)

    def commit(self, version: int, part: int, manifest: bytes) -> None:
        path = self.of(version) / f"part{part}.json"
        path.with_suffix(".tmp").write_bytes(manifest)
        os.replace(path.with_suffix(".tmp"), path)

    def versions(self) -> Sequence[int]:
        if not self.root.is_dir():
            return []
        found = [p for p in self.root.iterdir() if p.name.isdigit()]
        return sorted(int(p.name) for p in found if _inside(p, "part*.json"))

    def manifests(self, version: int) -> Mapping[int, bytes]:
        found = {}
        for path in _inside(self.of(version), "part*.json"):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                found[int(path.stem.removeprefix("part"))] = path.read_bytes()
        return found

    def read(self, version: int, part: int, offset: int, size: int) -> Bytes:
        path = self.of(version) / f"part{part}.bin"
        try:
            with open(path, "rb") as file:
                if not os.fstat(file.fileno()).st_size:
                    return b""
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise WeightsGone(f"{path} is not there") from None
        return memoryview(mapped)[offset : offset + size]

    def drop(self, version: int, part: int) -> None:
        # The folder stays: another part may be about to begin in it.
        for kind in ("json", "tmp", "bin"):
            (self.of(version) / f"part{part}.{kind}").unlink(missing_ok=True)

    def delete(self, version: int) -> None:
        # Manifests first, so that nobody begins to read what is half gone.
        for pattern in ("part*.json", "*"):
            for path in _inside(self.of(version), pattern):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # gone, or not empty: a network disk keeps what is read
            self.of(version).rmdir()


def _inside(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder, which others may delete at any moment: none when it is gone."""
    try:
        return list(folder.glob(pattern))
    except FileNotFoundError:  # between two looks of glob's own
        return []
