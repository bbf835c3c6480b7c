"""Find the one sentence of a description that is wrong about the picture."""

import numpy as np

from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.parts import statements
from rl.rewards.rules.counts import count
from rl.types import Task

ASKS = {
    "en": "Someone describes the picture:\n{lines}\nAt most one sentence is wrong. Answer with its "
    "number, or 0 if all are right.",
    "zh": "有人这样描述图片：\n{lines}\n最多有一句是错的。只回答它的编号；若全对，回答0。",
}


def draw(context: Draw) -> Drawn:
    """Numbered sentences, of which one is false, or (one time in eight) none."""
    rng, difficulty, language = context
    shapes, picture = statements.scene(rng, 2 + difficulty)
    found = statements.statements(rng, shapes, 3 + difficulty, language)
    wrong = 0 if rng.random() < 0.125 else int(rng.integers(1, len(found) + 1))
    lines = [f"{i}. {s.false if i == wrong else s.true}" for i, s in enumerate(found, 1)]
    question = ASKS[language].format(lines="\n".join(lines))
    reference = {"answer": wrong, "sentences": len(found)}
    return Drawn((Image(picture), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """The number."""
    return (boxed(task.reference["answer"]),)


def distractors(task: Task) -> list[Replies]:
    """All other numbers, all at once, hedges, words."""
    gold, n = task.reference["answer"], task.reference["sentences"]
    others = [i for i in range(n + 2) if i != gold]
    every = ", ".join(map(str, range(n + 1)))
    forms = (every, f"{gold} or {others[0]}", f"{others[0]} {gold}", "wrong", f"{gold}.5", "")
    return [(boxed(answer),) for answer in (*others, *forms)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any number."""
    return (boxed(int(rng.integers(1, task.reference["sentences"] + 1))),)


CATEGORY = Category(
    name="wrong_sentence",
    group="critic",
    level="step",
    benchmark="perception critic (HallusionBench, VLM critique)",
    scale="shapes: 2 … 6, sentences: 3 … 7",
    draw=draw,
    score=by_answer(count),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
