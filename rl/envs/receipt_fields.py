"""Write the fields of a receipt as JSON: shop, date, number, items with their prices, total."""

import json

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_charts import cities
from rl.envs.drawing.draw_documents import PAPERS, grain, receipt
from rl.rewards.rules.fields import field_f1
from rl.types import Json, Task

ASK = {
    "en": "Read the receipt. Answer with one JSON object and nothing else, in this form: {form}. "
    "Amounts are numbers{rest}.",
    "zh": "请读出小票。只回答一个JSON对象，格式是：{form}。金额写成数字{rest}。",
}
REST = {
    "en": "; texts as they are printed; of an item what its whole line costs",
    "zh": "，文字照原样写，每项写这一行的总价",
}
FORMS: dict[str, str] = {
    "shop": '"shop": "…"',
    "date": '"date": "…"',
    "number": '"number": "…"',
    "items": '"items": {"name": amount, …}',
    "total": '"total": amount',
}
ASKED = (
    ("items", "total"),
    ("date", "items", "total"),
    ("shop", "date", "items", "total"),
    tuple(FORMS),
    tuple(FORMS),
)
SHOPS = {"en": "{city} {good} shop", "zh": "{city}{good}店"}
WORDS = {
    "en": {"number": "No. {n}", "subtotal": "subtotal", "discount": "discount", "total": "TOTAL",
           "cash": "cash", "back": "change"},
    "zh": {"number": "号码 {n}", "subtotal": "小计", "discount": "减价", "total": "总价",
           "cash": "现金", "back": "余"},
}  # fmt: skip
ITEMS = (2, 3, 4, 6, 9)


def draw(context: Draw) -> Drawn:
    """A receipt, and the keys that are asked for."""
    rng, difficulty, language = context
    words = WORDS[language]
    goods = pick_some(rng, texts.GOODS[language], ITEMS[difficulty])
    counts = rng.integers(1, 5, len(goods)) if difficulty > 2 else np.ones(len(goods), int)
    cents = rng.choice(np.arange(4, 400), len(goods), replace=False) * (
        100 if difficulty < 1 else 5
    )
    prices = (cents * counts).tolist()
    items = []
    for good, count, cent, price in zip(
        goods, counts.tolist(), cents.tolist(), prices, strict=True
    ):
        times = f" {count} × {cent / 100:.2f}" if count > 1 else ""
        items.append((good + times, f"{price / 100:.2f}"))
    total = sum(prices)
    sums = []
    if difficulty > 2:
        discount = int(rng.integers(1, 20)) * 5
        sums = [(words["subtotal"], total), (words["discount"], -discount)]
        total -= discount
    sums.append((words["total"], total))
    if difficulty > 1:
        cash = (total // 1000 + 1) * 1000
        sums += [(words["cash"], cash), (words["back"], cash - total)]
    city, good = cities(rng, language, 1)[0], pick(rng, texts.GOODS[language])
    shop = SHOPS[language].format(city=city, good=good)
    date = f"20{rng.integers(10, 30)}-{rng.integers(1, 13):02}-{rng.integers(1, 29):02}"
    number = str(rng.integers(10_000, 100_000))
    heads = [shop, date, words["number"].format(n=number)][: (1, 2, 2, 3, 3)[difficulty]]
    amounts = [(name, f"{value / 100:.2f}") for name, value in sums]
    width = 168 + 28 * (difficulty // 2)
    pixels = receipt(heads, items, amounts, width, pick(rng, PAPERS)).pixels()
    fields = {
        "shop": shop,
        "date": date,
        "number": number,
        "items": {good: price / 100 for good, price in zip(goods, prices, strict=True)},
        "total": total / 100,
    }
    asked = ASKED[difficulty]
    form = "{" + ", ".join(FORMS[key] for key in asked) + "}"
    question = ASK[language].format(form=form, rest=REST[language])
    reference = {"fields": {key: fields[key] for key in asked}}
    shown = grain(rng, pixels, 14) if difficulty > 2 else pixels
    return Drawn((Image(shown), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """The object."""
    return (boxed(json.dumps(task.reference["fields"], ensure_ascii=False)),)


def distractors(task: Task) -> list[Replies]:
    """Amounts a cent or a place off, an empty form, texts everywhere, floods, no JSON."""
    gold = task.reference["fields"]
    items = list(gold["items"].items())
    turned = [price for _, price in items[1:] + items[:1]]
    near = {"total": round(gold["total"] + 0.01, 2)}
    values: list[Json] = [
        gold | near | {"items": {name: round(v + 0.01, 2) for name, v in items}, "date": ""},
        gold | near | {"items": {name: v * 10 for name, v in items}, "date": "2000-01-01"},
        gold | near | {"items": dict(zip(gold["items"], turned, strict=True)), "date": "-"},
        {key: {} if key == "items" else "" for key in gold},
        gold | {f"f{i}": i for i in range(8 + 4 * len(items))},
        {"answer": gold},
        [gold],
        {},
        dict.fromkeys(gold, gold["total"]) | {"total": 0},
        {"items": dict.fromkeys(gold["items"], True), "total": True},
    ]
    text = json.dumps(gold, ensure_ascii=False)
    wrong = [json.dumps(value, ensure_ascii=False) for value in values]
    wrong += ["", f"Here: {text}", f"```json\n{text}\n```", text[:-1], f'{text[:-1]}, "total": 1}}']
    wrong += [text.replace('"', "'"), text + text, text[:-1] + ', "x": NaN}']
    return [(boxed(answer),) for answer in wrong]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """The form with some goods and amounts."""
    names = pick_some(rng, texts.GOODS[task.language], 3)
    items = {name: int(rng.integers(1, 40)) for name in names}
    said: dict[str, Json] = {"shop": "shop", "date": "2024-01-01", "number": "12345"}
    said |= {"items": items, "total": sum(items.values())}
    return (boxed(json.dumps({key: said[key] for key in task.reference["fields"]})),)


CATEGORY = Category(
    name="receipt_fields",
    group="documents",
    level="step",
    benchmark="SROIE",
    scale="items 2 … 9, keys 2 … 5; cash, counts, subtotals and discounts beside the total; grain",
    draw=draw,
    score=by_answer(field_f1),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
