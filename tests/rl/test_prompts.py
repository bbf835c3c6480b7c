"""Prompts that grow turn by turn are the conversation's own, token by token."""

import asyncio

import numpy as np
import pytest

from mmtp.data.chat import ChatSettings
from mmtp.data.documents import encode_prompt
from mmtp.data.images import ImageSettings
from mmtp.data.tokenizer import load_tokenizer
from rl.conversation import conversation, demonstration
from rl.envs import CATEGORIES
from rl.envs.category import make_task
from rl.envs.environment import Environment
from rl.prompts import Encoder, whole
from rl.types import Action, Observation, Turn

IMAGES = ImageSettings(patch_size=14, min_patches=4, max_patches=96)
TOKENIZER = load_tokenizer("")


def encoder(thinking=None):
    return Encoder(TOKENIZER, IMAGES, ChatSettings(thinking=thinking))


TASK = make_task(CATEGORIES["maze"], 4, 0, "en")


@pytest.mark.parametrize("name", ["maze", "sokoban", "picture_tools", "gui_web"])
def test_a_second_turn_is_that_of_the_whole_conversation(name):
    category = CATEGORIES[name]
    task = make_task(category, 4, 0, "en")
    made = encoder(thinking=False)
    environment = Environment(category)
    environment.begin(task)
    reply = category.oracle(task)[0]

    async def step():
        return await environment.step(reply)

    seen, done = asyncio.run(step())
    assert not done
    first = made.first(task)
    expected = encode_prompt(
        conversation(task, environment.rollout.turns, seen),
        TOKENIZER,
        IMAGES,
        ChatSettings(thinking=False),
    )
    # What is between the first prompt and the next turn's role is what was said.
    role = TOKENIZER.id(f"<|{seen.role}|>")
    stop = len(first.tokens) + list(expected.tokens[len(first.tokens) :]).index(role)
    drawn = [int(t) for t in expected.tokens[len(first.tokens) : stop + 1]]
    for ending in (drawn, [*drawn[:-1], TOKENIZER.id("<|endoftext|>")]):
        found = made.following(first, ending, seen)
        if ending is drawn:
            np.testing.assert_array_equal(found.tokens, expected.tokens)
            for one, other in zip(found.visuals, expected.visuals, strict=True):
                assert (one.start, one.grid, one.video) == (other.start, other.grid, other.video)
                np.testing.assert_array_equal(one.patches, other.patches)
        else:  # a wrong ending stays, and the role follows
            assert len(found.tokens) == len(expected.tokens) + 1
            assert found.tokens[stop] == TOKENIZER.id("<|endoftext|>")
            assert found.tokens[stop + 1] == role
    assert made.text(drawn) == reply


def test_the_row_trains_what_was_said_and_nothing_else():
    made = encoder()
    prompt = made.first(TASK)
    reply = [5, 6, 7]
    row = whole(prompt, reply, [(len(prompt.tokens), len(prompt.tokens) + 3)])
    assert row.supervised.sum() == 3
    assert row.supervised[-3:].all()
    np.testing.assert_array_equal(row.tokens[-3:], reply)


def test_tools_are_listed_first_and_turns_follow():
    task = make_task(CATEGORIES["picture_tools"], 4, 0, "en")
    messages = conversation(task)
    assert [m.role for m in messages] == ["system", "user"]
    longer = conversation(task, (Turn(task.observation, Action("x")),), Observation((), "user"))
    assert [m.role for m in longer] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("name", ["attributes", "maze", "picture_tools"])
def test_a_demonstration_ends_with_the_right_reply(name):
    category = CATEGORIES[name]
    task = make_task(category, 4, 0, "en")
    document = demonstration(category, task)
    assert document.messages[-1].role == "assistant"
    assert document.messages[-1].parts[0].text == category.oracle(task)[-1]
    assert document.tags["source"] == name
