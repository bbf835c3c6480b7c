"""Writes glm_positions.npz: transformers' 3-D positions of documents, for test_positions.py.

Run at the repository's root with torch and transformers (made with 2.13.0 and 5.23.0):
    python -m tests.golden.make_glm_positions
"""

from pathlib import Path

import numpy as np
import torch
from transformers import Glm4vConfig, Glm4vModel, GlmOcrConfig, GlmOcrModel

CLASSES = {"glm_ocr": (GlmOcrModel, GlmOcrConfig), "glm4v": (Glm4vModel, Glm4vConfig)}
IMAGE, VIDEO = 1, 2  # kinds of tokens; 0 = text
# Documents as lists of parts: an int is that many tokens of text, (kind, rows, columns) a picture
# or frame of so many patches. The frames of a video have equal grids and text between them, as the
# chat template puts it there.
CASES = {
    "text": [[9]],
    "image": [[4, (IMAGE, 6, 10), 5]],
    "two_images": [[2, (IMAGE, 8, 4), 3, (IMAGE, 4, 12), 6]],
    "ends_with_image": [[3, (IMAGE, 4, 8)]],
    "video": [[3, (VIDEO, 4, 6), 4, (VIDEO, 4, 6), 4, (VIDEO, 4, 6), 7]],
    "video_and_image": [[1, (VIDEO, 6, 2), 3, (VIDEO, 6, 2), 2, (IMAGE, 2, 4), 5]],
    "left_padding": [
        [4, (IMAGE, 6, 10), 5],
        [2],
        [1, (IMAGE, 2, 2), 1, (VIDEO, 4, 4), 2, (VIDEO, 4, 4), 1, (VIDEO, 4, 4), 3],
    ],
}


def make_model(kind: str) -> torch.nn.Module:
    """A model without parameters: positions need only its settings."""
    model, config = CLASSES[kind]
    with torch.device("meta"):
        return model(config(text_config={"num_hidden_layers": 1}, vision_config={"depth": 1}))


def lay_out(parts: list) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Kind of every token, and (start, rows, columns) of every picture and frame."""
    kinds, visuals = [], []
    for part in parts:
        if isinstance(part, int):
            kinds.extend([0] * part)
        else:
            kind, rows, columns = part
            visuals.append((len(kinds), rows, columns))
            kinds.extend([kind] * (rows * columns // 4))
    return kinds, visuals


def grids(documents: list, kind: int) -> torch.Tensor | None:
    """(frames, rows, columns) of the pictures, or of each document's video."""
    found = []
    for parts in documents:
        mine = [(1, *p[1:]) for p in parts if not isinstance(p, int) and p[0] == kind]
        found += mine if kind == IMAGE or not mine else [(len(mine), *mine[0][1:])]
    return torch.tensor(found) if found else None


def positions(model: torch.nn.Module, documents: list) -> dict[str, np.ndarray]:
    """What `get_rope_index` gives, documents padded on the left."""
    laid = [lay_out(parts) for parts in documents]
    length = max(len(kinds) for kinds, _ in laid)
    kinds = torch.tensor([[0] * (length - len(k)) + k for k, _ in laid])
    mask = torch.tensor([[0] * (length - len(k)) + [1] * len(k) for k, _ in laid])
    found, deltas = model.get_rope_index(
        torch.ones_like(kinds), kinds, grids(documents, IMAGE), grids(documents, VIDEO), mask
    )
    visuals = [(row, *v) for row, (_, some) in enumerate(laid) for v in some]
    return {
        "lengths": mask.sum(1).numpy(),
        "visuals": np.asarray(visuals, np.int32).reshape(-1, 4),
        "positions": found.numpy().astype(np.int32),
        "deltas": deltas[:, 0].numpy(),
    }


def main() -> None:
    """Every case by both models."""
    arrays = {}
    for kind in CLASSES:
        model = make_model(kind)
        for case, documents in CASES.items():
            found = positions(model, documents)
            arrays |= {f"{kind}/{case}/{name}": x for name, x in found.items()}
    np.savez_compressed(Path(__file__).with_name("glm_positions.npz"), **arrays)


if __name__ == "__main__":
    main()
