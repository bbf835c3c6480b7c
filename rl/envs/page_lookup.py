"""Find a number in a document of several pages, and say on which page it is."""

import json

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import BLACK, new_sheet, pick, pick_some
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_documents import PAPERS, Line, receipt
from rl.rewards.rules.fields import cited
from rl.types import Task

PAGES = (2, 3, 4, 5, 6)
LINES = (2, 3, 4, 5, 6)
ASKS = {
    "en": {
        "only": "How much is “{good}”, and on which page is it?",
        "title": "How much is “{good}” on the page “{title}”, and which page is that?",
        "largest": "On which page is “{good}” dearest, and how much is it there?",
        "smallest": "On which page is “{good}” cheapest, and how much is it there?",
    },
    "zh": {
        "only": "“{good}”是多少？在第几页？",
        "title": "“{title}”那一页上，“{good}”是多少？那是第几页？",
        "largest": "“{good}”在第几页最贵？那里是多少？",
        "smallest": "“{good}”在第几页最便宜？那里是多少？",
    },
}
FORM = {
    "en": ' The pictures are the pages, 1 first. Answer with JSON only: {"answer": number, '
    '"page": number}',
    "zh": '图片就是各页，第一张是第1页。只回答JSON：{"answer": 数, "page": 页码}',
}


def draw(context: Draw) -> Drawn:
    """Price lists, one a page; from difficulty 1 on the pages share their goods."""
    rng, difficulty, language = context
    count, lines = PAGES[difficulty], LINES[difficulty]
    asked = pick(rng, (("only",), ("title",), ("title", "largest"))[min(2, difficulty)])
    asked = "smallest" if asked == "largest" and rng.random() < 0.5 else asked
    titles = pick_some(rng, texts.TITLES[language], count)
    numbers = rng.choice(np.arange(2, 1000), (count, lines), replace=False).tolist()
    if asked == "only":
        names = pick_some(rng, texts.GOODS[language], count * lines)
        goods = [names[lines * i : lines * (i + 1)] for i in range(count)]
    else:
        names = pick_some(rng, texts.GOODS[language], lines)
        goods = [[names[i] for i in rng.permutation(lines)] for _ in range(count)]
    lists = [list(zip(*columns, strict=True)) for columns in zip(goods, numbers, strict=True)]
    page = int(rng.integers(count))
    good = pick(rng, goods[page])
    prices = [dict(pairs).get(good, 0) for pairs in lists]
    if asked in ("largest", "smallest"):
        page = prices.index({"largest": max, "smallest": min}[asked](prices))
    pictures = [
        Image(_page(rng, title, [(name, str(n)) for name, n in pairs], i + 1))
        for i, (title, pairs) in enumerate(zip(titles, lists, strict=True))
    ]
    question = ASKS[language][asked].format(good=good, title=titles[page]) + FORM[language]
    reference = {"answer": prices[page], "page": page + 1, "prices": prices}
    return Drawn((*pictures, Text(question)), reference)


def _page(rng: np.random.Generator, title: str, lines: list[Line], number: int) -> np.ndarray:
    """A list under a title, and the page's number at the foot."""
    width = 168
    paper = pick(rng, PAPERS)
    upper = receipt([title], lines, [], width, paper)
    sheet = new_sheet((width, upper.height + 28), paper)
    sheet.image.paste(upper.image)
    sheet.text((width / 2, upper.height + 12), str(number), 12, BLACK, "mm")
    return sheet.pixels()


def oracle(task: Task) -> Replies:
    """The number and its page."""
    return (_say(task.reference["answer"], task.reference["page"]),)


def distractors(task: Task) -> list[Replies]:
    """The right number with a wrong page, the reverse, other pages' numbers, all of them."""
    answer, page, prices = (task.reference[key] for key in ("answer", "page", "prices"))
    pages = range(len(prices) + 2)
    pairs = [(answer, p) for p in pages if p != page]
    pairs += [(price, i + 1) for i, price in enumerate(prices) if i + 1 != page]
    pairs += [(n, page) for n in (*prices, answer + 1, answer - 1, page) if n != answer]
    pairs += [(prices, page), (answer, list(pages)), (True, True), (str(answer) + "?", page)]
    pairs += [(f"{answer} or {answer + 1}", page), ("", page), (answer, ""), (None, None)]
    gold = json.dumps({"answer": answer, "page": page})
    wrong = [gold + gold, f"[{gold}]", f"It is {gold}", f"{answer}, {page}", str(answer), "", "{}"]
    wrong += [f'{{"answer": {answer}, "page": {page}, "page": 0}}', gold.replace("}", ', "x": 1}')]
    return [(_say(*pair),) for pair in pairs] + [(boxed(text),) for text in wrong]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any number on any page."""
    return (_say(int(rng.integers(2, 1000)), int(rng.integers(1, PAGES[task.difficulty] + 1))),)


def _say(answer: object, page: object) -> str:
    return boxed(json.dumps({"answer": answer, "page": page}))


CATEGORY = Category(
    name="page_lookup",
    group="documents",
    level="step",
    benchmark="MMLongBench-Doc",
    scale="pages 2 … 6 with 2 … 6 lines; from 1 on all pages have the same goods; then comparisons",
    draw=draw,
    score=by_answer(cited),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
