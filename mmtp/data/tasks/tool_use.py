"""Conversations in which the assistant looks closer, turns a picture or computes before it answers.

A call is a line <tool_call>{"name": ..., "arguments": {...}}</tool_call> of the assistant; the tool
answers in a message of role observation, with a picture or with text. Tools: zoom(box) shows a box
(0 ... 999) enlarged, rotate(degrees) turns the picture clockwise, calculate(expression).
"""

import json

import numpy as np
from PIL import Image as Pillow

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import BLACK, WHITE, mix, new_sheet, pick, pick_some
from mmtp.data.records import Image, Message, Part, Text
from mmtp.data.tasks.example import (
    Corners,
    Example,
    Pixels,
    answered,
    box_on_grid,
    say,
)
from mmtp.data.tasks.scenes import COLOURS, PALETTE, SCALE, colour_name

SYSTEM = {
    "en": "Tools: zoom(box), rotate(degrees), calculate(expression). Call a tool only if needed.",
    "zh": "工具：zoom(box)、rotate(degrees)、calculate(expression)。需要时才用。",
}
_CARD = {
    "en": ("Which number is on the {colour} card?", "Read the {colour} card."),
    "zh": ("{colour}的卡片上是什么数？", "请读出{colour}的卡片。"),
}
_TURNED = {
    "en": ("Read the word.", "What is written here?"),
    "zh": ("请读出文字。", "图里写着什么？"),
}
_PRODUCT = {
    "en": ("How much is it?", "Compute what is written.", "What is the result?"),
    "zh": ("结果是多少？", "请算一算。", "等于多少？"),
}
SIDE, FINE = 112, 4  # pixels; how much finer the picture is than what is first seen of it


def call(name: str, arguments: dict[str, object]) -> str:
    """A call as the assistant writes it."""
    written = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>{written}</tool_call>"


def _start(language: str, question: str, *pictures: Pixels) -> list[Message]:
    parts = (*(Image(picture) for picture in pictures), Text(question))
    return [Message("system", (Text(SYSTEM[language]),)), Message("user", parts)]


def _after(messages: list[Message], written: str, observed: Part) -> list[Message]:
    """The conversation after a call and what the tool gave back."""
    called = Message("assistant", (Text(written),))
    return [*messages, called, Message("observation", (observed,))]


def _cards(rng: np.random.Generator) -> tuple[Pixels, dict[str, tuple[str, Corners]]]:
    """A fine picture of cards too small to be read at SIDE; colour -> (number, box in pixels)."""
    sheet = new_sheet((SIDE * FINE, SIDE * FINE), mix(WHITE, BLACK, rng.uniform(0.02, 0.15)))
    cards: dict[str, tuple[str, Corners]] = {}
    colours = pick_some(rng, [key for key in COLOURS if key != "black"], int(rng.integers(2, 5)))
    places = rng.choice(4, len(colours), replace=False)
    for colour, place in zip(colours, places, strict=True):
        left = float(rng.integers(4, 28) + 56 * (place % 2))
        top = float(rng.integers(4, 36) + 56 * (place // 2))
        number = str(rng.integers(100, 1000))
        box = (left, top, left + 24, top + 16)
        sheet.box(_fine(box), PALETTE[colour][1])
        inner = (left + 5, top + 4.5, left + 19, top + 11.5)
        sheet.box(_fine(inner), WHITE)
        sheet.text((FINE * (left + 12), FINE * (top + 8)), number, 28, BLACK, "mm")
        cards[colour] = (number, box)
    return sheet.pixels(), cards


def _fine(corners: Corners) -> Corners:
    """In pixels of the fine picture."""
    left, top, right, bottom = corners
    return left * FINE, top * FINE, right * FINE, bottom * FINE


def _zoom(
    rng: np.random.Generator, language: str
) -> tuple[list[Message], str, Pixels, str, tuple[int, ...]]:
    """Messages before the call, the call, the enlarged card, its number, its box."""
    fine, cards = _cards(rng)
    coarse = np.array(Pillow.fromarray(fine).reduce(FINE))
    colour = pick(rng, tuple(cards))
    number, corners = cards[colour]
    box = box_on_grid(corners, coarse)
    question = say(rng, _CARD, language, colour=colour_name(colour, language))
    written = call("zoom", {"box": list(box)})
    left, top, right, bottom = (round(value) for value in _fine(corners))
    cut = Pillow.fromarray(fine[top:bottom, left:right])
    enlarged = np.array(cut.resize((84, 56), Pillow.Resampling.BILINEAR))
    return _start(language, question, coarse), written, enlarged, number, box


def zoom_calls(rng: np.random.Generator, language: str, split: str) -> Example:
    """Where to look closer: the call, whose box must frame the card."""
    messages, written, _, _, box = _zoom(rng, language)
    before, _, after = written.partition(json.dumps(list(box)))
    form = before + "{}" + after
    return answered(messages, written, check="box", box=box, form=form)


def zoom_answers(rng: np.random.Generator, language: str, split: str) -> Example:
    """What the enlarged card says."""
    messages, written, enlarged, number, _ = _zoom(rng, language)
    return answered(_after(messages, written, Image(enlarged)), number)


def rotations(rng: np.random.Generator, language: str, split: str) -> Example:
    """A word that stands upright, on its head or on its side: turned if needed, then read."""
    word = pick(rng, [w for w in texts.BUTTONS[language] if len(w) <= 5])
    ground = mix(WHITE, PALETTE[pick(rng, COLOURS)][1], float(pick(rng, (0, 0.1, 0.2))))
    sheet = new_sheet((84, 84), ground, SCALE)
    sheet.text((42, 42), word, 22, BLACK, "mm")
    upright = sheet.pixels()
    turns = int(rng.integers(4))  # quarter turns counter-clockwise of what is seen
    messages = _start(language, say(rng, _TURNED, language), np.rot90(upright, turns).copy())
    if turns:
        messages = _after(messages, call("rotate", {"degrees": 90 * turns}), Image(upright))
    return answered(messages, word)


def calculations(rng: np.random.Generator, language: str, split: str) -> Example:
    """A printed product or sum of numbers, computed by the tool; easy sums without it."""
    op = pick(rng, ("+", "-", "×"))
    easy = op != "×" and rng.random() < 0.5
    a, b = (int(n) for n in (rng.integers(1, 10, 2) if easy else rng.integers(11, 100, 2)))
    a, b = (max(a, b), min(a, b)) if op == "-" else (a, b)
    result = str({"+": a + b, "-": a - b, "×": a * b}[op])
    sheet = new_sheet((112, 28), WHITE, SCALE)
    sheet.text((56, 14), f"{a} {op} {b}", 22, PALETTE[pick(rng, ("blue", "red", "black"))][1], "mm")
    messages = _start(language, say(rng, _PRODUCT, language), sheet.pixels())
    if not easy:
        expression = f"{a} {op.replace('×', '*')} {b}"
        messages = _after(messages, call("calculate", {"expression": expression}), Text(result))
    return answered(messages, result)
