"""Rollouts and settings that the tests of rewards share."""

import numpy as np

from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.types import Action, Observation, Rollout, Task, Turn


def task(number=0, answer="4", source="open", category="open", language="en", side=16):
    pixels = np.full((side, side, 3), number % 251, np.uint8)
    return Task(
        id=f"open/0/{number:06d}-{language}",
        category=category,
        source=source,
        level="step",
        seed=number,
        difficulty=0,
        language=language,
        observation=Observation((Image(pixels), Text(f"Question {number}: how many?"))),
        reference={"answer": answer},
    )


def rollout(reply="4", number=0, boxes=True, tokens=0, **fields):
    about = task(number, **fields)
    text = boxed(reply) if boxes else reply
    action = Action(text, tokens=tuple(range(tokens)))
    return Rollout(about, (Turn(about.observation, action),))


def endpoint(url, **fields):
    return {
        "url": url,
        "model": "fake",
        "concurrency": 8,
        "seconds": 30.0,
        "deadline": 120.0,
        "attempts": 5,
        "backoff": 0.01,
        "most_backoff": 0.02,
        "breaker_failures": 100,
        "breaker_seconds": 0.1,
    } | fields


def config(url, judge=None, aggregation="first", verifiers=("judge:it",), endpoints=None, **fields):
    """`config.rewards` with one judge, "judge:it", at a URL."""
    return {
        "recipes": {"all": {"aggregation": aggregation, "verifiers": verifiers}},
        "sources": (("*", "all"),),
        "endpoints": {"fake": endpoint(url, **(endpoints or {}))},
        "judges": {"it": {"seats": ("fake",)} | (judge or {})},
    } | fields
