"""Critic data: someone's statement about a picture is right, or one thing in it is wrong.

The answer is "correct", or "wrong: " and the statement that would be right about what was
misperceived: the colour, the kind, the number, the side, or the place.
"""

from collections.abc import Mapping

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.tasks import scenes
from mmtp.data.tasks.example import Example, ask, box_on_grid, brackets, say
from mmtp.data.tasks.grounding import scene

_CHECK = {
    "en": ('Someone says: "{claim}" Check it.', 'Answer given: "{claim}" Is anything wrong?'),
    "zh": ("有人说：“{claim}”请检查。", "已有的回答：“{claim}”有没有错？"),
}
VERDICTS = {"en": ("correct", "wrong: {}"), "zh": ("正确", "错误：{}")}
_SEEN = {"en": "The picture shows {}.", "zh": "图里有{}。"}
_COLOUR = {"en": "The {kind} is {colour}.", "zh": "{kind}是{colour}的。"}
_KIND = {"en": "The {colour} shape is a {kind}.", "zh": "{colour}的是{kind}。"}
_COUNT = {"en": "There are {n} shapes.", "zh": "一共有{n}个形状。"}
_SIDE = {"en": "The {a} is {side} the {b}.", "zh": "{a}在{b}的{side}。"}
_PLACE = {"en": "The {name} is at {place}.", "zh": "{name}在{place}。"}
_SIDES = {
    "en": ("left of", "right of", "above", "below"),
    "zh": ("左边", "右边", "上面", "下面"),
}


def _judged(
    rng: np.random.Generator,
    language: str,
    shapes: list[scenes.Shape],
    picture: np.ndarray,
    form: dict[str, str],
    right: Mapping[str, object],
    wrong: Mapping[str, object],
) -> Example:
    """A true or (two times in three) a false statement, and the verdict; some think first."""
    good, bad = VERDICTS[language]
    truth = form[language].format(**right)
    false = rng.random() < 2 / 3
    claim = form[language].format(**wrong) if false else truth
    seen = {"en": ", ".join, "zh": "、".join}[language](s.name(language, True) for s in shapes)
    thinking = _SEEN[language].format(seen) if rng.random() < 0.5 else ""
    answer = bad.format(truth) if false else good
    question = say(rng, _CHECK, language, claim=claim)
    facts = scenes.facts(shapes)
    return ask(rng, [picture], question, answer, thinking=thinking, shapes=facts, claim=claim)


def attributes(rng: np.random.Generator, language: str, split: str) -> Example:
    """A statement about a colour or a kind."""
    shapes = scenes.scatter(rng, scenes.different(rng, int(rng.integers(2, 4))))
    picture = scenes.draw(shapes, (56, 56), scenes.light_ground(rng))
    shape = pick(rng, shapes)
    about_colour = rng.random() < 0.5
    colour = pick(rng, [key for key in scenes.COLOURS if key != shape.colour])
    kind = pick(rng, [key for key in scenes.KINDS if key != shape.kind])
    right = _words(shape.kind, shape.colour, language)
    if about_colour:
        wrong = _words(shape.kind, colour, language)
        return _judged(rng, language, shapes, picture, _COLOUR, right, wrong)
    wrong = _words(kind, shape.colour, language)
    return _judged(rng, language, shapes, picture, _KIND, right, wrong)


def _words(kind: str, colour: str, language: str) -> dict[str, str]:
    return {
        "kind": scenes.SHAPES[kind].of(language),
        "colour": scenes.colour_name(colour, language),
    }


def counts(rng: np.random.Generator, language: str, split: str) -> Example:
    """A statement about the number of shapes."""
    count = int(rng.integers(2, 7))
    shapes = scenes.scatter(rng, scenes.different(rng, count, "pair"), 3)
    picture = scenes.draw(shapes, (84, 84), scenes.light_ground(rng))
    other = pick(rng, [n for n in range(2, 7) if n != count])
    return _judged(rng, language, shapes, picture, _COUNT, {"n": count}, {"n": other})


def sides(rng: np.random.Generator, language: str, split: str) -> Example:
    """A statement about which side of a shape another one is on."""
    pairs = scenes.different(rng, 2)
    first, second, side = scenes.side_by_side(rng, pairs)
    picture = scenes.draw([first, second], (56, 56), scenes.light_ground(rng))
    names = {"a": first.name(language), "b": second.name(language)}
    opposite = (1, 0, 3, 2)[side]
    right = {**names, "side": _SIDES[language][side]}
    wrong = {**names, "side": _SIDES[language][opposite]}
    return _judged(rng, language, [first, second], picture, _SIDE, right, wrong)


def places(rng: np.random.Generator, language: str, split: str) -> Example:
    """A statement about a shape's box; the wrong box is another shape's, or elsewhere."""
    shapes, picture = scene(rng)
    shape = pick(rng, shapes)
    name, width = shape.name(language), picture.shape[1]
    true = box_on_grid(shape.box, picture)
    mirrored = tuple(width - value for value in shape.box)
    elsewhere = [other.box for other in shapes if other is not shape]
    if abs(shape.middle[0] - width / 2) > shape.radius:
        elsewhere.append((mirrored[2], shape.box[1], mirrored[0], shape.box[3]))
    if not elsewhere:
        up = shape.middle[1] > width / 2
        shift = -shape.box[1] if up else width - shape.box[3]
        elsewhere = [(shape.box[0], shape.box[1] + shift, shape.box[2], shape.box[3] + shift)]
    box = box_on_grid(pick(rng, elsewhere), picture)
    right = {"name": name, "place": brackets(true)}
    wrong = {"name": name, "place": brackets(box)}
    return _judged(rng, language, shapes, picture, _PLACE, right, wrong)
