"""Writes glm_decoder_{ocr,4v,4v_moe}.npz: transformers' GLM text models from embeddings to logits.

Four rows, padded on the left: a picture, two pictures, a video, and text; positions are those of
the released models' `get_rope_index`, and the embeddings at placeholders are noise, as if they came
from a vision tower. The hidden states are those after the final norm; the gradient, with respect to
the embeddings, is of the sum of the sines of all real tokens' logits.

Run at the repository's root with torch and transformers (made with 2.13.0 and 5.23.0):
    python -m tests.golden.make_glm_decoder
"""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from transformers.models.glm4v import modeling_glm4v as glm4v
from transformers.models.glm4v_moe import modeling_glm4v_moe as glm4v_moe
from transformers.models.glm_ocr import modeling_glm_ocr as glm_ocr

from tests.golden.torch_modules import as_half, randomize, state_arrays

MODELS = {
    "ocr": (glm_ocr.GlmOcrTextModel, glm_ocr.GlmOcrTextConfig, glm_ocr.GlmOcrModel),
    "4v": (glm4v.Glm4vTextModel, glm4v.Glm4vTextConfig, glm4v.Glm4vModel),
    "4v_moe": (
        glm4v_moe.Glm4vMoeTextModel,
        glm4v_moe.Glm4vMoeTextConfig,
        glm4v_moe.Glm4vMoeModel,
    ),
}
COMMON = {"hidden_size": 48, "num_hidden_layers": 3, "vocab_size": 64, "num_attention_heads": 4}
SIZES = {
    # Heads wider than width / num_heads, as released.
    "ocr": COMMON
    | {"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 16}
    | {"mrope_section": [2, 3, 3], "partial_rotary_factor": 1.0},
    "4v": COMMON
    | {"intermediate_size": 80, "num_key_value_heads": 1}
    | {"mrope_section": [1, 1, 1], "partial_rotary_factor": 0.5},
    "4v_moe": COMMON
    | {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 16}
    | {"mrope_section": [1, 1, 2], "partial_rotary_factor": 0.5}
    | {"n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 16}
    | {"routed_scaling_factor": 1.5, "n_shared_experts": 2, "first_k_dense_replace": 1},
}
# A row as runs of (kind, tokens or grid in patches): 0 text, 1 picture, 2 video.
ROWS = (
    ((0, 5), (1, (1, 4, 6)), (0, 7)),
    ((0, 2), (1, (1, 2, 8)), (0, 3), (1, (1, 6, 4)), (0, 6)),
    ((0, 3), (2, (3, 4, 4)), (0, 4)),
    ((0, 11),),
)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows padded on the left.

    Attributes:
        positions: `[3, b, t]`.
        mask: `[b, t]`, 0 = padding.
    """

    positions: torch.Tensor
    mask: torch.Tensor


def make_model(kind: str, seed: int, **sizes: object) -> torch.nn.ModuleDict:
    """A text model and an output matrix with random parameters."""
    model_class, config_class, _ = MODELS[kind]
    rope = {"rope_type": "default", "rope_theta": 1e4}
    rope |= {k: sizes.pop(k) for k in ("mrope_section", "partial_rotary_factor")}
    config = config_class(**sizes, rope_parameters=rope)
    config._attn_implementation = "eager"
    if kind == "4v_moe":
        config._experts_implementation = "eager"
    head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)
    both = torch.nn.ModuleDict({"model": model_class(config), "lm_head": head}).eval()
    randomize(both, seed, small=("model.layers.0.self_attn.v_proj.weight",))
    generator = torch.Generator().manual_seed(seed + 1)
    for name, array in both.named_parameters():
        if ".experts." in name:  # stacks of matrices
            noise = torch.randn(array.shape, generator=generator) / array.shape[-1] ** 0.5
            array.data.copy_(noise.half().float())
    for name, array in both.named_buffers():
        if name.endswith("e_score_correction_bias"):
            array.copy_((0.2 * torch.randn(array.shape, generator=generator)).half().float())
    return both


def make_batch(kind: str, rows: tuple[tuple[tuple[int, object], ...], ...] = ROWS) -> Batch:
    """Positions as the released model gives them."""
    types = []
    grids: dict[int, list[object]] = {1: [], 2: []}
    for runs in rows:
        row: list[int] = []
        for modality, size in runs:
            if modality == 0:
                row += [0] * size
                continue
            grids[modality].append(size)
            frames, height, width = size
            # Frames of a video are told apart by the text of their times.
            for frame in range(frames):
                row += [0] * (2 * (frame > 0)) + [modality] * (height * width // 4)
        types.append(row)
    length = max(map(len, types))
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in types])
    padded = torch.tensor([[0] * (length - len(row)) + row for row in types])
    released = MODELS[kind][2]
    stand_in = SimpleNamespace(
        config=SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2)),
        get_vision_position_ids=lambda *a, **k: released.get_vision_position_ids(None, *a, **k),
    )
    positions, _ = released.get_rope_index(
        stand_in,
        padded,
        padded,
        *(torch.tensor(grids[m]) if grids[m] else None for m in (1, 2)),
        attention_mask=mask,
    )
    return Batch(positions, mask)


def make_embeddings(batch: Batch, width: int, seed: int) -> torch.Tensor:
    """`[b, t, d]`, exact in float16."""
    generator = torch.Generator().manual_seed(seed + 2)
    noise = torch.randn((*batch.mask.shape, width), generator=generator)
    return noise.half().float()


def run_model(
    both: torch.nn.ModuleDict, batch: Batch, embeddings: torch.Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(normed hidden states, logits, gradient of the sum of real logits' sines)."""
    embeddings = embeddings.clone().requires_grad_()
    hidden = both["model"](
        inputs_embeds=embeddings, attention_mask=batch.mask, position_ids=batch.positions
    ).last_hidden_state
    logits = both["lm_head"](hidden)
    (logits.sin() * batch.mask[..., None]).sum().backward()
    return hidden.detach().numpy(), logits.detach().numpy(), embeddings.grad.numpy()


def main() -> None:
    """One small model of each kind."""
    for kind, sizes in SIZES.items():
        both = make_model(kind, 0, **sizes)
        batch = make_batch(kind)
        embeddings = make_embeddings(batch, sizes["hidden_size"], 0)
        hidden, logits, gradient = run_model(both, batch, embeddings)
        np.savez_compressed(
            Path(__file__).with_name(f"glm_decoder_{kind}.npz"),
            config=json.dumps(sizes),
            positions=batch.positions.numpy().astype(np.int16),
            mask=batch.mask.numpy().astype(bool),
            embeddings=embeddings.numpy().astype(np.float16),
            hidden=hidden,
            logits=logits,
            gradient=gradient,
            **as_half(state_arrays(both)),
        )


if __name__ == "__main__":
    main()
