"""Writes glm_whole_{ocr,4v,4v_moe}.npz: whole vision-language models of transformers, from pixels.

Four prompts: two pictures of unequal sizes, one picture, text (these three padded on the left, in
one batch), and a video. Each file holds config.json and the arrays under the names in which
`save_pretrained` writes them, and of each prompt: ids, pixels, logits, and 20 tokens of greedy
generation. GLM-OCR has a layer for multi-token prediction behind its decoder, under the released
names, and `mtp/N` are its logits over prompt and generation.

Run at the repository's root with torch and transformers (made with 2.13.0 and 5.23.0):
    python -m tests.golden.make_glm_ocr_whole
"""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.modeling_layers import MtpLayer

from tests.golden.torch_modules import as_half, randomize

CLASSES = {"ocr": "GlmOcr", "4v": "Glm4v", "4v_moe": "Glm4vMoe"}
IMAGE, VIDEO = 46, 47
TEXT = {"hidden_size": 48, "num_hidden_layers": 2, "vocab_size": 48, "num_attention_heads": 4}
VISION = {"hidden_size": 32, "num_heads": 2, "depth": 2, "intermediate_size": 40}
SIZES: dict[str, dict[str, Any]] = {
    # Heads wider than width / num_heads, as released.
    "ocr": {
        "text": TEXT
        | {"hidden_size": 40, "intermediate_size": 56, "num_key_value_heads": 2, "head_dim": 16}
        | {"mrope_section": [2, 3, 3], "partial_rotary_factor": 1.0},
        "vision": VISION | {"patch_size": 4},
    },
    "4v": {
        "text": TEXT
        | {"intermediate_size": 56, "num_key_value_heads": 1}
        | {"mrope_section": [1, 1, 1], "partial_rotary_factor": 0.5},
        "vision": VISION | {"patch_size": 4, "image_size": 24},
    },
    "4v_moe": {
        "text": TEXT
        | {"intermediate_size": 40, "num_key_value_heads": 2, "head_dim": 16}
        | {"mrope_section": [1, 1, 2], "partial_rotary_factor": 0.5}
        | {"n_routed_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 12}
        | {"routed_scaling_factor": 1.5, "n_shared_experts": 2, "first_k_dense_replace": 1},
        "vision": VISION | {"patch_size": 4, "image_size": 24},
    },
}
# Runs of a prompt: tokens of text, or (frames, rows, columns) in patches; the last is a video.
PROMPTS = (
    (5, (1, 4, 6), 3, (1, 8, 2), 4),
    (2, (1, 2, 2), 6),
    (9,),
    (3, (2, 4, 4), 4),
)
NUM_NEW = 20


@dataclass
class Prompt:
    """What is asked, in the order of `mmtp.data.encoded`.

    Attributes:
        tokens: ids.
        kinds: of each token: 0 text, 1 picture, 2 video.
        patches: uint8 `[n, 2 * p * p * 3]` of each picture, or of each pair of frames.
        grids: (rows, columns) in patches of each.
    """

    tokens: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    patches: list[np.ndarray] = field(default_factory=list)
    grids: list[tuple[int, int]] = field(default_factory=list)


def make_model(kind: str, seed: int, text: dict[str, Any], vision: dict[str, Any]) -> Any:
    """A whole model with random parameters."""
    name = CLASSES[kind]
    text = dict(text)
    rope = {"rope_type": "default", "rope_theta": 1e4}
    rope |= {k: text.pop(k) for k in ("mrope_section", "partial_rotary_factor")}
    if kind == "ocr":
        text["num_nextn_predict_layers"] = 1
    config = getattr(transformers, f"{name}Config")(
        text_config=text | {"rope_parameters": rope, "pad_token_id": 0},
        vision_config=vision | {"out_hidden_size": text["hidden_size"]},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    config._attn_implementation = "eager"
    config.text_config._experts_implementation = "eager"
    model = getattr(transformers, f"{name}ForConditionalGeneration")(config).eval()
    randomize(model, seed, small=("model.visual.patch_embed.",))
    model.lm_head.weight.data[[IMAGE, VIDEO]] = 0  # so that neither is generated
    generator = torch.Generator().manual_seed(seed + 1)
    for name, array in model.named_parameters():
        if ".experts." in name:  # stacks of matrices
            noise = torch.randn(array.shape, generator=generator) / array.shape[-1] ** 0.5
            array.data.copy_(noise.half().float())
    for name, array in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            array.copy_((0.2 * torch.randn(array.shape, generator=generator)).half().float())
    return model


def make_mtp(model: Any, seed: int) -> MtpLayer:
    """A layer for multi-token prediction of the same sizes."""
    language = model.model.language_model
    layer = MtpLayer(language.config, type(language.layers[-1]), type(language.norm), 0).eval()
    randomize(layer, seed + 2, small=())
    return layer


def state_of(model: Any, mtp: MtpLayer | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays by their names in released files, config.json)."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        state = load_file(Path(folder) / "model.safetensors")
        config = json.loads((Path(folder) / "config.json").read_text())
    if mtp is not None:
        prefix = f"model.language_model.layers.{model.config.text_config.num_hidden_layers}."
        for name, x in mtp.state_dict().items():
            own = {"post_norm.weight": "shared_head.norm.weight"}
            state[prefix + own.get(name, name.removeprefix("mtp_block."))] = x.numpy()
    return state, config


def make_prompts(seed: int, vocabulary: int, patch_size: int, image: int = IMAGE) -> list[Prompt]:
    """Random text and pixels; `image` is the placeholder's id."""
    rng = np.random.default_rng(seed)
    made = []
    for number, runs in enumerate(PROMPTS):
        prompt = Prompt()
        for run in runs:
            if isinstance(run, int):
                prompt.tokens += rng.integers(1, min(vocabulary, IMAGE), run).tolist()
                prompt.kinds += [0] * run
                continue
            frames, rows, columns = run
            for frame in range(frames):
                if frame:  # frames of a video are told apart by the text of their times
                    prompt.tokens.append(int(rng.integers(1, IMAGE)))
                    prompt.kinds.append(0)
                size = (rows * columns, 2, patch_size**2 * 3)
                pixels = rng.integers(0, 256, size, dtype=np.uint8)
                if number < len(PROMPTS) - 1:
                    pixels[:, 1] = pixels[:, 0]
                prompt.patches.append(pixels.reshape(rows * columns, -1))
                prompt.grids.append((rows, columns))
                prompt.tokens += [image] * (rows * columns // 4)
                prompt.kinds += [1 if number < len(PROMPTS) - 1 else 2] * (rows * columns // 4)
        made.append(prompt)
    return made


def model_inputs(
    prompts: list[Prompt],
    patch_size: int,
    mean: Any = OPENAI_CLIP_MEAN,
    std: Any = OPENAI_CLIP_STD,
) -> dict[str, torch.Tensor]:
    """A batch of transformers' model, padded on the left; pictures or videos, not both."""
    length = max(len(p.tokens) for p in prompts)

    def padded(rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor([[0] * (length - len(row)) + row for row in rows])

    inputs = {
        "input_ids": padded([p.tokens for p in prompts]),
        "attention_mask": padded([[1] * len(p.tokens) for p in prompts]),
        "mm_token_type_ids": padded([p.kinds for p in prompts]),
    }
    pixels = [pixel_values(x, patch_size, mean, std) for p in prompts for x in p.patches]
    if not pixels:
        return inputs
    if any(2 in p.kinds for p in prompts):
        (prompt,) = prompts
        grid = torch.tensor([[len(prompt.grids), *prompt.grids[0]]])
        return inputs | {"pixel_values_videos": torch.cat(pixels), "video_grid_thw": grid}
    grid = torch.tensor([[1, *grid] for p in prompts for grid in p.grids])
    return inputs | {"pixel_values": torch.cat(pixels), "image_grid_thw": grid}


def pixel_values(patches: np.ndarray, patch_size: int, mean: Any, std: Any) -> torch.Tensor:
    """What the processors make of these pixels: normalised, (channel, frame, row, column)."""
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    pixels = patches.reshape(-1, 2, patch_size, patch_size, 3).astype(np.float32)
    normal = (pixels / 255 - mean) / std
    return torch.from_numpy(normal.transpose(0, 4, 1, 2, 3).reshape(len(patches), -1).copy())


def run(
    model: Any,
    mtp: MtpLayer | None,
    prompts: list[Prompt],
    patch_size: int,
    mean: Any = OPENAI_CLIP_MEAN,
    std: Any = OPENAI_CLIP_STD,
) -> list[dict[str, np.ndarray]]:
    """Of each prompt: `logits`, `generated`, and `mtp` where there is such a layer."""
    results = []
    for batch in (prompts[:-1], prompts[-1:]):
        inputs = model_inputs(batch, patch_size, mean, std)
        with torch.no_grad():
            logits = model(**inputs).logits
            whole = model.generate(
                **inputs, max_new_tokens=NUM_NEW, do_sample=False, eos_token_id=None
            )
        for row, prompt in enumerate(batch):
            new = whole[row, inputs["input_ids"].shape[1] :].numpy()
            found = {"logits": logits[row, -len(prompt.tokens) :].numpy(), "generated": new}
            if mtp is not None:
                found["mtp"] = run_mtp(model, mtp, prompt, new, patch_size)
            results.append(found)
    return results


def run_mtp(
    model: Any, mtp: MtpLayer, prompt: Prompt, new: np.ndarray, patch_size: int
) -> np.ndarray:
    """Logits `[n - 1, v]` over prompt and generation, fed as transformers' MtpModel does."""
    whole = Prompt(
        prompt.tokens + new.tolist(), prompt.kinds + [0] * len(new), prompt.patches, prompt.grids
    )
    inputs = model_inputs([whole], patch_size)
    grids = {n: inputs.get(n) for n in ("image_grid_thw", "video_grid_thw")}
    language = model.model.language_model
    with torch.no_grad():
        positions, _ = model.model.get_rope_index(
            inputs["input_ids"], inputs["mm_token_type_ids"], **grids
        )
        hidden = model.model(**inputs).last_hidden_state
        e = language.embed_tokens(inputs["input_ids"][:, 1:])
        places = positions[..., 1:]
        n = e.shape[1]
        normed = mtp(
            e,
            hidden[:, :n],
            position_embeddings=language.rotary_emb(e, places),
            attention_mask=torch.full((n, n), torch.finfo(torch.float32).min).triu(1)[None, None],
            position_ids=places,
            past_key_values=None,
        )
        return model.lm_head(normed)[0].numpy()


def main() -> None:
    """One small model of each kind."""
    for kind, sizes in SIZES.items():
        model = make_model(kind, 0, **sizes)
        mtp = make_mtp(model, 0) if kind == "ocr" else None
        patch_size = sizes["vision"]["patch_size"]
        prompts = make_prompts(1, sizes["text"]["vocab_size"], patch_size)
        state, config = state_of(model, mtp)
        arrays: dict[str, Any] = {"config": json.dumps(config)}
        for i, (prompt, found) in enumerate(
            zip(prompts, run(model, mtp, prompts, patch_size), strict=True)
        ):
            arrays[f"tokens/{i}"] = np.asarray(prompt.tokens, np.int16)
            arrays[f"grids/{i}"] = np.asarray(prompt.grids, np.int16).reshape(-1, 2)
            width = 2 * patch_size**2 * 3
            arrays[f"patches/{i}"] = np.concatenate(
                [*prompt.patches, np.zeros((0, width), np.uint8)]
            )
            arrays |= {f"{name}/{i}": x for name, x in found.items()}
        path = Path(__file__).with_name(f"glm_whole_{kind}.npz")
        np.savez_compressed(path, **arrays, **as_half(state))


if __name__ == "__main__":
    main()
