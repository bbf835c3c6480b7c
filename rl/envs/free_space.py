"""Find a free place that a description fits: a point of it, or a box of some size that fits in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, mix, new_sheet, pick, pick_some
from mmtp.data.records import Image, Text
from mmtp.data.tasks.example import on_grid
from mmtp.data.tasks.scenes import COLOURS, PALETTE
from rl.answers.places import write
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_items import KINDS, Item, draw_on, light_ground, outline_in_thousandths
from rl.envs.parts.place_attacks import box_attacks, scattered_points
from rl.rewards.rules import points
from rl.types import Task

SIDE = (140, 196, 252, 336, 420)
COUNTS = (1, 4, 6, 8, 12)  # things that stand about
RADII = (0.09, 0.08, 0.065, 0.055, 0.045)  # of the picture's side
SIDES = {  # axis, sign, words
    "left": (0, -1, "to the left of the {}", "在{}的左边"),
    "right": (0, 1, "to the right of the {}", "在{}的右边"),
    "above": (1, -1, "above the {}", "在{}的上方"),
    "below": (1, 1, "below the {}", "在{}的下方"),
}
POINT = {
    "en": "Give a free point on the {mat} mat{where}. It must lie on no shape. "
    "Answer with [x,y] in thousandths of the width and height.",
    "zh": "请在{mat}垫子上给出一个空白处的点{where}，不能落在任何图形上。"
    "用[x,y]回答，坐标为千分数。",
}
BOX = {
    "en": "Give a free box on the {mat} mat{where}, at least {w} wide and {h} high. It must touch "
    "no shape. Answer with [x1,y1,x2,y2], all in thousandths of the width and height.",
    "zh": "请在{mat}垫子上给出一个空白的框{where}，宽至少{w}，高至少{h}，不能碰到任何图形。"
    "用[x1,y1,x2,y2]回答，都以千分数计。",
}
MIDST = (" between the {} and the {}", "，位于{}和{}之间")
LEAST = 0.045  # half of a free place's side
Frame = tuple[float, float, float, float]
Mat = tuple[Frame, str]  # and its colour
Spot = tuple[float, float, float]  # x, y, half the side


@dataclass(frozen=True)
class Scene:
    """Mats, things, and a region: lengths in shares of the picture's side.

    Attributes:
        mats: frame and colour of each; the first is asked for.
        items: what stands about, its middle and radius in shares too.
        region: a frame that the place must be in.
        where: words in both languages.
    """

    mats: list[Mat]
    items: list[Item]
    region: Frame
    where: tuple[str, str]


def draw_task(context: Draw) -> Drawn:
    """Mats with things on them, and a place that is described."""
    rng, difficulty, language = context
    scene, (x, y, room) = _scene(rng, difficulty)
    side = SIDE[difficulty]
    items = [Item(i.kind, i.colour, _scaled(i.middle, side), i.radius * side) for i in scene.items]
    ground = light_ground(rng)
    sheet = new_sheet((side, side), ground, 2)
    for frame, colour in scene.mats:
        fill = PALETTE[colour][1]
        corners = (frame[0] * side, frame[1] * side, frame[2] * side, frame[3] * side)
        sheet.box(corners, mix(fill, WHITE, 0.62), fill, width=2)
    draw_on(sheet, items, mix(ground, BLACK, 0.25))
    left, top, right, bottom = (on_grid(value, 1) for value in scene.region)
    reference = {
        "region": [[left, top], [right, top], [right, bottom], [left, bottom]],
        "taken": [outline_in_thousandths(item, (side, side)) for item in items],
        "example": [on_grid(x, 1), on_grid(y, 1)],
    }
    words = dict(mat=PALETTE[scene.mats[0][1]][0].of(language), where=scene.where[language == "zh"])
    question = POINT[language].format(**words)
    if difficulty >= 3:
        half = int(1000 * room) - 2
        reference["example"] = [on_grid(v, 1) for v in (x - room, y - room, x + room, y + room)]
        width, height = (int(half * rng.uniform(1.1, 1.5)) // 5 * 5 for _ in range(2))
        reference["size"] = [width, height]
        question = BOX[language].format(**words, w=width, h=height)
    return Drawn((Image(sheet.pixels()), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """The middle of the widest free place, or a box in it."""
    return (boxed(write(tuple(task.reference["example"]))),)


def distractors(task: Task) -> list[Replies]:
    """On a thing, outside of the region, everywhere at once, too small, inside out."""
    reference = task.reference
    on_things = [np.mean(np.array(taken), 0).round().astype(int) for taken in reference["taken"]]
    (left, top), _, (right, bottom), _ = reference["region"]
    outside = [[1, 1], [998, 1], [1, 998], [998, 998], [left - 8, top], [right, bottom + 8]]
    spots = [[int(x), int(y)] for x, y in on_things] + outside
    if "size" not in reference:
        x, y = reference["example"]
        texts = [write((x, y, x + 1, y + 1)), f"{write((x, y))} or [1,1]", scattered_points(6)]
        texts += [*(write(tuple(spot)) for spot in spots), "", "[nan,nan]", f"{x},{y}", "[0,0]"]
        return [(boxed(text),) for text in texts]
    w, h = reference["size"]
    spots = [[min(max(x, w), 998 - w), min(max(y, h), 998 - h)] for x, y in spots[:-6]]
    x1, y1, _, _ = reference["example"]
    wrong = [(x - w // 2, y - h // 2, x + w // 2 + 1, y + h // 2 + 1) for x, y in spots]
    wrong += [(x1, y1, x1 + w - 1, y1 + h), (x1, y1, x1 + w, y1 + h - 1), (0, 0, w, h)]
    wrong += [(left - 8, top, right, bottom), (998 - w, 998 - h, 998, 998)]
    texts = [*map(write, wrong), *box_attacks(reference["example"])]
    return [(boxed(text),) for text in texts]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A point anywhere, or a box of the right size."""
    x, y = rng.integers(30, 970, 2).tolist()
    if "size" not in task.reference:
        return (boxed(write((x, y))),)
    w, h = task.reference["size"]
    x, y = min(x, 998 - w), min(y, 998 - h)
    return (boxed(write((x, y, x + w, y + h))),)


