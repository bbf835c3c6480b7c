"""Reading and writing weights: safetensors files and folders in Hugging Face's layout.

A folder holds `config.json` and either `model.safetensors` or numbered shards with
`model.safetensors.index.json`, whose `weight_map` names each key's shard. Files are mapped, so that
opening reads headers only and taking reads one array.
"""

import difflib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  NumPy reads bfloat16 once this is imported.
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

SINGLE, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
DTYPES = ("F32", "F16", "BF16")


class WeightsError(ValueError):
    """Weights that are damaged, incomplete or of another model; names file, key and shapes."""


@dataclass(frozen=True)
class Weights:
    """Arrays of one checkpoint, read when they are taken; `open_weights` makes it.

    Attributes:
        path: as it was given.
        config: the `config.json` beside the arrays, {} where there is none.
    """

    path: Path
    config: dict[str, Any]
    # name -> (file, open file, key in it)
    _places: dict[str, tuple[Path, Any, str]] = field(repr=False)
    _taken: set[tuple[Path, str]] = field(default_factory=set, repr=False)

    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(sorted(self._places))

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array; raises WeightsError when there is none of this name."""
        _, file, key = self._find(name)
        return tuple(file.get_slice(key).get_shape())

    def take(self, name: str, shape: Sequence[int]) -> np.ndarray:
        """An array in float32.

        Raises:
            WeightsError: missing (names the nearest key), of another shape, or of a dtype that is
                not among DTYPES.
        """
        path, file, key = self._find(name, tuple(shape))
        found, dtype = self.shape(name), file.get_slice(key).get_dtype()
        if found != tuple(shape):
            raise WeightsError(
                f"{path}: {key!r} has shape {found}, expected {tuple(shape)}: it belongs to a "
                "model of another size, or to another file."
            )
        if dtype not in DTYPES:
            raise WeightsError(
                f"{path}: {key!r} is {dtype}, expected one of {', '.join(DTYPES)}: take a "
                "checkpoint that is not quantised."
            )
        self._taken.add((path, key))
        return file.get_tensor(key).astype(np.float32)

    def unused(self) -> tuple[str, ...]:
        """Names of arrays that were not taken, here or under another name."""
        places = {name: (path, key) for name, (path, _, key) in self._places.items()}
        return tuple(name for name in self.names() if places[name] not in self._taken)

    def renamed(self, rename: Callable[[str], str | None]) -> "Weights":
        """The same weights under names that `rename` gives; None leaves one out.

        Raises:
            WeightsError: two arrays get one name.
        """
        places: dict[str, tuple[Path, Any, str]] = {}
        for name in self.names():
            new = rename(name)
            if new is None:
                continue
            if new in places:
                raise WeightsError(
                    f"{self.path}: {places[new][2]!r} and {name!r} both stand for {new!r}: the "
                    "checkpoint holds that model twice; keep one of them."
                )
            places[new] = self._places[name]
        return Weights(self.path, self.config, places, self._taken)

    def _find(self, name: str, shape: tuple[int, ...] | None = None) -> tuple[Path, Any, str]:
        if name in self._places:
            return self._places[name]
        near = difflib.get_close_matches(name, self._places, 1, 0.5)
        hint = f"the nearest is {near[0]!r} {self.shape(near[0])}" if near else "none resembles it"
        wanted = f" {shape}" if shape is not None else ""
        raise WeightsError(
            f"{self.path}: no key {name!r}{wanted} among {len(self._places)}; {hint}. Check that "
            "this is the checkpoint of the model and size that was asked for."
        )


def open_weights(path: str | Path) -> Weights:
    """Opens a .safetensors file, or a folder that holds a whole or sharded checkpoint.

    Raises:
        FileNotFoundError: nothing is there, or no safetensors file.
        WeightsError: a truncated or foreign file, or an index that names a missing shard or key.
    """
    if not str(path):
        raise FileNotFoundError(
            "the path of the weights is empty: give a .safetensors file or a folder that holds one."
        )
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist: give a .safetensors file or a folder that holds one, for "
            "instance one that `hf download REPOSITORY --local-dir FOLDER` made."
        )
    folder = path if path.is_dir() else path.parent
    source = _choose_file(path) if path.is_dir() else path
    places = _read_index(source) if source.name.endswith(".index.json") else _read_file(source)
    config = _read_json(folder / CONFIG) if (folder / CONFIG).exists() else {}
    return Weights(path, config, places)


def write_weights(
    folder: str | Path,
    arrays: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    max_shard_bytes: int | float = 5e9,
) -> None:
    """Writes arrays and `config.json` in Hugging Face's layout: a new folder, all at once.

    Everything goes to a temporary folder beside it, which is renamed at the end, so that `folder`
    never holds half a checkpoint. Up to `max_shard_bytes` make one file; more make shards of at
    most that size (an array is never split) with an index.

    Raises:
        FileExistsError: `folder` is there and not empty.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not an empty folder: remove it or choose another.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    temporary.mkdir()
    try:
        _write_arrays(temporary, arrays, max_shard_bytes)
        _write_json(temporary / CONFIG, dict(config))
        for file in temporary.glob("*.safetensors"):  # which their writer lets only its owner read
            shutil.copymode(temporary / CONFIG, file)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _choose_file(folder: Path) -> Path:
    for name in (SINGLE, INDEX):
        if (folder / name).exists():
            return folder / name
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(p.name for p in (found or folder.iterdir()))[:8]) or "nothing"
    message = f"{folder} holds neither {SINGLE} nor {INDEX}, but {names}: "
    if found:
        raise WeightsError(message + "give the path of one file.")
    raise FileNotFoundError(
        message + "give a folder with safetensors weights (transformers' save_pretrained writes "
        "them)."
    )


