"""Find the blocks of a page, in reading order."""

import json

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_documents import grain, page
from rl.rewards.rules.layout import layout
from rl.types import Json, Task

LABELS = ("title", "text", "figure", "table")
FORM = '[{"label": "title", "bbox_2d": [x1,y1,x2,y2]}, …]'
ASK = {
    "en": (
        "Find the blocks of this page in reading order, column by column. Labels: title, text (one "
        "for each paragraph), figure, table. Answer with JSON only, coordinates 0 to 999: ",
        "List every block of the page, title, text (a paragraph), figure or table, in the order in "
        "which it is read, columns from left to right. JSON only, coordinates 0 to 999: ",
    ),
    "zh": (
        "请按阅读顺序（逐栏）找出页面上的所有区块。label为title、text（每段一个）、figure或table。"
        "只回答JSON，坐标为0到999：",
        "请列出页面的每个区块，按阅读顺序，从左栏到右栏；标题title、段落text、图figure、表table。"
        "只回答JSON，坐标为0到999：",
    ),
}
SIZES = ((168, 196), (196, 280), (336, 280), (392, 420), (504, 420))
COLUMNS = (1, 1, 2, 2, 3)


def draw(context: Draw) -> Drawn:
    """A page of two blocks or more besides the title."""
    rng, difficulty, language = context
    size, columns = SIZES[difficulty], COLUMNS[difficulty]
    pixels, blocks = page(rng, size, columns, difficulty > 2 and rng.random() < 0.7, language)
    if difficulty > 2:
        pixels = grain(rng, pixels, 10)
    scale = np.array([*size, *size]) / 1000
    listed = [
        {"label": b.label, "bbox_2d": np.clip(np.round(b.box / scale), 0, 999).astype(int).tolist()}
        for b in blocks
    ]
    question = pick(rng, ASK[language]) + FORM
    return Drawn((Image(pixels), Text(question)), {"blocks": listed})


def oracle(task: Task) -> Replies:
    """The list."""
    return (boxed(json.dumps(task.reference["blocks"])),)


def distractors(task: Task) -> list[Replies]:
    """In reverse, of other labels, too small, the whole page, a grid of everything, not JSON."""
    gold = task.reference["blocks"]
    turned = {label: LABELS[(i + 1) % 4] for i, label in enumerate(LABELS)}
    grid = [[100 * i, 100 * j, 100 * i + 100, 100 * j + 100] for i in range(9) for j in range(9)]
    lists: list[Json] = [
        gold[::-1],
        [{**block, "label": turned[block["label"]]} for block in gold],
        [{**block, "bbox_2d": _half(block["bbox_2d"])} for block in gold],
        [{**block, "bbox_2d": [0, 0, 999, 999]} for block in gold],
        [{**block, "bbox_2d": block["bbox_2d"][2:] + block["bbox_2d"][:2]} for block in gold],
        [{"label": label, "bbox_2d": box} for label in LABELS for box in grid],
        [{**block, "bbox_2d": [n + 0.5 for n in block["bbox_2d"]]} for block in gold],
        [{**block, "score": 1} for block in gold],
        [block["bbox_2d"] for block in gold],
        gold[:1],
        {"blocks": gold},
        [],
    ]
    written = [json.dumps(value) for value in lists]
    text = json.dumps(gold)
    written += ["", f"The blocks: {text}", f"```json\n{text}\n```", text[:-1], text + text]
    return [(boxed(answer),) for answer in written]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A title at the top, and text in columns below."""
    columns = int(rng.integers(1, 4))
    blocks: list[Json] = [{"label": "title", "bbox_2d": [50, 40, 600, 100]}]
    for column in range(columns):
        left, step = 40 + 940 * column // columns, int(rng.integers(200, 400))
        for top in range(140, 900, step):
            box = [left, top, left + 900 // columns, min(970, top + step - 40)]
            blocks.append({"label": pick(rng, LABELS[1:]), "bbox_2d": box})
    return (boxed(json.dumps(blocks)),)


def _half(box: list[int]) -> list[int]:
    """The middle of it."""
    x1, y1, x2, y2 = box
    wide, high = (x2 - x1) // 4, (y2 - y1) // 4
    return [x1 + wide, y1 + high, x2 - wide, y2 - high]


CATEGORY = Category(
    name="page_layout",
    group="documents",
    level="grounding",
    benchmark="OmniDocBench",
    scale="one column … three, a figure across, the grain of a scan",
    draw=draw,
    score=by_answer(layout),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
