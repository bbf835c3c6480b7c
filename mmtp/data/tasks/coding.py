"""Code of pictures: SVG from a picture or from words, questions about SVG, and its errors."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Message, Text
from mmtp.data.tasks import svg
from mmtp.data.tasks.example import Example, answered, ask, say
from mmtp.data.tasks.scenes import COLOURS, Named, colour_name

NAMES = {
    "circle": Named("circle", "圆形"),
    "rect": Named("rectangle", "矩形"),
    "triangle": Named("triangle", "三角形"),
    "diamond": Named("diamond", "菱形"),
}
_WRITE = {
    "en": ("Write this picture as SVG.", "SVG code of the picture:", "Draw this in SVG."),
    "zh": ("把这张图写成SVG。", "图的SVG代码：", "用SVG画出这张图。"),
}
_WORDS = {
    "en": ("Write SVG, side 56: {what}.", "SVG code, 56 x 56: {what}."),
    "zh": ("写SVG，边长56：{what}。", "56 x 56的SVG代码：{what}。"),
}
_FORM = {
    "en": "a {colour} circle of radius {r} at ({x}, {y})",
    "zh": "半径{r}的{colour}圆形，圆心({x}, {y})",
}
_FILL = {
    "en": ("{code}\nWhich colour is the {kind}?", "{code}\nWhat fills the {kind}?"),
    "zh": ("{code}\n{kind}是什么颜色？", "{code}\n{kind}填的是什么颜色？"),
}
_KIND = {
    "en": ("{code}\nWhich shape is {colour}?", "{code}\nName the {colour} shape."),
    "zh": ("{code}\n{colour}的是什么形状？", "{code}\n请说出{colour}的形状。"),
}
_DESCRIBE = {
    "en": ("{code}\nWhat does this draw?", "{code}\nDescribe the picture."),
    "zh": ("{code}\n这画的是什么？", "{code}\n请描述这张图。"),
}
_REPAIR = {
    "en": ("{code}\nOne attribute differs from the picture. Correct it.",),
    "zh": ("{code}\n有一个属性和图不一样，请改正。",),
}
_CHOOSE = {
    "en": ("{code}\nWhich picture does this draw: 1 or 2?", "{code}\nPicture 1 or 2?"),
    "zh": ("{code}\n这画的是图1还是图2？", "{code}\n是图1还是图2？"),
}


def svg_from_picture(rng: np.random.Generator, language: str, split: str) -> Example:
    """The SVG code of a picture of one to three shapes."""
    code = svg.document(svg.elements(rng, int(rng.integers(1, 4))))
    return ask(rng, [svg.render(code)], say(rng, _WRITE, language), code)


def svg_from_words(rng: np.random.Generator, language: str, split: str) -> Example:
    """The SVG code of one or two circles that are described."""
    elements = [
        svg.Element("circle", e.x, e.y, e.half_width, e.half_width, e.fill)
        for e in svg.elements(rng, int(rng.integers(1, 3)))
    ]
    told = [
        _FORM[language].format(colour=colour_name(e.fill, language), r=e.half_width, x=e.x, y=e.y)
        for e in elements
    ]
    what = {"en": " and ", "zh": "，"}[language].join(told)
    return ask(rng, [], say(rng, _WORDS, language, what=what), svg.document(elements))


def svg_questions(rng: np.random.Generator, language: str, split: str) -> Example:
    """A colour or a shape, read from the code alone."""
    elements = svg.elements(rng, int(rng.integers(1, 4)))
    element, code = pick(rng, elements), svg.document(elements)
    kind, colour = NAMES[element.kind].of(language), colour_name(element.fill, language)
    if rng.random() < 0.5:
        options = tuple(colour_name(key, language) for key in COLOURS)
        question = say(rng, _FILL, language, code=code, kind=kind)
        return ask(rng, [], question, colour, options=options)
    options = tuple(name.of(language) for name in NAMES.values())
    question = say(rng, _KIND, language, code=code, colour=colour)
    return ask(rng, [], question, kind, options=options)


def svg_description(rng: np.random.Generator, language: str, split: str) -> Example:
    """What SVG code draws, in words."""
    elements = svg.elements(rng, int(rng.integers(1, 4)))
    names = [
        {"en": "{} {}", "zh": "{}{}"}[language].format(
            colour_name(e.fill, language), NAMES[e.kind].of(language)
        )
        for e in elements
    ]
    answer = {"en": ", ".join, "zh": "，".join}[language](names)
    return ask(rng, [], say(rng, _DESCRIBE, language, code=svg.document(elements)), answer)


def svg_repair(rng: np.random.Generator, language: str, split: str) -> Example:
    """The attribute of the code that a picture contradicts, as it should be."""
    elements = svg.elements(rng, int(rng.integers(1, 4)))
    picture, which = svg.render(svg.document(elements)), int(rng.integers(len(elements)))
    new, answer = svg.changed(rng, elements[which])
    wrong = svg.document([*elements[:which], new, *elements[which + 1 :]])
    return ask(rng, [picture], say(rng, _REPAIR, language, code=wrong), answer, wrong=wrong)


def svg_choice(rng: np.random.Generator, language: str, split: str) -> Example:
    """Which of two pictures the code draws; they differ in one attribute."""
    elements = svg.elements(rng, int(rng.integers(1, 4)))
    which = int(rng.integers(len(elements)))
    new, _ = svg.changed(rng, elements[which])
    codes = [svg.document(elements), svg.document([*elements[:which], new, *elements[which + 1 :]])]
    right = int(rng.integers(2))
    pictures = [svg.render(code) for code in codes]
    question = say(rng, _CHOOSE, language, code=codes[right])
    user = Message("user", (Image(pictures[0]), Image(pictures[1]), Text(question)))
    return answered([user], str(right + 1), options=("1", "2"), codes=tuple(codes))
