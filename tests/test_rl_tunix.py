"""The task of `benchmarks/rl_tunix_train.py`: its vocabulary, prompts and reward, without Tunix."""

import numpy as np
import pytest

from benchmarks import rl_tunix_toy as toy
from mmtp.data.tokenizer import from_json
from mmtp.models.decoder import DecoderSettings, resolve
from rl.envs import CATEGORIES, make_task
from rl.envs.environment import play
from rl.programs import rl_settings
from rl.rollout import tunix_qwen3

TOKENS = 8


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setitem(CATEGORIES, toy.NAME, toy.category(TOKENS, digits=3))
    return toy.config(tmp_path, tokens=TOKENS, group=4, groups=2, lr=1e-3, steps=3, seed=1)


def test_all_tokens_are_used_and_a_digit_is_one_of_them():
    tokenizer = from_json(toy.tokenizer_json())
    assert tokenizer.vocab_size == toy.VOCAB
    assert all(tokenizer.pieces)
    for digit in toy.DIGITS:
        assert len(tokenizer.encode(digit)) == 1
        assert not any(digit in name for name in tokenizer.special)


def test_prompts_fill_the_rows_and_replies_are_judged_by_their_share(config):
    found = rl_settings.read(config, None, "")
    category = CATEGORIES[toy.NAME]
    for seed in range(5):
        task = make_task(category, seed, 0, "en")
        assert len(found.encoder.first(task).tokens) == toy.PROMPT
        assert category.score(task, play(category, task, category.oracle(task))) == 1
        half = (task.reference["digit"] * (TOKENS // 2) + "A" * (TOKENS // 2),)
        assert category.score(task, play(category, task, half)) == 0.5
        guess = category.guess(task, np.random.default_rng(seed))
        assert category.score(task, play(category, task, guess)) in (0, 1)
        assert category.score(task, play(category, task, category.distractors(task)[0])) == 0


def test_the_run_is_on_policy_grpo_of_fixed_lengths_on_a_qwen3(config):
    found = rl_settings.read(config, None, "")
    assert found.algorithm.preset == "grpo"
    assert found.algorithm.kl_weight == 0
    assert found.algorithm.aggregation == "seq_mean_token_mean"
    assert found.rollout.max_staleness == 0
    assert found.sampling.stop == (toy.NEVER,)
    assert found.packing.rows == found.engine_settings.rows == 8
    tunix_qwen3.check(found.model.decoder)
    alone = resolve(DecoderSettings(size="tiny", **toy.DECODER))
    assert alone == found.model.decoder
