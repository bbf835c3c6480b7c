"""Whole GLM models equal transformers': logits, greedy generation, drafts (golden arrays)."""

import dataclasses

import jax
import numpy as np
import pytest

from mmtp.generate import Engine, EngineSettings, make_request
from mmtp.interop.glm import load_glm
from tests.mmtp.interop import glm_cases

KINDS = ("ocr", "4v", "4v_moe")


@pytest.fixture(scope="module", params=KINDS)
def case(request, tmp_path_factory):
    """(golden arrays, folder of the checkpoint)."""
    golden = glm_cases.load_golden(request.param)
    folder = tmp_path_factory.mktemp("glm") / request.param
    return golden, glm_cases.write_checkpoint(folder, golden)


def test_logits_of_pictures_text_and_video(case):
    golden, folder = case
    model, params = load_glm(folder)
    prompts = glm_cases.golden_prompts(golden)
    for left in (True, False):  # padded on the left and on the right
        for i, got in enumerate(glm_cases.logits(model, params, prompts, left)):
            np.testing.assert_allclose(got, golden[f"logits/{i}"], **glm_cases.TOLERANCE)


def generate(golden, folder, num_draft, **conventions):
    model, params = load_glm(folder)
    model = dataclasses.replace(model, mtp=dataclasses.replace(model.mtp, **conventions))
    settings = EngineSettings(
        rows=4, max_length=64, buckets=(), vision_length=64, num_draft=num_draft
    )
    prompts = enumerate(glm_cases.golden_prompts(golden))
    requests = [make_request(i, prompt, max_new_tokens=20) for i, prompt in prompts]
    with jax.default_matmul_precision("highest"):
        return Engine(model, params, settings).generate(requests)


@pytest.mark.slow
def test_greedy_generation(case):
    golden, folder = case
    for i, completion in enumerate(generate(golden, folder, num_draft=0)):
        np.testing.assert_array_equal(completion.tokens, golden[f"generated/{i}"])


@pytest.fixture(scope="module")
def ocr(tmp_path_factory):
    golden = glm_cases.load_golden("ocr")
    return golden, glm_cases.write_checkpoint(tmp_path_factory.mktemp("ocr") / "files", golden)


def test_in_bfloat16_logits_point_the_same_way(ocr):
    golden, folder = ocr
    model, params = load_glm(folder, "bfloat16")
    assert {str(x.dtype) for x in jax.tree.leaves(params)} == {"bfloat16"}
    found = glm_cases.logits(model, params, glm_cases.golden_prompts(golden), left=True)
    for i, got in enumerate(found):
        want = golden[f"logits/{i}"]
        cosine = np.sum(got * want) / np.linalg.norm(got) / np.linalg.norm(want)
        assert cosine > 0.999


def test_multi_token_prediction(ocr):
    golden, folder = ocr
    model, params = load_glm(folder)
    assert model.mtp.depth == 1
    prompts = [
        glm_cases.longer(prompt, golden[f"generated/{i}"])
        for i, prompt in enumerate(glm_cases.golden_prompts(golden))
    ]
    settings = dataclasses.replace(model.mtp, conventions="hf")
    for i, got in enumerate(glm_cases.mtp_logits(model, params, prompts, settings)):
        np.testing.assert_allclose(got, golden[f"mtp/{i}"], **glm_cases.TOLERANCE)


def test_drafts_are_verified_as_the_released_layer_predicts(ocr):
    golden, folder = ocr
    for i, done in enumerate(generate(golden, folder, num_draft=1, conventions="hf")):
        new, start = golden[f"generated/{i}"], len(golden[f"tokens/{i}"])
        np.testing.assert_array_equal(done.tokens, new)
        # Row j of the layer's logits is fed token j + 1 and predicts token j + 2.
        drafts = golden[f"mtp/{i}"].argmax(axis=-1)
        expected, count = [], 1
        while count < len(new) - 1:
            accepted = int(drafts[start + count - 2] == new[count])
            expected.append([count, 1, accepted])
            count += 1 + accepted
        np.testing.assert_array_equal(done.drafts, expected)
