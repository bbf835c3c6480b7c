"""Writes small local copies of evaluation sets in the layouts in which they are published."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def picture(value: int = 0, size: tuple[int, int] = (28, 28)) -> bytes:
    """A PNG of noise around a grey value."""
    rng = np.random.default_rng(value)
    pixels = np.clip(rng.integers(-20, 20, (*size, 3)) + value, 0, 255).astype(np.uint8)
    return encode(pixels)


def encode(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def array_bytes(*values: int) -> bytes:
    """An .npy file."""
    file = io.BytesIO()
    np.save(file, np.asarray(values))
    return file.getvalue()


def write_tar(path: Path, samples: list[dict[str, bytes]]) -> None:
    """One shard; sample i has the members s000000i.EXTENSION."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, parts in enumerate(samples):
            for extension, data in parts.items():
                member = tarfile.TarInfo(f"s{number:07d}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def write_copy(
    folder: Path,
    samples: list[dict[str, bytes]],
    names: list[str] | None = None,
    prompts: list[str] | None = None,
    shards: int = 2,
) -> Path:
    """A folder as CLIP_benchmark publishes it: test/0.tar …, nshards.txt, names and prompts."""
    for shard in range(shards):
        write_tar(folder / f"test/{shard}.tar", samples[shard::shards])
    (folder / "test/nshards.txt").write_text(f"{shards}\n")
    if names is not None:
        (folder / "classnames.txt").write_text("\n".join(names) + "\n", "utf-8")
    if prompts is not None:
        text = "\n".join(prompts) + "\n"
        (folder / "zeroshot_classification_templates.txt").write_text(text, "utf-8")
    return folder


def labelled(labels: list[int], **more: list[bytes]) -> list[dict[str, bytes]]:
    """Samples of a grey picture and a `.cls` each, with further members by extension."""
    return [
        {"png": picture(label * 20), "cls": str(label).encode()}
        | {kind: values[i] for kind, values in more.items()}
        for i, label in enumerate(labels)
    ]
