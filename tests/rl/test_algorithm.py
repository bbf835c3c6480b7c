"""`config.algorithm`: presets, what is given beside them, and what is refused by name."""

import pytest

from cogvit_jax.settings import ConfigError
from rl import algorithm
from rl.losses.settings import AlgorithmSettings


@pytest.mark.parametrize("name", algorithm.PRESETS)
def test_presets_are_valid_and_set_what_they_say(name):
    found = algorithm.read({"preset": name})
    assert found.preset == name
    for field, value in algorithm.PRESETS[name].items():
        assert getattr(found, field) == value


def test_the_default_is_grpo():
    assert algorithm.read({}) == algorithm.read({"preset": "grpo"})
    assert algorithm.read({}).kl_weight == 0.04


def test_fields_that_are_given_win_and_none_leaves_the_presets():
    found = algorithm.read({"preset": "dapo", "clip_high": 0.5, "aggregation": None, "gamma": 1})
    assert (found.clip_high, found.aggregation, found.gamma) == (0.5, "token_mean", 1.0)
    assert found.dynamic_sampling


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"preset": "dappo"},
            r"config.algorithm.preset = 'dappo' is not known. Did you mean 'dapo'",
        ),
        ({"clip_hihg": 0.3}, r"config.algorithm.clip_hihg is not known. Did you mean 'clip_high'"),
        ({"objective": "pppo"}, r"objective = 'pppo' is not known. Did you mean 'ppo'"),
        ({"advantage": "gae"}, r"config.algorithm.advantage = 'gae' is not known"),
        ({"aggregation": "mean"}, r"config.algorithm.aggregation = 'mean' is not known"),
        ({"proximal": "new"}, r"config.algorithm.proximal = 'new' is not known"),
        ({"kl_in": "reward"}, r"config.algorithm.kl_in = 'reward' is not known"),
        ({"clip_low": 1.5}, r"clip_low = 1.5 must be from 0 to 1"),
        ({"clip_high": -0.1}, r"clip_high = -0.1 must be at least 0"),
        ({"objective": "cispo_absolute"}, r"clip_high = 0.2 must be at least 1"),
        ({"dual_clip": 1.0}, r"dual_clip = 1.0 must be above 1, such as 3"),
        ({"overlong_buffer": 30000}, r"overlong_buffer = 30000 must be from 0 to 20480"),
        ({"correction": "tis"}, r"correction = 'tis' compares .* set proximal to 'old'"),
        ({"rejection": "geometric"}, r"rejection = 'geometric' compares"),
        ({"rejection_low": 3.0}, r"rejection_low = 3.0 must be from 0 to 2.0"),
        ({"gamma": 0.9}, r"gamma = 0.9 has no meaning with advantage = 'grpo'"),
        ({"kl_ratio": True, "kl_in": "advantage"}, r"kl_ratio needs kl_in = 'loss'"),
        ({"advantage": "none"}, r"advantage = 'none' teaches nothing"),
        ({"distill_weights": (-1.0,)}, r"distill_weights = \(-1.0,\) must be 0 or more"),
        ({"max_tokens": 0}, r"max_tokens = 0 must be at least 1"),
        ({"updates": 0}, r"updates = 0 must be at least 1"),
        ({"preset": "rloo", "updates": 2}, r"updates = 2: .* Set proximal to 'old', 'rollout'"),
        ({"topk_distill": 0}, r"topk_distill = 0 must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(section, message):
    with pytest.raises(ConfigError, match=message):
        algorithm.read(section)


def test_every_field_is_described():
    for field in AlgorithmSettings.__dataclass_fields__:
        assert field in AlgorithmSettings.__doc__
