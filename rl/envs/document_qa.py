"""Answer a question about a form: what is written beside a label."""

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_documents import form, grain
from rl.envs.parts import short_answers
from rl.rewards.rules.fields import similarity
from rl.rewards.rules.short import short
from rl.types import Task

ASK = {
    "en": (
        'What does the form say for "{label}"{of}? Answer as it is written, and no more.',
        'Read "{label}"{of}. Answer with what is written there only.',
    ),
    "zh": (
        "表中{of}“{label}”写的是什么？只照原样回答。",
        "请读出{of}“{label}”，只回答写的内容。",
    ),
}
TITLE = {
    "en": "What is the title of the form? Answer with the title only.",
    "zh": "这张表的标题是什么？只回答标题。",
}
OF = {"en": ' under "{head}"', "zh": "“{head}”的"}
HEADS = {"en": ("Student", "Teacher", "Doctor", "Guest"), "zh": ("学生", "老师", "医生", "记者")}
NUMBERS = ("Phone", "Age", "Room", "电话", "身高")  # whose last two digits are drawn anew
SHAPES = ((1, 2), (1, 4), (2, 4), (3, 5), (4, 6))  # sections, lines of each
WIDTHS = (168, 196, 224, 252, 252)


def draw(context: Draw) -> Drawn:
    """A form of sections with the same labels, and a question about one line or the title."""
    rng, difficulty, language = context
    count, lines = SHAPES[difficulty]
    fields, title = texts.FIELDS[language], pick(rng, texts.TITLES[language])
    labels = pick_some(rng, sorted(fields), lines)
    columns = {label: _values(rng, language, label, count) for label in labels}
    labels = [label for label in labels if len(columns[label]) == count]
    heads = [""] if count == 1 else pick_some(rng, HEADS[language], count)
    sections = [
        (head, [(label, columns[label][i]) for label in labels]) for i, head in enumerate(heads)
    ]
    pixels = form(rng, sections, title, WIDTHS[difficulty]).pixels()
    if difficulty > 2:
        pixels = grain(rng, pixels, 16)
    which, label = int(rng.integers(count)), pick(rng, labels)
    answer = columns[label][which]
    of = OF[language].format(head=heads[which]) if count > 1 else ""
    question = pick(rng, ASK[language]).format(label=label, of=of)
    blind = list(fields[label])
    if rng.random() < 0.15:
        answer, question, blind = title, TITLE[language], list(texts.TITLES[language])
    shown = [title, *(value for values in columns.values() for value in values)]
    # DocVQA's rule pays for what is nearly the answer: only what is not even near is wrong.
    options = [answer, *(value for value in dict.fromkeys(shown) if not similarity(value, answer))]
    reference = {**short_answers.name(answer, options, "words"), "blind": blind}
    return Drawn((Image(pixels), Text(question)), reference)


def _values(rng: np.random.Generator, language: str, label: str, count: int) -> list[str]:
    """Different ones that may stand beside a label; fewer where there are no more."""
    known = texts.FIELDS[language][label]
    if label not in NUMBERS:
        return pick_some(rng, known, min(count, len(known)))
    starts = [value[:-2] for value in known if value.isascii() and value[-2:].isdigit()]
    return [pick(rng, starts) + str(n) for n in rng.choice(np.arange(11, 100), count, False)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Something that might stand beside such a label."""
    return (boxed(pick(rng, task.reference["blind"])),)


CATEGORY = Category(
    name="document_qa",
    group="documents",
    level="step",
    benchmark="DocVQA",
    scale="lines 2 … 24, in sections with the same labels from 2 on, grain from 3 on",
    draw=draw,
    score=by_answer(short),
    oracle=short_answers.oracle,
    distractors=short_answers.distractors,
    guess=guess,
)
