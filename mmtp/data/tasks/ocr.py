"""Reading: handwritten digits, printed words and numbers, table cells and receipts."""

import functools

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pillow

from cogvit_jax.data.embedded import open_embedded
from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import (
    BLACK,
    COLOURS,
    WHITE,
    largest_size,
    mix,
    new_sheet,
    pick,
    pick_some,
)
from mmtp.data.tasks.example import Example, Pixels, ask, say
from mmtp.data.tasks.scenes import PALETTE, SCALE

_DIGIT = {
    "en": ("Which digit is this?", "Read the digit.", "What number is written here?"),
    "zh": ("这是哪个数字？", "请读出这个数字。", "图里写的是几？"),
}
_NUMBER = {
    "en": ("Read the number.", "Which number is printed?", "What does it say?"),
    "zh": ("请读出这个数。", "图里印的数是多少？", "上面写着什么？"),
}
_WORD = {
    "en": ("Read the text.", "What is written here?", "Which words are in the picture?"),
    "zh": ("请读出文字。", "图里写着什么？", "上面的字是什么？"),
}
_CELL = {
    "en": (
        "{row}, {column}: which number?",
        "What is in row {row}, column {column}?",
        "Read {row}, {column}.",
    ),
    "zh": ("{row}的{column}是多少？", "请读出{row}的{column}。", "{row}，{column}？"),
}
_TOTAL = {
    "en": ("What is the total?", "How much is to be paid?", "Read the total of the receipt."),
    "zh": ("总共多少钱？", "要付多少？", "请读出总数。"),
}
_PRICE = {
    "en": ("How much for {good}?", "Price of {good}?"),
    "zh": ("{good}多少钱？", "{good}的价格是多少？"),
}


def digits(rng: np.random.Generator, language: str, split: str) -> Example:
    """One handwritten digit of the embedded set, 56 x 56 pixels."""
    value = int(rng.integers(10))
    grey = handwritten(rng, split, value)
    picture = np.array(Pillow.fromarray(grey).resize((56, 56), Pillow.Resampling.BICUBIC))
    ink = np.asarray(PALETTE[pick(rng, ("red", "green", "blue", "purple", "black"))][1])
    share = picture[:, :, None] / 255
    light = np.full(3, 255)
    back, front = (light, ink) if rng.random() < 0.5 else (np.zeros(3), light)
    shown = back * (1 - share) + front * share
    pixels = np.clip(shown, 0, 255).astype(np.uint8)
    options = tuple(map(str, range(10)))
    return ask(rng, [pixels], say(rng, _DIGIT, language), str(value), options=options)


def handwritten(rng: np.random.Generator, split: str, value: int) -> UInt8[np.ndarray, "8 8"]:
    """One of the embedded pictures of a digit, light on dark."""
    return pick(rng, _digits(split)[value])


@functools.lru_cache(maxsize=2)
def _digits(split: str) -> list[list[np.ndarray]]:
    """Value -> pictures `[8, 8]` of that split."""
    found: list[list[np.ndarray]] = [[] for _ in range(10)]
    for record in open_embedded(f"digits/{split}").records:
        assert isinstance(record.image, np.ndarray)
        found[record.label].append(record.image)
    return found


def printed_numbers(rng: np.random.Generator, language: str, split: str) -> Example:
    """A printed number of one to four digits."""
    number = str(rng.integers(10 ** int(rng.integers(1, 5))))
    picture = _line(rng, number, (84, 28) if rng.random() < 0.5 else (84, 56), range(28, 14, -1))
    return ask(rng, [picture], say(rng, _NUMBER, language), number)


def printed_words(rng: np.random.Generator, language: str, split: str) -> Example:
    """A printed word or two."""
    tables = (texts.BUTTONS, texts.MENU, texts.GOODS)
    word = pick(rng, pick(rng, tables)[language])
    picture = _line(rng, word, (112, 28), range(22, 9, -1))
    return ask(rng, [picture], say(rng, _WORD, language), word)