def _scene(rng: np.random.Generator, difficulty: int) -> tuple[Scene, Spot]:
    """A scene, and the widest free place of its region."""
    while True:
        mats, items = _stage(rng, difficulty)
        for _ in range(6):
            scene = _describe(rng, difficulty, mats, items)
            spot = _widest(scene) if scene else None
            if scene and spot and spot[2] > LEAST:
                return scene, spot


def _stage(rng: np.random.Generator, difficulty: int) -> tuple[list[Mat], list[Item]]:
    """Mats and things on them, most of these on the first mat, none of them like another."""
    coloured = [colour for colour in COLOURS if colour != "black"]  # a light black is grey
    mat_colours = pick_some(rng, coloured, 3)
    frames = _frames(rng, 1 if difficulty == 0 else 2 if difficulty < 4 else 3)
    mats = list(zip([frames[i] for i in rng.permutation(len(frames))], mat_colours, strict=False))
    others = [colour for colour in COLOURS if colour not in mat_colours]
    radius, count = RADII[difficulty], COUNTS[difficulty]
    items: list[Item] = []
    names: set[str] = set()
    tries = iter(rng.random((40 * count, 2)).tolist())
    while len(items) < count:
        left, top, right, bottom = mats[0][0] if len(items) < 0.6 * count else pick(rng, mats)[0]
        across, down = next(tries, (None, None))
        if across is None or down is None:
            return _stage(rng, difficulty)
        x = left + radius + across * (right - left - 2 * radius)
        y = top + radius + down * (bottom - top - 2 * radius)
        if difficulty == 2 and len(items) == 1:  # something to be between
            first = items[0].middle
            x, y = (x, first[1]) if right - left > bottom - top else (first[0], y)
        if all(math.dist(o.middle, (x, y)) > 2.3 * radius for o in items):
            item = Item(pick(rng, KINDS), pick(rng, others), (x, y), radius)
            if item.name("en") not in names:
                items.append(item)
                names.add(item.name("en"))
    return mats, items


