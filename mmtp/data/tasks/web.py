"""HTML and its rendering: the code of a picture, and questions about code."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Message, Text
from mmtp.data.tasks import pages
from mmtp.data.tasks.example import Example, answered, ask, say
from mmtp.data.tasks.scenes import COLOURS, Named, colour_name

_WRITE = {
    "en": ("Write this page in HTML.", "HTML code of the page:", "Which HTML renders like this?"),
    "zh": ("用HTML写出这个网页。", "网页的HTML代码：", "什么HTML会显示成这样？"),
}
_COLOUR = {
    "en": ("{code}\nWhat colour is the {tag}?", "{code}\nGive the colour of the {tag}."),
    "zh": ("{code}\n{tag}是什么颜色？", "{code}\n请说出{tag}的颜色。"),
}
_TEXT = {
    "en": ("{code}\nWhat does the {tag} say?", "{code}\nRead the {tag}."),
    "zh": ("{code}\n{tag}上写着什么？", "{code}\n请读出{tag}。"),
}
_CHOOSE = {
    "en": ("{code}\nWhich page is this: 1 or 2?", "{code}\nPage 1 or 2?"),
    "zh": ("{code}\n这是图1还是图2？", "{code}\n是图1还是图2？"),
}
_TAGS = {
    "h1": Named("heading", "标题"),
    "p": Named("paragraph", "段落"),
    "button": Named("button", "按钮"),
    "div": Named("box", "色块"),
}


def html_from_picture(rng: np.random.Generator, language: str, split: str) -> Example:
    """The HTML of a page of two to four blocks."""
    code = pages.document(pages.blocks(rng, language))
    return ask(rng, [pages.render(code)], say(rng, _WRITE, language), code)


def html_questions(rng: np.random.Generator, language: str, split: str) -> Example:
    """A colour or a text, read from the code alone."""
    while True:
        blocks = pages.blocks(rng, language)
        asked = [block for block in blocks if block.tag != "row"]
        if asked:
            break
    block, code = pick(rng, asked), pages.document(blocks)
    tag = _TAGS[block.tag].of(language)
    if block.colour and (not block.text or rng.random() < 0.5):
        options = tuple(colour_name(key, language) for key in COLOURS)
        question = say(rng, _COLOUR, language, code=code, tag=tag)
        return ask(rng, [], question, colour_name(block.colour, language), options=options)
    return ask(rng, [], say(rng, _TEXT, language, code=code, tag=tag), block.text)


def html_choice(rng: np.random.Generator, language: str, split: str) -> Example:
    """Which of two pages the code renders."""
    codes: list[str] = []
    while len(set(codes)) < 2:
        codes = [pages.document(pages.blocks(rng, language)) for _ in range(2)]
    right = int(rng.integers(2))
    question = say(rng, _CHOOSE, language, code=codes[right])
    user = Message("user", (*(Image(pages.render(code)) for code in codes), Text(question)))
    return answered([user], str(right + 1), options=("1", "2"), codes=tuple(codes))