def _line(rng: np.random.Generator, text: str, size: tuple[int, int], sizes: range) -> Pixels:
    """One line of text somewhere on a coloured ground."""
    ink = pick(rng, COLOURS)[2]
    ground = mix(WHITE, pick(rng, COLOURS)[2], float(pick(rng, (0, 0.08, 0.16))))
    if rng.random() < 0.25:
        ink, ground = ground, ink
    sheet = new_sheet(size, ground, SCALE)
    fitting = largest_size([text], size[0] - 8, sizes)
    chosen = int(rng.integers(max(sizes[-1], fitting - 6), fitting + 1))
    drop = max(0.0, (size[1] - chosen) / 2 - 4)
    middle = (size[0] / 2 + rng.uniform(-2, 2), size[1] / 2 + rng.uniform(-drop, drop))
    sheet.text(middle, text, chosen, ink, "mm")
    return sheet.pixels()


def tables(rng: np.random.Generator, language: str, split: str) -> Example:
    """One cell of a table of two or three rows and two columns."""
    short = [good for good in texts.GOODS[language] if len(good) <= 6]
    rows = pick_some(rng, short, int(rng.integers(2, 4)))
    columns = pick_some(rng, [name for name in texts.COLUMNS[language] if len(name) <= 5], 2)
    values = rng.choice(np.arange(1, 100), (len(rows), 2), replace=False)
    sheet = new_sheet((112, 84), WHITE, SCALE)
    height = 84 / (len(rows) + 1)
    head = mix(pick(rng, COLOURS)[2], WHITE, 0.75)
    sheet.box((0, 0, 112, height), head)
    for column, name in enumerate(columns):
        sheet.text((58 + 35 * column, height / 2), name, 12, BLACK, "mm")
    for row, name in enumerate(rows):
        y = height * (row + 1)
        sheet.line([(0, y), (112, y)], (150, 150, 150), 0.7)
        sheet.text((3, y + height / 2), name, 12, BLACK, "lm")
        for column in range(2):
            text = str(values[row, column])
            sheet.text((58 + 35 * column, y + height / 2), text, 13, BLACK, "mm")
    row, column = int(rng.integers(len(rows))), int(rng.integers(2))
    question = say(rng, _CELL, language, row=rows[row], column=columns[column])
    return ask(rng, [sheet.pixels()], question, str(values[row, column]))


def receipts(rng: np.random.Generator, language: str, split: str) -> Example:
    """The total of a receipt, or the price of one thing on it."""
    goods = pick_some(
        rng, [g for g in texts.GOODS[language] if len(g) <= 6], int(rng.integers(2, 4))
    )
    prices = rng.choice(np.arange(2, 40), len(goods), replace=False).tolist()
    height = 84 if len(goods) == 2 else 112
    sheet = new_sheet((84, height), mix(WHITE, (240, 220, 170), rng.uniform(0, 0.4)), SCALE)
    line = (height - 14) / (len(goods) + 1)
    lines = [
        *zip(goods, prices, strict=True),
        ({"en": "total", "zh": "总共"}[language], sum(prices)),
    ]
    for i, (name, price) in enumerate(lines):
        y = 7 + line * (i + 0.5) + (4 if i == len(goods) else 0)
        sheet.text((5, y), name, 12, BLACK, "lm")
        sheet.text((79, y), str(price), 13, BLACK, "rm")
    y = 9 + line * len(goods)
    sheet.line([(4, y), (80, y)], BLACK, 0.8)
    if rng.random() < 0.6:
        question, answer = say(rng, _TOTAL, language), str(sum(prices))
    else:
        which = int(rng.integers(len(goods)))
        question = say(rng, _PRICE, language, good=goods[which])
        answer = str(prices[which])
    return ask(rng, [sheet.pixels()], question, answer)
