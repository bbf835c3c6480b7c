"""Pictures for the tests of sources."""

import io
import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def jpeg():
    """Seed -> a small encoded picture of noise."""

    def encode(seed=0):
        pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        return file.getvalue()

    return encode


@pytest.fixture
def pictures(tmp_path, jpeg):
    """A folder of three pictures in a subfolder."""
    (tmp_path / "a").mkdir()
    for i in range(3):
        (tmp_path / f"a/{i}.jpg").write_bytes(jpeg(i))
    return tmp_path


@pytest.fixture
def write_lines():
    """Writes lines, as they are or as JSON, to a folder's captions file."""

    def write(folder, *lines, name="captions.jsonl"):
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        (folder / name).write_text("\n".join(texts) + "\n", "utf-8")

    return write
