"""What a task draws: a conversation that ends in its answer, and how a reply to it is checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Message, Part, Text

LANGUAGES = ("en", "zh")
GRID = 1000  # coordinates are integers 0 ... GRID - 1 of the picture's width and height
YES_NO = {"en": ("yes", "no"), "zh": ("是", "否")}

Wordings = Mapping[str, Sequence[str]]  # language -> ways to say it
Pixels = UInt8[np.ndarray, "_ _ 3"]  # height, width; pictures of one call differ in them
Number = int | float
Corners = tuple[Number, Number, Number, Number]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class Example:
    """One drawn example.

    Attributes:
        messages: the last part of the last message is the answer, as text.
        tags: "answer" and "check", and "box" or "options" where they apply; see `check.py`.
    """

    messages: tuple[Message, ...]
    tags: Mapping[str, object] = field(default_factory=dict)


def answered(
    messages: Sequence[Message],
    answer: str,
    *,
    thinking: str = "",
    check: str = "exact",
    **tags: object,
) -> Example:
    """A conversation and the assistant's answer to it."""
    last = Message("assistant", (Text(answer),), thinking)
    return Example((*messages, last), {"answer": answer, "check": check, **tags})


def ask(
    rng: np.random.Generator,
    pictures: Sequence[Pixels],
    question: str,
    answer: str,
    *,
    thinking: str = "",
    check: str = "exact",
    **tags: object,
) -> Example:
    """One question about some pictures (before it, or after it one time in five)."""
    parts: list[Part] = [Image(picture) for picture in pictures]
    text = Text(question)
    parts = [text, *parts] if parts and rng.random() < 0.2 else [*parts, text]
    user = Message("user", tuple(parts))
    return answered([user], answer, thinking=thinking, check=check, **tags)


def plain(parts: Sequence[Part], answer: str, **tags: object) -> Example:
    """A document without turns, whose last stretch of text follows from what is before it."""
    message = Message("", (*parts, Text(answer)))
    return Example((message,), {"answer": answer, "check": "exact", **tags})


def say(rng: np.random.Generator, wordings: Wordings, language: str, **values: object) -> str:
    """One of the wordings, filled in."""
    return pick(rng, wordings[language]).format(**values)


def on_grid(value: Number, side: int) -> int:
    """A length in pixels of a picture's side as a coordinate 0 ... 999."""
    return min(GRID - 1, max(0, round(GRID * value / side)))


def box_on_grid(corners: Corners, picture: Pixels) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in pixels as coordinates 0 ... 999."""
    height, width = picture.shape[:2]
    left, top, right, bottom = corners
    return (
        on_grid(left, width),
        on_grid(top, height),
        on_grid(right, width),
        on_grid(bottom, height),
    )


def middle_on_grid(corners: Corners, picture: Pixels) -> tuple[int, int]:
    """The middle of a box in pixels as coordinates 0 ... 999."""
    height, width = picture.shape[:2]
    left, top, right, bottom = corners
    return on_grid((left + right) / 2, width), on_grid((top + bottom) / 2, height)


def brackets(numbers: Sequence[int]) -> str:
    """A point or a box as it is written: "[x,y]", "[x1,y1,x2,y2]"."""
    return f"[{','.join(map(str, numbers))}]"