def _describe(
    rng: np.random.Generator, difficulty: int, mats: list[Mat], items: list[Item]
) -> Scene | None:
    """A description of a place on the first mat; None where it does not work out."""
    frame = mats[0][0]
    if difficulty == 0:
        return Scene(mats, items, frame, ("", ""))
    inside = [item for item in items if _in(item.middle, frame)]
    if difficulty == 2:
        return _between(mats, items, pick_some(rng, inside, len(inside)))
    bounds, english, chinese = list(frame), [], []
    anchors = pick_some(rng, inside, 2) if difficulty == 4 else [pick(rng, inside)]
    axes = (("left", "right"), ("above", "below")) if difficulty == 4 else (tuple(SIDES),)
    for anchor, sides in zip(anchors, axes, strict=True):
        axis, sign, en, zh = SIDES[pick(rng, sides)]
        edge = anchor.box[axis + (2 if sign > 0 else 0)] + sign * 0.006
        bounds[axis if sign > 0 else axis + 2] = edge
        english.append(en.format(anchor.name("en")))
        chinese.append(zh.format(anchor.name("zh")))
    left, top, right, bottom = bounds
    if right - left < 0.1 or bottom - top < 0.1:
        return None
    where = ", " + " and ".join(english), "，" + "、".join(chinese)
    return Scene(mats, items, (left, top, right, bottom), where)


def _between(mats: list[Mat], items: list[Item], inside: Sequence[Item]) -> Scene | None:
    """Between two things that stand side by side, or one above the other."""
    for one in inside:
        for other in inside:
            for axis in (0, 1):
                gap = other.box[axis] - one.box[axis + 2]
                off = abs(one.middle[1 - axis] - other.middle[1 - axis])
                if gap < 0.16 or off > 0.5 * one.radius:
                    continue
                low = max(one.box[1 - axis], other.box[1 - axis])
                high = min(one.box[3 - axis], other.box[3 - axis])
                ends = one.box[axis + 2] + 0.006, other.box[axis] - 0.006
                x, y = (ends, (low, high)) if axis == 0 else ((low, high), ends)
                pair = [(one.name(k), other.name(k)) for k in ("en", "zh")]
                where = MIDST[0].format(*pair[0]), MIDST[1].format(*pair[1])
                return Scene(mats, items, (x[0], y[0], x[1], y[1]), where)
    return None


def _widest(scene: Scene) -> Spot | None:
    """(x, y, half side) of the largest free square in the region, about."""
    left, top, right, bottom = scene.region
    xs, ys = np.linspace(left, right, 25)[1:-1], np.linspace(top, bottom, 25)[1:-1]
    x, y = np.meshgrid(xs, ys)
    room = np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y))
    for item in scene.items:
        a, b, c, d = item.box
        gap = np.maximum(np.maximum(a - x, x - c), np.maximum(b - y, y - d))
        room = np.minimum(room, gap)
    best = int(np.argmax(room))
    found = float(room.flat[best]) - 0.004
    return (float(x.flat[best]), float(y.flat[best]), found) if found > 0 else None


def _frames(rng: np.random.Generator, count: int) -> list[Frame]:
    """Frames of `count` mats: one somewhere, two side by side or stacked, three with one wide."""
    if count == 1:
        x, y = rng.uniform(0.05, 0.45, 2)
        return [(float(x), float(y), float(x) + 0.5, float(y) + 0.5)]
    cut = float(rng.uniform(0.44, 0.56))
    first, second = (0.04, 0.04, 0.96, cut - 0.02), (0.04, cut + 0.02, 0.96, 0.96)
    if count == 2:
        frames: list[Frame] = [first, second]
        return [(b, a, d, c) for a, b, c, d in frames] if rng.random() < 0.5 else frames
    half = float(rng.uniform(0.36, 0.46))
    return [(0.04, 0.04, 0.96, 0.62), (0.04, 0.66, half, 0.96), (half + 0.04, 0.66, 0.96, 0.96)]


def _in(point: tuple[float, float], frame: Frame) -> bool:
    return frame[0] < point[0] < frame[2] and frame[1] < point[1] < frame[3]


def _scaled(point: tuple[float, float], side: int) -> tuple[float, float]:
    return point[0] * side, point[1] * side


CATEGORY = Category(
    name="free_space",
    group="grounding",
    level="grounding",
    benchmark="Where2Place",
    scale="a mat; beside a thing; between two; a box of some size; two relations among 12 things",
    draw=draw_task,
    score=by_answer(points.free_place),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
