"""Writes dinov3_{mlp,gated,no_bias}.npz: transformers' DINOv3 ViT in its three forms.

Run at the repository's root with torch and transformers (made with 2.13.0 and 5.23.0):
    python -m tests.golden.make_dinov3
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DINOv3ViTConfig, DINOv3ViTModel

from tests.golden.saved_checkpoint import PATCH_SIZE, golden, make_pictures
from tests.golden.torch_modules import randomize

SIZES = {  # `tiny` of models.dinov3
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 112,
}
GATED = {"use_gated_mlp": True, "hidden_act": "silu"}
FORMS = {  # as S, B and L; S+ and H+; 7B
    "mlp": {},
    "gated": GATED,
    "no_bias": GATED | {"query_bias": False, "value_bias": False},
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NUM_PREFIX = 5


def make_model(seed: int, form: str, **sizes: Any) -> DINOv3ViTModel:
    """A model with random parameters."""
    config = DINOv3ViTConfig(
        **(SIZES | FORMS[form] | sizes), patch_size=PATCH_SIZE, num_register_tokens=4
    )
    config._attn_implementation = "eager"
    model = DINOv3ViTModel(config).eval()
    randomize(model, seed, small=("embeddings.", "model.layer.0.attention.o_proj."))
    return model


def features(model: DINOv3ViTModel, pictures: list[np.ndarray]) -> list[np.ndarray]:
    """The last hidden state of each picture's patches."""
    found = []
    for picture in pictures:
        pixels = ((picture / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
        with torch.no_grad():
            hidden = model(torch.as_tensor(pixels).to(model.dtype)).last_hidden_state
        found.append(hidden[0, NUM_PREFIX:].float().numpy())
    return found


def main() -> None:
    """One model of each form, a square and two other pictures."""
    for seed, form in enumerate(FORMS):
        model, pictures = make_model(seed, form), make_pictures(seed, ((5, 5), (4, 7), (6, 2)))
        arrays = golden(model, pictures, features(model, pictures))
        np.savez_compressed(Path(__file__).with_name(f"dinov3_{form}.npz"), **arrays)


if __name__ == "__main__":
    main()
