"""Find a small detail of a large picture by cutting boxes out of it, and say what it is.

The picture is shown too small for its numbers to be read; `zai_crop_image` shows a box of it as
fine as it is. A right answer is paid only if a box that could be read held the card.
"""

import functools
import json
from collections.abc import Mapping

import numpy as np
from PIL import Image as Pillow

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, mix, new_sheet, pick
from mmtp.data.records import Image, Text
from mmtp.data.tasks import scenes
from rl.answers.calls import Call, write_call
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, Step
from rl.envs.parts import tool_turns
from rl.envs.parts.tool_schemas import CROP
from rl.rewards.rules import text
from rl.types import Json, Rollout, Task

FINE = 8  # pixels of the picture to one that is shown at first
SHOWN = (84, 112, 112, 140, 168)  # side at first, by difficulty
CARD = (104, 64)  # pixels of the whole picture
DIGITS = 24  # height of a number; a third of a shown pixel's row is left of each
MOST = 280  # pixels of a side that a crop is shown with; larger boxes are shown coarser
HANDLE = "mm://img_0"
ASKS = {
    "en": "The picture {handle} is {side} x {side} pixels; you see it {fine} times smaller. Which "
    "number is on the card with the {name}? Look closer with the tool, then answer with the "
    "number alone.",
    "zh": "图片{handle}原有{side}×{side}像素，你看到的缩小了{fine}倍。带有{name}的卡片上是什么数？"
    "用工具放大看，然后只回答这个数。",
}
TOLD = {
    "en": "{handle}: the box, {w} x {h} pixels, shown {zoom} times as fine as the whole.",
    "zh": "{handle}：此框{w}×{h}像素，比整图精细{zoom}倍。",
}


def draw(context: Draw) -> Drawn:
    """Cards with a shape and a number each; some shapes share the colour, some the kind."""
    rng, difficulty, language = context
    side, cells = SHOWN[difficulty] * FINE, 3 + difficulty // 2
    count = 3 + 2 * difficulty
    kinds = scenes.different(rng, min(count, 5), "both") if count < 6 else []
    kinds = kinds or scenes.different(rng, count, "pair")
    numbers = rng.choice(np.arange(100, 1000), count, replace=False).tolist()
    places = rng.choice(cells * cells, count, replace=False).tolist()
    cards = []
    for (kind, colour), number, place in zip(kinds, numbers, places, strict=True):
        room = side // cells
        x = place % cells * room + int(rng.integers(4, room - CARD[0] - 4))
        y = place // cells * room + int(rng.integers(4, room - CARD[1] - 4))
        cards.append({"kind": kind, "colour": colour, "number": str(number), "at": [x, y]})
    target = pick(rng, range(count))
    ground = [int(v) for v in mix(WHITE, BLACK, float(rng.uniform(0.03, 0.2)))]
    scene = {"side": side, "ground": ground, "cards": cards}
    shown = np.array(_whole(json.dumps(scene)).reduce(FINE))
    card = cards[target]
    name = scenes.Shape(card["kind"], card["colour"], (0.0, 0.0), 1.0).name(language)
    question = ASKS[language].format(handle=HANDLE, side=side, fine=FINE, name=name)
    reference = {"answers": [card["number"]], "target": target, "scene": scene}
    return Drawn((Image(shown), Text(question)), reference, {"crops": []}, (CROP,))


def step(task: Task, state: Mapping[str, Json], reply: str) -> Step:
    """Crops until an answer is given."""
    return tool_turns.turn(state, reply, task.tools, functools.partial(_crop, task))


def score(task: Task, rollout: Rollout) -> float:
    """1 where the number is right and a readable crop held the whole card, else 0."""
    answer = tool_turns.final_answer(rollout)
    if answer is None or not any(_holds(task, box) for box in rollout.state["crops"]):
        return 0.0
    return text.exact(answer, task.reference)


def oracle(task: Task) -> Replies:
    """A box around the card, then its number."""
    return (_call(_around(task, task.reference["target"])), boxed(task.reference["answers"][0]))


