"""Pictures as files that are named by what is in them: equal ones are stored once."""

import hashlib
import io
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from rl.types import Json

_NAME = re.compile(r"[0-9a-f]{64}\.(png|bin)")


class Pictures:
    """A folder of pictures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._saved: dict[int, tuple[bytes | np.ndarray, str]] = {}  # of this object, by id

    def save(self, data: bytes | np.ndarray) -> Json:
        """Writes a picture that is not there; what `load` takes.

        Raises:
            ValueError: pixels are not uint8, `[h, w]` or `[h, w, 3]`.
        """
        if id(data) not in self._saved:
            self._saved[id(data)] = (data, self._save(data))
        return {"file": self._saved[id(data)][1]}

    def load(self, saved: Json) -> bytes | np.ndarray:
        """Bytes or pixels, as they were.

        Raises:
            OSError, ValueError: the file is missing, is not what its name says, or is no picture.
        """
        name = saved["file"]
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{name!r:.80} is no name of a picture")
        content = (self._folder / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != name[:64]:
            raise ValueError(f"{self._folder / name} is damaged")
        if name.endswith(".bin"):
            return content
        with Pillow.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if picture.mode not in ("L", "RGB"):
                raise ValueError(f"{self._folder / name} has the mode {picture.mode}")
            return np.array(picture)

    def _save(self, data: bytes | np.ndarray) -> str:
        content, kind = (data, "bin") if isinstance(data, bytes) else (_png(data), "png")
        name = f"{hashlib.sha256(content).hexdigest()}.{kind}"
        if not (self._folder / name).exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            put(self._folder / name, content)
        (self._folder / name).touch()  # used last: see `rl.store.remove`
        return name


def put(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _png(pixels: np.ndarray) -> bytes:
    shape, kind = pixels.shape, pixels.dtype
    if kind != np.uint8 or len(shape) not in (2, 3) or shape[2:] not in ((), (3,)):
        raise ValueError(f"pixels of {kind} {shape} are not uint8 [h, w] or [h, w, 3]")
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
