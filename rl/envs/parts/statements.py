"""True and false sentences about coloured shapes of a picture, no two of which are alike."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.tasks import scenes

Rng = np.random.Generator
APART = 15  # pixels between middles, from which on one is left of the other
LARGER = 1.35  # times the radius, and the area, from which on one is larger
AREAS = {  # of a shape of radius 1
    "circle": 3.14,
    "square": 4.0,
    "triangle": 2.0,
    "star": 1.23,
    "diamond": 1.5,
    "cross": 2.22,
}

FORMS = {
    "en": {
        "colour": "The {kind} is {colour}.",
        "kind": "The {colour} shape is a {kind}.",
        "count": "There are {n} shapes.",
        "left": "The {a} is left of the {b}.",
        "above": "The {a} is above the {b}.",
        "larger": "The {a} is larger than the {b}.",
    },
    "zh": {
        "colour": "{kind}是{colour}的。",
        "kind": "{colour}的是{kind}。",
        "count": "一共有{n}个形状。",
        "left": "{a}在{b}的左边。",
        "above": "{a}在{b}的上面。",
        "larger": "{a}比{b}大。",
    },
}


class Statement(NamedTuple):
    """A sentence that is true, and the same with one thing wrong."""

    true: str
    false: str


def scene(rng: Rng, count: int) -> tuple[list[scenes.Shape], np.ndarray]:
    """Shapes of `count` kinds, colours and clearly different sizes, at most six; the picture."""
    cells = 2 if count < 4 else 3
    pairs = scenes.different(rng, count)
    shapes = scenes.scatter(rng, pairs, cells, radii=(5, 5))
    radii = rng.permutation(np.geomspace(5.0, 12.0, count)).tolist()
    shapes = [
        scenes.Shape(s.kind, s.colour, _inside(s.middle, r, cells), float(r))
        for s, r in zip(shapes, radii, strict=True)
    ]
    side = scenes.PATCH * cells
    return shapes, scenes.draw(shapes, (side, side), scenes.light_ground(rng))


def statements(
    rng: Rng, shapes: Sequence[scenes.Shape], count: int, language: str
) -> list[Statement]:
    """Different ones, in random order; at most about three times as many as there are shapes."""
    every = _attributes(rng, shapes, language) + _relations(rng, shapes, language)
    return [every[i] for i in rng.permutation(len(every))[:count]]


def _attributes(rng: Rng, shapes: Sequence[scenes.Shape], language: str) -> list[Statement]:
    forms, n = FORMS[language], len(shapes)
    other = n + 1 if n < 2 or rng.random() < 0.5 else n - 1
    found = [Statement(forms["count"].format(n=n), forms["count"].format(n=other))]
    for shape in shapes:
        kind = scenes.SHAPES[shape.kind].of(language)
        colour = scenes.colour_name(shape.colour, language)
        if rng.random() < 0.5:
            wrong = pick(rng, [c for c in scenes.COLOURS if c != shape.colour])
            false = {"kind": kind, "colour": scenes.colour_name(wrong, language)}
            form = forms["colour"]
        else:
            wrong = pick(rng, [k for k in scenes.KINDS if k != shape.kind])
            false = {"kind": scenes.SHAPES[wrong].of(language), "colour": colour}
            form = forms["kind"]
        found.append(Statement(form.format(kind=kind, colour=colour), form.format(**false)))
    return found


def _relations(rng: Rng, shapes: Sequence[scenes.Shape], language: str) -> list[Statement]:
    """Of each two shapes one sentence at most: who is left, above, or larger."""
    found = []
    for i, one in enumerate(shapes):
        for other in shapes[:i]:
            (x1, y1), (x2, y2) = one.middle, other.middle
            ways = {"left": x2 - x1, "above": y2 - y1}
            kinds = [key for key, by in ways.items() if abs(by) >= APART]
            ratio = one.radius / other.radius
            areas = ratio**2 * AREAS[one.kind] / AREAS[other.kind]
            clear = min(ratio, areas) >= LARGER or max(ratio, areas) <= 1 / LARGER
            kinds += ["larger"] if clear else []
            if not kinds:
                continue
            kind = pick(rng, kinds)
            first = ways[kind] > 0 if kind in ways else ratio > 1
            pair = (one, other) if first else (other, one)
            a, b = (scenes.SHAPES[shape.kind].of(language) for shape in pair)
            form = FORMS[language][kind]
            found.append(Statement(form.format(a=a, b=b), form.format(a=b, b=a)))
    return found


def _inside(middle: tuple[float, float], radius: float, cells: int) -> tuple[float, float]:
    """Moved into the cell so far that a shape of the radius is in it."""
    half = scenes.PATCH / 2
    slack = half - radius - 1
    values = []
    for value in middle:
        centre = (value // scenes.PATCH + 0.5) * scenes.PATCH
        values.append(float(round(centre + np.clip(value - centre, -slack, slack))))
    return values[0], values[1]
