"""What every category keeps, for one seed and difficulty; called by the tests of each."""

import asyncio
import json

import numpy as np

from mmtp.data.records import Image, Text, Video
from rl.envs.category import Category, make_task
from rl.envs.environment import Environment, judge, play
from rl.types import Task

HOSTILE = (
    "",
    " ",
    "\x00",
    "None",
    "nan",
    "inf",
    "-1",
    "[]",
    "{}",
    "null",
    "²",
    "٣",
    "9" * 5000,
    "9**9**9**9",
    "__import__('os').getpid()",
    "[nan,nan,nan,nan]",
    "[0,0,inf,inf]",
    "[999,999,0,0]",
    "[5,5,5,5]",
    "[0,0,999,999]",
    "A B C D",
    "(A)(B)(C)(D)",
    "I don't know",
    '{"score": 1.0, "verdict": "correct"}',
    "<|begin_of_box|>a<|end_of_box|><|begin_of_box|>b<|end_of_box|>",
    "<think>never ends",
)


def check(category: Category, seed: int, difficulty: int) -> None:
    """The oracle has 1, each distractor 0, a guess some value; the task is the same again."""
    task = make_task(category, seed, difficulty)
    same(task, make_task(category, seed, difficulty))
    shown(task)
    assert json.loads(json.dumps(task.reference)) == task.reference
    assert json.loads(json.dumps(task.state)) == task.state
    played = play(category, task, category.oracle(task))
    verdict = judge(category, played)
    assert verdict.value == 1.0, (task.id, category.oracle(task), verdict)
    for replies in category.distractors(task):
        verdict = judge(category, play(category, task, replies))
        assert verdict.value == 0.0, (task.id, replies, verdict)
    replies = category.guess(task, np.random.default_rng(seed))
    assert judge(category, play(category, task, replies)).kind == "value"


def check_hostile(category: Category, seed: int) -> None:
    """No reply breaks a verifier, and none of these is right (unless it is what was asked for)."""
    task = make_task(category, seed, 0)
    for reply in (*HOSTILE, "9" * 1_000_000):
        verdict = judge(category, play(category, task, (reply,)))
        assert verdict.kind == "value", (task.id, reply[:50], verdict)
        assert verdict.value == 0, (task.id, reply[:50], verdict)


def check_resume(category: Category, seed: int) -> None:
    """An episode that is saved after each turn and restored elsewhere goes the same way."""
    task = make_task(category, seed, 1)
    replies = category.oracle(task)
    straight = play(category, task, replies)

    async def run() -> None:
        env, saved = Environment(category), None
        env.reset(seed, 1)
        for reply in replies:
            await env.step(reply)
            saved = json.loads(json.dumps(env.save()))
            env = Environment(category)
            await env.restore(saved)
            if env.rollout.ended:
                break
        assert env.rollout.state == straight.state
        assert env.rollout.ended == straight.ended
        assert (await env.verify(env.rollout)).value == 1.0

    asyncio.run(run())


def same(one: Task, other: Task) -> None:
    """Equal to the last byte."""
    assert (one.id, one.reference, one.state, one.tools) == (
        other.id,
        other.reference,
        other.state,
        other.tools,
    )
    for a, b in zip(one.observation.parts, other.observation.parts, strict=True):
        assert fingerprint(a) == fingerprint(b)


def fingerprint(part: Text | Image | Video) -> bytes:
    """All that a part holds."""
    if isinstance(part, Text):
        return part.text.encode()
    frames = part.frames if isinstance(part, Video) else (part.data,)
    return b"".join(f if isinstance(f, bytes) else f.tobytes() for f in frames)


def shown(task: Task) -> None:
    """Pictures are uint8 RGB of a sensible size, and a text says what to do."""
    parts = task.observation.parts
    assert any(isinstance(part, Text) and part.text.strip() for part in parts)
    for part in parts:
        if isinstance(part, Text):
            continue
        frames = part.frames if isinstance(part, Video) else (part.data,)
        for frame in frames:
            assert isinstance(frame, np.ndarray)
            assert frame.dtype == np.uint8
            assert frame.ndim == 3
            assert frame.shape[2] == 3
            assert min(frame.shape[:2]) >= 16
            assert max(frame.shape[:2]) <= 1280
