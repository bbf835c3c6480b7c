"""Tasks that are played outside of training: what an engine cannot answer is no reward of 0."""

import asyncio
import math

import pytest

from mmtp.data.chat import ChatSettings
from mmtp.data.images import ImageSettings
from mmtp.data.tokenizer import load_tokenizer
from rl.envs import CATEGORIES, make_task
from rl.envs.environment import judge
from rl.prompts import Encoder
from rl.rollout.playing import play_all
from rl.rollout.protocol import Told
from rl.rollout.sampling import SamplingSettings

TOKENIZER = load_tokenizer("")


class Engine:
    """Answers every task rightly; the second one's numbers are broken."""

    def __init__(self, replies, broken):
        self._replies, self._broken = replies, broken

    async def generate(self, ask):
        number = int(ask.group)
        tokens = (*TOKENIZER.encode(self._replies[number]), ask.stop[0])
        logprobs = (-1.0,) * len(tokens)
        told = {"finish_reason": "stop"}
        if number == 1:
            told |= self._broken
            logprobs = told.pop("logprobs", logprobs)[: len(tokens)]
        versions = (0,) * len(tokens)
        return Told(ask.sample, ask.turn, ask.attempt, tokens, logprobs, logprobs, versions, **told)


async def verdict(rollout):
    return judge(CATEGORIES[rollout.task.category], rollout)


@pytest.mark.parametrize(
    "broken",
    [
        {"finish_reason": "error", "error": "the next token's logits are not finite"},
        {"logprobs": (math.nan,) * 99},
    ],
)
def test_what_an_engine_cannot_answer_is_not_judged(broken):
    category = CATEGORIES["counting"]
    tasks = [make_task(category, seed, 0, "en") for seed in range(3)]
    engine = Engine([category.oracle(task)[0] for task in tasks], broken)
    encoder = Encoder(TOKENIZER, ImageSettings(14, 4, 96), ChatSettings())
    sampling = SamplingSettings(max_new_tokens=24, max_length=200, stop=encoder.stop)
    pairs = [(category, task) for task in tasks]
    played = asyncio.run(play_all(pairs, encoder, engine, sampling, verdict, 0))
    assert [found.value for _, found in played] == [1.0, None, 1.0]
    assert played[1][1].kind == "error"
    assert "not finite" in played[1][1].reason
