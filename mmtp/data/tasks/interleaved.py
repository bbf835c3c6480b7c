"""Several pictures with text between them."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Message, Part, Text
from mmtp.data.tasks import scenes
from mmtp.data.tasks.example import Example, Pixels, answered, plain, say

_NUMBERED = {"en": "Picture {}:", "zh": "图{}："}
_WHICH = {
    "en": ("Which picture has a {name}?", "In which picture is the {name}?"),
    "zh": ("哪张图里有{name}？", "{name}在第几张图里？"),
}
_BEFORE_AFTER = {"en": ("Before:", "After:"), "zh": ("之前：", "之后：")}
_CHANGED = {
    "en": ("Which colour did the {kind} change to?", "What is the new colour of the {kind}?"),
    "zh": ("{kind}变成了什么颜色？", "{kind}的新颜色是什么？"),
}
_NEXT = {
    "en": ("How many dots come next?", "Continue: how many dots has the next picture?"),
    "zh": ("下一张有几个点？", "接下来是几个点？"),
}
_DOTS = {"en": "{} dots,", "zh": "{}个点，"}


def which_picture(rng: np.random.Generator, language: str, split: str) -> Example:
    """The number of the picture that has a shape."""
    count = int(rng.integers(2, 4))
    pairs = scenes.different(rng, 2 * count, "pair")
    parts: list[Part] = []
    scene: list[list[scenes.Shape]] = []
    for i in range(count):
        shapes = scenes.scatter(rng, pairs[2 * i : 2 * i + 2])
        scene.append(shapes)
        parts += [Text(_NUMBERED[language].format(i + 1)), Image(_small(rng, shapes))]
    which = int(rng.integers(count))
    name = pick(rng, scene[which]).name(language)
    parts.append(Text(say(rng, _WHICH, language, name=name)))
    options = tuple(str(i + 1) for i in range(count))
    facts = tuple(scenes.facts(shapes) for shapes in scene)
    user = Message("user", tuple(parts))
    return answered([user], str(which + 1), options=options, scenes=facts)


def captions(rng: np.random.Generator, language: str, split: str) -> Example:
    """A plain document without turns: two or three pictures, each followed by what it shows."""
    parts: list[Part] = []
    facts, caption = [], ""
    for _ in range(int(rng.integers(2, 4))):
        if caption:
            parts.append(Text(caption))
        shapes = scenes.scatter(rng, scenes.different(rng, int(rng.integers(1, 3))))
        facts.append(scenes.facts(shapes))
        parts.append(Image(_small(rng, shapes)))
        names = [shape.name(language, article=True) for shape in shapes]
        caption = {"en": " and ".join, "zh": "和".join}[language](names)
        caption = caption[0].upper() + caption[1:] + {"en": ".", "zh": "。"}[language]
    return plain(parts, caption, scenes=tuple(facts))


def changes(rng: np.random.Generator, language: str, split: str) -> Example:
    """The colour that one of the shapes has in the second of two pictures."""
    shapes = scenes.scatter(rng, scenes.different(rng, int(rng.integers(2, 4)), "kind"))
    which = int(rng.integers(len(shapes)))
    old = shapes[which]
    colour = pick(rng, [key for key in scenes.COLOURS if key != old.colour])
    changed = list(shapes)
    changed[which] = scenes.Shape(old.kind, colour, old.middle, old.radius)
    ground = scenes.light_ground(rng)
    parts: list[Part] = []
    for word, scene in zip(_BEFORE_AFTER[language], (shapes, changed), strict=True):
        parts += [Text(word), Image(scenes.draw(scene, (56, 56), ground))]
    kind = scenes.SHAPES[old.kind].of(language)
    parts.append(Text(say(rng, _CHANGED, language, kind=kind)))
    options = tuple(scenes.colour_name(key, language) for key in scenes.COLOURS)
    facts = (scenes.facts(shapes), scenes.facts(changed))
    user = Message("user", tuple(parts))
    answer = scenes.colour_name(colour, language)
    return answered([user], answer, options=options, scenes=facts)


def sequences(rng: np.random.Generator, language: str, split: str) -> Example:
    """Three pictures of dots whose number rises or falls evenly: the next number."""
    step = int(pick(rng, (-2, -1, 1, 2)))
    first = int(rng.integers(max(1, 1 - 3 * step), min(9, 9 - 3 * step) + 1))
    numbers = [first + step * i for i in range(4)]
    colour = pick(rng, scenes.COLOURS)
    ground, parts = scenes.light_ground(rng), []
    for number in numbers[:3]:
        dots = scenes.scatter(rng, [("circle", colour)] * number, 3, (5, 5), 18)
        parts.append(Image(scenes.draw(dots, (56, 56), ground)))
        if rng.random() < 0.5:
            parts.append(Text(_DOTS[language].format(number)))
    parts.append(Text(say(rng, _NEXT, language)))
    return answered([Message("user", tuple(parts))], str(numbers[3]), numbers=tuple(numbers))


def _small(rng: np.random.Generator, shapes: list[scenes.Shape]) -> Pixels:
    return scenes.draw(shapes, (56, 56), scenes.light_ground(rng))