def _read_file(path: Path) -> dict[str, tuple[Path, Any, str]]:
    try:
        file = safe_open(path, framework="np")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} ({path.stat().st_size} bytes) {_diagnosis(path, error)}") from (
            error
        )
    return {key: (path, file, key) for key in file.keys()}  # noqa: SIM118  it is no mapping


def _diagnosis(path: Path, error: Exception) -> str:
    """What is wrong with a file that safetensors refuses, by its first bytes, and the remedy."""
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"version https://"):
        return "is a Git LFS pointer, not the weights: run `git lfs pull` in its folder."
    if start[8:9] == b"{":
        return f"is truncated or damaged ({error}): copy it again."
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return (
            "is a PyTorch pickle, not safetensors: load it with torch and save it with "
            "safetensors.torch.save_file."
        )
    return f"is no safetensors file ({error}): give a .safetensors file, or copy it again."


def _read_index(index: Path) -> dict[str, tuple[Path, Any, str]]:
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise WeightsError(f"{index} has no 'weight_map': copy it again.")
    shards = {name: index.parent / name for name in sorted(set(weight_map.values()))}
    missing = [name for name, path in shards.items() if not path.exists()]
    if missing:
        raise WeightsError(
            f"{index} names {len(missing)} of {len(shards)} shards that are not there: "
            f"{', '.join(missing[:4])}. Copy them to {index.parent}."
        )
    files = {name: _read_file(path) for name, path in shards.items()}
    for key, shard in weight_map.items():
        if key not in files[shard]:
            raise WeightsError(f"{index} places {key!r} in {shard}, which lacks it: copy both.")
    return {key: files[shard][key] for key, shard in weight_map.items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise WeightsError(f"{path} is not readable as JSON ({error}): copy it again.") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not an object.")
    return content


def _write_arrays(
    folder: Path, arrays: Mapping[str, np.ndarray], max_shard_bytes: int | float
) -> None:
    shards = _plan_shards({name: x.nbytes for name, x in arrays.items()}, max_shard_bytes)
    files = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    files = [SINGLE] if len(shards) == 1 else files
    for file, names in zip(files, shards, strict=True):
        # The writer copies memory as it lies, so every array must be contiguous.
        part = {name: np.asarray(arrays[name], order="C") for name in names}
        save_file(part, folder / file, metadata={"format": "pt"})
    if len(shards) > 1:
        total = sum(x.nbytes for x in arrays.values())
        places = {n: file for file, names in zip(files, shards, strict=True) for n in names}
        _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _plan_shards(sizes: Mapping[str, int], limit: int | float) -> list[list[str]]:
    """Names in order, cut into shards of at most `limit` bytes, at least one name each."""
    shards: list[list[str]] = [[]]
    room = limit
    for name, size in sizes.items():
        if shards[-1] and size > room:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= size
    return shards


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
