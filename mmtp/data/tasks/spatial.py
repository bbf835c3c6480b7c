"""Spatial perception: sides, counts, sizes, distances and what is in front."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.tasks import scenes
from mmtp.data.tasks.example import Example, ask, say

SIDES = {"en": ("left", "right", "above", "below"), "zh": ("左边", "右边", "上面", "下面")}
_SIDE = {
    "en": ("Where is the {a} from the {b}?", "On which side of the {b} is the {a}?"),
    "zh": ("{a}在{b}的哪一边？", "{a}在{b}的什么方向？"),
}
_COUNT = {
    "en": ("How many shapes are there?", "Count the shapes."),
    "zh": ("一共有几个形状？", "请数一数形状。"),
}
_COUNT_COLOUR = {
    "en": ("How many {colour} shapes are there?", "Count the {colour} shapes."),
    "zh": ("{colour}的形状有几个？", "请数一数{colour}的形状。"),
}
_NEAREST = {
    "en": ("Which shape is nearest to the {name}?", "What is closest to the {name}?"),
    "zh": ("离{name}最近的是什么？", "哪个形状离{name}最近？"),
}
_LARGER = {
    "en": ("Which shape is larger?", "What is the larger one?"),
    "zh": ("哪个形状更大？", "大的是哪一个？"),
}
_SMALLER = {
    "en": ("Which shape is smaller?", "What is the smaller one?"),
    "zh": ("哪个形状更小？", "小的是哪一个？"),
}
_FRONT = {
    "en": ("Which shape is in front?", "What covers the other shape?"),
    "zh": ("哪个形状在前面？", "是什么挡住了另一个形状？"),
}
_BEHIND = {
    "en": ("Which shape is behind?", "What is partly covered?"),
    "zh": ("哪个形状在后面？", "被挡住的是什么？"),
}


def sides(rng: np.random.Generator, language: str, split: str) -> Example:
    """Left, right, above or below."""
    first, second, side = scenes.side_by_side(rng, scenes.different(rng, 2))
    picture = scenes.draw([first, second], (56, 56), scenes.light_ground(rng))
    question = say(rng, _SIDE, language, a=first.name(language), b=second.name(language))
    facts = scenes.facts([first, second])
    return ask(
        rng, [picture], question, SIDES[language][side], options=SIDES[language], shapes=facts
    )


def counting(rng: np.random.Generator, language: str, split: str) -> Example:
    """How many shapes: one to six, of all or of one colour."""
    count = int(rng.integers(1, 7))
    colour = pick(rng, scenes.COLOURS) if rng.random() < 0.5 else ""
    pairs = scenes.different(rng, count, "pair")
    if colour:
        others = [key for key in scenes.COLOURS if key != colour]
        pairs = [(kind, colour) for kind, _ in pairs]
        extra = int(rng.integers(0, 9 - count))
        pairs += [(pick(rng, scenes.KINDS), pick(rng, others)) for _ in range(min(extra, 3))]
        pairs = [pairs[i] for i in rng.permutation(len(pairs))]
    shapes = scenes.scatter(rng, pairs, 3)
    picture = scenes.draw(shapes, (84, 84), scenes.light_ground(rng))
    if colour:
        question = say(rng, _COUNT_COLOUR, language, colour=scenes.colour_name(colour, language))
    else:
        question = say(rng, _COUNT, language)
    options, facts = tuple("123456"), scenes.facts(shapes)
    return ask(rng, [picture], question, str(count), options=options, shapes=facts, colour=colour)


def nearest(rng: np.random.Generator, language: str, split: str) -> Example:
    """The shape nearest to another one, out of three; clearly nearer than the other."""
    while True:
        shapes = scenes.scatter(rng, scenes.different(rng, 3), 3)
        here, *others = (shapes[i] for i in rng.permutation(3))
        near, far = sorted(others, key=lambda shape: scenes.distance(here, shape))
        if scenes.distance(here, far) > 1.4 * scenes.distance(here, near):
            break
    picture = scenes.draw(shapes, (84, 84), scenes.light_ground(rng))
    question = say(rng, _NEAREST, language, name=here.name(language))
    facts = scenes.facts(shapes)
    return ask(rng, [picture], question, near.name(language), shapes=facts)


def sizes(rng: np.random.Generator, language: str, split: str) -> Example:
    """The larger or the smaller of two shapes."""
    kind = pick(rng, scenes.KINDS)
    pairs = [(kind, colour) for _, colour in scenes.different(rng, 2)]
    radii = [rng.uniform(15, 18), rng.uniform(7, 10)]
    order = rng.permutation(2)
    shapes = [
        scenes.Shape(
            *pairs[i], (21.0 + 42 * i, float(rng.integers(20, 37))), float(radii[order[i]])
        )
        for i in range(2)
    ]
    picture = scenes.draw(shapes, (84, 56), scenes.light_ground(rng))
    small, large = sorted(shapes, key=lambda shape: shape.radius)
    wanted, wordings = (large, _LARGER) if rng.random() < 0.5 else (small, _SMALLER)
    answer = wanted.name(language)
    return ask(rng, [picture], say(rng, wordings, language), answer, shapes=scenes.facts(shapes))


def depth(rng: np.random.Generator, language: str, split: str) -> Example:
    """Which of two overlapping shapes is in front."""
    kinds = ("circle", "square", "diamond")
    first, second = scenes.different(rng, 2)
    x, y = (float(v) for v in rng.integers(22, 35, 2))
    angle = rng.uniform(0, 2 * np.pi)
    shift = (round(6 * np.cos(angle)), round(6 * np.sin(angle)))
    behind = scenes.Shape(pick(rng, kinds), first[1], (x - shift[0], y - shift[1]), 14.0)
    front = scenes.Shape(pick(rng, kinds), second[1], (x + shift[0], y + shift[1]), 12.0)
    picture = scenes.draw([behind, front], (56, 56), scenes.light_ground(rng))
    wanted, wordings = (front, _FRONT) if rng.random() < 0.5 else (behind, _BEHIND)
    answer = wanted.name(language)
    facts = scenes.facts([behind, front])
    return ask(rng, [picture], say(rng, wordings, language), answer, shapes=facts)
