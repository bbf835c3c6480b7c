"""Find the first wrong step of a worked solution whose numbers stand in a picture."""

from collections.abc import Sequence

import numpy as np

from cogvit_jax.data.rendering.canvas import (
    BLACK,
    COLOURS,
    WHITE,
    mix,
    new_sheet,
    pick,
    pick_some,
)
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.rewards.rules.counts import count
from rl.types import Task

ITEMS = {
    "en": ("bread", "tea", "coffee", "fish", "lemon", "honey", "flower", "book"),
    "zh": ("面包", "茶", "咖啡", "鱼", "柠檬", "蜂蜜", "花", "书"),
}
HEADS = {"en": ("price", "number"), "zh": ("价", "数量")}
ASKS = {
    "en": "What is the change when one pays {paid} for all that the picture lists? A solution:\n"
    "{steps}\nAnswer with the number of its first wrong step (one that misreads the picture or "
    "miscalculates), or 0 if there is none.",
    "zh": "用{paid}付图中所列的全部东西，应找回多少？一个解答：\n{steps}\n"
    "只回答其中第一个错误步骤（看错图或算错）的编号；没有错误则回答0。",
}
STEPS = {
    "en": ("{item}: {price} × {number} = {sum}", "{a} + {b} = {sum}", "Change: {a} - {b} = {sum}"),
    "zh": ("{item}：{price} × {number} = {sum}", "{a} + {b} = {sum}", "找回：{a} - {b} = {sum}"),
}


def draw(context: Draw) -> Drawn:
    """Products, their sum, the change; from the wrong step on all follows from what it says."""
    rng, difficulty, language = context
    size = 2 + difficulty
    items = pick_some(rng, ITEMS[language], min(size, 6))
    prices = rng.integers(2, 10 + 10 * difficulty, len(items)).tolist()
    numbers = rng.integers(2, 10, len(items)).tolist()
    total = sum(p * n for p, n in zip(prices, numbers, strict=True))
    paid = (total // 50 + 2) * 50
    last = 2 * len(items)
    wrong = 0 if rng.random() < 0.15 else int(rng.integers(1, last + 1))
    if wrong > len(items) and rng.random() < 0.6:
        wrong = int(rng.integers(1, len(items) + 1))  # more often one that needs the picture
    steps = _steps(rng, language, items, prices, numbers, paid, wrong)
    lines = "\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1))
    picture = _picture(rng, HEADS[language], items, prices, numbers)
    question = ASKS[language].format(paid=paid, steps=lines)
    return Drawn((Image(picture), Text(question)), {"answer": wrong, "steps": last})


def oracle(task: Task) -> Replies:
    """The number."""
    return (boxed(task.reference["answer"]),)


def distractors(task: Task) -> list[Replies]:
    """Other steps, all of them, words."""
    gold, last = task.reference["answer"], task.reference["steps"]
    others = [n for n in range(last + 2) if n != gold]
    forms = (
        f"{gold} {others[0]}",
        f"{gold}-{last + 1}",
        "step",
        f"{gold}, {others[0]}",
        "none",
        "",
    )
    return [(boxed(answer),) for answer in (*others, *forms)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any step."""
    return (boxed(int(rng.integers(0, task.reference["steps"] + 1))),)


def _steps(
    rng: np.random.Generator,
    language: str,
    items: Sequence[str],
    prices: Sequence[int],
    numbers: Sequence[int],
    paid: int,
    wrong: int,
) -> list[str]:
    product, addition, change = STEPS[language]
    off = int(pick(rng, (1, 2, 10)))
    misread = int(rng.integers(3))  # the price, the number, or nothing: then the sum is wrong
    steps, sums = [], []
    for i, (item, price, number) in enumerate(zip(items, prices, numbers, strict=True), 1):
        slip = misread if i == wrong else -1
        price, number = price + off * (slip == 0), number + (slip == 1)
        result = price * number + off * (slip == 2)
        sums.append(result)
        steps.append(product.format(item=item, price=price, number=number, sum=result))
    total = sums[0]
    for value in sums[1:]:
        result = total + value + off * (len(steps) + 1 == wrong)
        steps.append(addition.format(a=total, b=value, sum=result))
        total = result
    result = paid - total + off * (len(steps) + 1 == wrong)
    return [*steps, change.format(a=paid, b=total, sum=result)]


def _picture(
    rng: np.random.Generator,
    heads: tuple[str, str],
    items: Sequence[str],
    prices: Sequence[int],
    numbers: Sequence[int],
) -> np.ndarray:
    """A list of things, what one costs, and how many there are."""
    colour = pick(rng, COLOURS[:7])[2]
    rows = [("", *heads), *zip(items, map(str, prices), map(str, numbers), strict=True)]
    sheet = new_sheet((224, -(-(len(rows) * 24 + 12) // 28) * 28), WHITE)
    sheet.box((6, 6, 218, 30), mix(colour, WHITE, 0.8))
    for i, (item, price, number) in enumerate(rows):
        y = 18 + 24 * i
        sheet.text((16, y), item, 16, BLACK, "lm")
        sheet.text((140, y), price, 16, BLACK, "rm")
        sheet.text((206, y), number, 16, BLACK, "rm")
        sheet.line([(6, y + 12), (218, y + 12)], mix(colour, WHITE, 0.5))
    return sheet.pixels()


CATEGORY = Category(
    name="wrong_step",
    group="critic",
    level="step",
    benchmark="ProcessBench, VisualPRM",
    scale="things that are bought: 2 … 6, so steps: 4 … 12, and larger prices",
    draw=draw,
    score=by_answer(count),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
