"""Short clips: motion, blinking, the order of colours, and when something appears."""

from typing import Any

import numpy as np

from cogvit_jax.data.rendering.canvas import pick_some
from mmtp.data.records import Message, Text, Video
from mmtp.data.tasks import scenes
from mmtp.data.tasks.example import Example, Pixels, answered, say

WAYS = {"en": ("left", "right", "up", "down"), "zh": ("向左", "向右", "向上", "向下")}
_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))
_WAY = {
    "en": ("Which way does the {name} move?", "In which direction does the {name} go?"),
    "zh": ("{name}向哪个方向动？", "{name}往哪边走？"),
}
_BLINKS = {
    "en": ("How often does the {name} light up?", "Count how many times the {name} appears."),
    "zh": ("{name}亮了几次？", "请数一数{name}出现了几次。"),
}
_ORDER = {
    "en": ("List the colours in order.", "Which colours follow each other?"),
    "zh": ("请按先后说出颜色。", "颜色的先后次序是什么？"),
}
_WHEN = {
    "en": ("At which second does the {name} appear?", "When is the {name} first seen?"),
    "zh": ("{name}在第几秒出现？", "第几秒开始看到{name}？"),
}


def _clip(frames: list[Pixels], question: str, answer: str, **tags: Any) -> Example:
    """A clip with a frame every second."""
    seconds = tuple(float(i) for i in range(len(frames)))
    user = Message("user", (Video(tuple(frames), seconds), Text(question)))
    return answered([user], answer, **tags)


def motion(rng: np.random.Generator, language: str, split: str) -> Example:
    """A shape moves one way, evenly, over four frames."""
    way = int(rng.integers(4))
    kind, colour = scenes.different(rng, 1)[0]
    travel, across = float(rng.integers(8, 12)), float(rng.integers(12, 45))
    start = 28 - 1.5 * travel + float(rng.integers(-3, 4))
    ground, shapes = scenes.light_ground(rng), []
    for frame in range(4):
        along = start + travel * frame if way % 2 else 56 - start - travel * frame
        middle = (along, across) if way < 2 else (across, along)
        shapes.append(scenes.Shape(kind, colour, middle, 8.0))
    frames = [scenes.draw([shape], (56, 56), ground) for shape in shapes]
    question = say(rng, _WAY, language, name=shapes[0].name(language))
    facts = tuple(scenes.facts([shape]) for shape in shapes)
    return _clip(frames, question, WAYS[language][way], options=WAYS[language], scenes=facts)


def blinking(rng: np.random.Generator, language: str, split: str) -> Example:
    """A shape is seen one to three times in six frames, never in two on end."""
    count = int(rng.integers(1, 4))
    places = np.sort(rng.choice(6 - count + 1, count, replace=False)) + np.arange(count)
    shape = scenes.scatter(rng, scenes.different(rng, 1), 1, (12, 18), 56)[0]
    ground = scenes.light_ground(rng)
    frames = [scenes.draw([shape] if i in places else [], (56, 56), ground) for i in range(6)]
    question = say(rng, _BLINKS, language, name=shape.name(language))
    facts = tuple(scenes.facts([shape] if i in places else []) for i in range(6))
    return _clip(frames, question, str(count), options=("1", "2", "3"), scenes=facts)


def order(rng: np.random.Generator, language: str, split: str) -> Example:
    """One shape in four colours, one after the other."""
    shape = scenes.scatter(rng, scenes.different(rng, 1), 1, (14, 20), 56)[0]
    colours = pick_some(rng, scenes.COLOURS, 4)
    shapes = [scenes.Shape(shape.kind, key, shape.middle, shape.radius) for key in colours]
    ground = scenes.light_ground(rng)
    frames = [scenes.draw([one], (56, 56), ground) for one in shapes]
    names = [scenes.colour_name(key, language) for key in colours]
    answer = {"en": ", ".join, "zh": "，".join}[language](names)
    facts = tuple(scenes.facts([one]) for one in shapes)
    return _clip(frames, say(rng, _ORDER, language), answer, scenes=facts)


def appearing(rng: np.random.Generator, language: str, split: str) -> Example:
    """A second shape is there from some second on."""
    first, second = scenes.scatter(rng, scenes.different(rng, 2))
    if rng.random() < 0.5:
        first, second = second, first
    when = int(rng.integers(1, 6))
    ground = scenes.light_ground(rng)
    shown = [[first] if i < when else [first, second] for i in range(6)]
    frames = [scenes.draw(shapes, (56, 56), ground) for shapes in shown]
    question = say(rng, _WHEN, language, name=second.name(language))
    facts = tuple(scenes.facts(shapes) for shapes in shown)
    return _clip(frames, question, str(when), options=tuple("12345"), scenes=facts)
