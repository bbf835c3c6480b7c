"""Whole vision-language models against transformers', at sizes nearer to the released ones."""

import dataclasses

import jax
import numpy as np
import pytest

pytest.importorskip("transformers")

import transformers

from mmtp.data import chat
from mmtp.data.chat import ChatSettings
from mmtp.data.documents import encode_prompt
from mmtp.data.images import ImageSettings
from mmtp.data.records import Message, Text
from mmtp.data.tokenizer import load_tokenizer
from mmtp.generate import Engine, EngineSettings, make_request
from mmtp.interop.glm import load_glm
from mmtp.interop.glm_save import save_glm
from tests.golden import make_glm_ocr_whole as theirs
from tests.mmtp import tiny_vlm
from tests.mmtp.interop import glm_cases

pytestmark = pytest.mark.parity
TEXT = {"hidden_size": 256, "num_hidden_layers": 4, "vocab_size": 512, "num_attention_heads": 8}
VISION = {"hidden_size": 128, "num_heads": 4, "depth": 4, "intermediate_size": 256}
# At these sizes transformers' logits in f32 differ from its own in f64 by 1.6e-5 (4v, seed 7), and
# ours by 1.2e-5: 1e-5, which the golden arrays are held to, is below the oracle's rounding.
TOLERANCE = {"atol": 5e-5, "rtol": 1e-5}
SIZES = {
    "ocr": {
        "text": TEXT
        | {"intermediate_size": 512, "num_key_value_heads": 4, "head_dim": 64}
        | {"mrope_section": [8, 12, 12], "partial_rotary_factor": 1.0},
        "vision": VISION | {"patch_size": 14},
    },
    "4v": {
        "text": TEXT
        | {"intermediate_size": 512, "num_key_value_heads": 2}
        | {"mrope_section": [2, 3, 3], "partial_rotary_factor": 0.5},
        "vision": VISION | {"patch_size": 14},
    },
    "4v_moe": {
        "text": TEXT
        | {"intermediate_size": 256, "num_key_value_heads": 2, "head_dim": 32}
        | {"mrope_section": [2, 3, 3], "partial_rotary_factor": 0.5}
        | {"n_routed_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 64}
        | {"routed_scaling_factor": 1.0, "n_shared_experts": 1, "first_k_dense_replace": 1},
        "vision": VISION | {"patch_size": 14},
    },
}


def as_ours(prompt, image=glm_cases.IMAGE):
    width = prompt.patches[0].shape[-1] if prompt.patches else 1176
    return glm_cases.make_prompt(
        np.asarray(prompt.tokens),
        np.concatenate([*prompt.patches, np.zeros((0, width), np.uint8)]),
        np.asarray(prompt.grids, np.int32).reshape(-1, 2),
        image,
    )


@pytest.mark.parametrize("kind", SIZES)
def test_larger_models(kind, tmp_path):
    sizes, size = SIZES[kind], SIZES[kind]["vision"]["patch_size"]
    model = theirs.make_model(kind, 7, **sizes)
    layer = theirs.make_mtp(model, 7) if kind == "ocr" else None
    prompts = theirs.make_prompts(8, sizes["text"]["vocab_size"], size)
    wanted = theirs.run(model, layer, prompts, size)
    state, config = theirs.state_of(model, layer)
    ours, params = load_glm(glm_cases.write_files(tmp_path / "files", state, config))
    asked = list(map(as_ours, prompts))
    found = glm_cases.logits(ours, params, asked, left=True)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want["logits"], **TOLERANCE)
    half = load_glm(tmp_path / "files", "bfloat16")
    for got, want in zip(glm_cases.logits(*half, asked, left=False), wanted, strict=True):
        cosines = cosine(got, want["logits"])
        # Near ties of the router fall otherwise in bfloat16, and such a token goes elsewhere.
        assert (np.median(cosines) if kind == "4v_moe" else cosines.min()) > 0.999
    check_generation(ours, params, asked, wanted)
    if layer is not None:
        longer = [glm_cases.longer(p, w["generated"]) for p, w in zip(asked, wanted, strict=True)]
        settings = dataclasses.replace(ours.mtp, conventions="hf")
        drafts = glm_cases.mtp_logits(ours, params, longer, settings)
        for got, want in zip(drafts, wanted, strict=True):
            np.testing.assert_allclose(got, want["mtp"], **TOLERANCE)


def cosine(a, b):
    """Of each row."""
    return np.sum(a * b, axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def check_generation(model, params, asked, wanted):
    drafts = 2 * bool(model.mtp.depth)
    settings = EngineSettings(4, max_length=64, buckets=(), vision_length=64, num_draft=drafts)
    requests = [make_request(i, p, max_new_tokens=20) for i, p in enumerate(asked)]
    with jax.default_matmul_precision("highest"):
        done = Engine(model, params, settings).generate(requests)
    for completion, want in zip(done, wanted, strict=True):
        np.testing.assert_array_equal(completion.tokens, want["generated"])


def test_transformers_loads_ours(tmp_path):
    tokenizer = load_tokenizer()
    model = tiny_vlm.model(tokenizer.vocab_size, tokenizer.id("<|image|>"), depth=1)
    decoder = dataclasses.replace(model.decoder, tied=False)
    statistics = {"pixel_mean": (0.4, 0.5, 0.6), "pixel_std": (0.2, 0.25, 0.3)}
    vision = model.vision.clone(**statistics)
    model = dataclasses.replace(model, decoder=decoder, vision=vision, patch_dim=96)
    params = jax.tree.map(lambda x: x / 8, glm_cases.random_params(model))
    save_glm(tmp_path / "ours", model, params, tokenizer_json="", images=ImageSettings())
    found, report = transformers.GlmOcrForConditionalGeneration.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    assert all(".layers.2." in name for name in report["unexpected_keys"])
    assert found.config.image_token_id == model.image_token
    assert found.generation_config.eos_token_id == [tokenizer.id(name) for name in chat.STOPS]
    check_tokens(tmp_path / "ours", tokenizer)
    prompts = theirs.make_prompts(3, tokenizer.vocab_size, 4, model.image_token)
    mean, std = (np.asarray(x, np.float32) for x in statistics.values())
    wanted = theirs.run(found.eval(), None, prompts, 4, mean, std)
    asked = [as_ours(p, model.image_token) for p in prompts]
    for got, want in zip(glm_cases.logits(model, params, asked, True), wanted, strict=True):
        np.testing.assert_allclose(got, want["logits"], **TOLERANCE)


def check_tokens(folder, tokenizer):
    """transformers' tokenizer and our template make the prompts that we make."""
    other = transformers.AutoTokenizer.from_pretrained(folder)
    talk = [
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Was ist 2 + 2?\n\n"),)),
        Message("assistant", (Text(" vier "),), thinking="hm"),
        Message("user", (Text("Und 3 + 3?"),)),
    ]
    turns = [
        {
            "role": m.role,
            "content": [{"type": "text", "text": m.parts[0].text}],
            "reasoning_content": m.thinking,
        }
        for m in talk
    ]
    for thinking in (None, False):
        options = {} if thinking is None else {"enable_thinking": thinking}
        settings = ChatSettings(thinking=thinking)
        shown = other.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, **options
        )
        assert shown == chat.spell(chat.render(talk, settings, generation_prompt=True))
        ids = encode_prompt(talk, tokenizer, ImageSettings(), settings).tokens
        assert other(shown, add_special_tokens=False)["input_ids"] == ids.tolist()