def distractors(task: Task) -> list[Replies]:
    """The number without a look, with a look elsewhere, at all of it, at a part; other numbers."""
    gold, target = boxed(task.reference["answers"][0]), task.reference["target"]
    cards = task.reference["scene"]["cards"]
    other = (target + 1) % len(cards)
    left, top, right, bottom = _around(task, target)
    look = _call([left, top, right, bottom])
    return [
        (gold,),
        (_call(_around(task, other)), gold),
        (_call([0, 0, 1000, 1000]), gold),
        (_call([left, top, (left + right) // 2, bottom]), gold),
        (_call([right, bottom, left, top]), gold),
        (look.replace(HANDLE, "mm://img_1"), gold),
        (look + gold, gold),
        (f"<think>{look}</think>{gold}",),
        (look, boxed(cards[other]["number"])),
        (look, boxed(" ".join(card["number"] for card in cards))),
        (look, boxed("")),
        (look,) * task.max_turns,
    ]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Some box, and some number."""
    x, y = (int(v) for v in rng.integers(0, 750, 2))
    return (_call([x, y, x + 250, y + 250]), boxed(int(rng.integers(100, 1000))))


def _call(box: list[int]) -> str:
    return write_call("zai_crop_image", {"image": HANDLE, "box_2d": box})


def _crop(
    task: Task, state: Mapping[str, Json], call: Call
) -> tuple[Mapping[str, Json], tuple[Image | Text, ...]]:
    scene = task.reference["scene"]
    if call.arguments["image"] != HANDLE:
        raise ValueError(f"there is no picture {call.arguments['image'][:40]!r}")
    left, top, right, bottom = _pixels(call.arguments["box_2d"], scene["side"])
    if right - left < 16 or bottom - top < 16:
        raise ValueError("x1 < x2 and y1 < y2 must hold, and 16 pixels be in between")
    cut = _whole(json.dumps(scene)).crop((left, top, right, bottom))
    longest = max(cut.size)
    if longest > MOST:
        cut = cut.resize([max(16, v * MOST // longest) for v in cut.size], Pillow.Resampling.BOX)
    zoom = round(FINE * cut.size[0] / (right - left), 1)
    told = TOLD[task.language].format(handle=HANDLE, w=right - left, h=bottom - top, zoom=zoom)
    crops = [*state["crops"], list(call.arguments["box_2d"])]
    return {"crops": crops}, (Image(np.array(cut)), Text(told))


def _holds(task: Task, box: list[int]) -> bool:
    """Whether the target's card is in the box, shown at least half as fine as it is."""
    scene = task.reference["scene"]
    left, top, right, bottom = _pixels(box, scene["side"])
    x, y = scene["cards"][task.reference["target"]]["at"]
    inside = left <= x + 20 and top <= y + 8 and x + CARD[0] - 20 <= right
    return inside and y + CARD[1] - 8 <= bottom and max(right - left, bottom - top) <= 2 * MOST


def _pixels(box: list[int], side: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(value * side / 1000) for value in box)
    return left, top, right, bottom


def _around(task: Task, card: int) -> list[int]:
    """The card's box in thousandths, rounded outwards."""
    side = task.reference["scene"]["side"]
    x, y = task.reference["scene"]["cards"][card]["at"]
    low = [v * 1000 // side for v in (x, y)]
    high = [-(-v * 1000 // side) for v in (x + CARD[0], y + CARD[1])]
    return [*low, *high]


@functools.lru_cache(maxsize=4)
def _whole(scene: str) -> Pillow.Image:
    """The picture as fine as it is."""
    drawn = json.loads(scene)
    sheet = new_sheet((drawn["side"],) * 2, tuple(drawn["ground"]))
    for card in drawn["cards"]:
        x, y = card["at"]
        sheet.box((x, y, x + CARD[0], y + CARD[1]), WHITE, (120, 120, 120), 6)
        shape = scenes.Shape(card["kind"], card["colour"], (x + 30.0, y + 32.0), 24.0)
        scenes.draw_shape(sheet, shape)
        sheet.text((x + 80, y + 32), card["number"], DIGITS, (90, 90, 96), "mm")
    return sheet.image


CATEGORY = Category(
    name="zoom_search",
    group="tools",
    level="trajectory",
    benchmark="V*, HR-Bench, ImageMining",
    scale="cards: 3 … 11, and the picture's side: 672 … 1344 pixels",
    draw=draw,
    score=score,
    oracle=oracle,
    distractors=distractors,
    guess=guess,
    step=step,
    max_turns=6,
)
