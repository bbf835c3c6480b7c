"""Point at an element of a screen, which is named or said by what it does."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from mmtp.data.tasks.scenes import SHAPES
from rl.answers.places import write
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.gui import screen_goals as goals
from rl.envs.gui import screen_layout as layout
from rl.envs.gui.screen_layout import Spot
from rl.envs.gui.screen_paint import paint
from rl.envs.gui.screen_plans import full_screen
from rl.envs.gui.screens import NAMES, Screen, draw_screen, find
from rl.envs.parts.place_attacks import box_attacks, scattered_points
from rl.rewards.rules import gui_actions
from rl.types import Task

_ASK = {
    "en": ("Point at {}.", "Where is {}?"),
    "zh": ("请指出{}。", "{}在哪里？"),
}
_DO = {"en": "Where do you click to {}?", "zh": "要{}，应该点哪里？"}
_FORM = {
    "en": " Answer with one point [x,y] in thousandths of the width and height.",
    "zh": "只回答一个点[x,y]，用宽和高的千分之几表示。",
}
_NAMED = {
    "plain": {"en": 'the {kind} "{label}"', "zh": "{kind}“{label}”"},
    "option": {"en": 'the {kind} "{part}" of "{label}"', "zh": "“{label}”的{kind}“{part}”"},
    "sign": {"en": 'the "{part}" button of "{label}"', "zh": "“{label}”的“{part}”按钮"},
    "knob": {"en": 'the knob of the slider "{label}"', "zh": "滑块“{label}”的圆钮"},
    "icon": {"en": "the icon with a {part}", "zh": "带{part}的图标"},
}


def draw(context: Draw) -> Drawn:
    """A screen and the name of one of its elements, or what a click on it does."""
    rng, difficulty, language = context
    screen = draw_screen(rng, full_screen(rng, difficulty), language)
    able = [spot for spot in layout.spots(screen) if _asked_for(screen, spot)]
    spot = pick(rng, able)
    done = _does(rng, screen, spot) if rng.random() < 0.4 else ""
    if done:
        question = _DO[language].format(done)
    else:
        question = pick(rng, _ASK[language]).format(_name(screen, spot))
    box = list(layout.on_grid(screen, spot.box))
    others = [layout.middle(screen, s.box) for s in able if s != spot]
    reference = {"box": box, "others": [list(place) for place in others[:12]]}
    return Drawn((Image(paint(screen)), Text(question + _FORM[language])), reference)


def _asked_for(screen: Screen, spot: Spot) -> bool:
    """Of a slider, only the knob is something that can be seen."""
    if spot.key == "icon":
        return True
    widget = find(screen, spot.key)
    return widget["kind"] != "slider" or int(spot.part) == widget["value"]


def _name(screen: Screen, spot: Spot) -> str:
    language = screen["language"]
    if spot.key == "icon":
        return _NAMED["icon"][language].format(part=SHAPES[spot.part].of(language))
    widget = find(screen, spot.key)
    kind, part = widget["kind"], spot.part
    form = {"stepper": "sign", "slider": "knob", "radio": "option", "list": "option"}
    if form.get(kind) == "option":
        part = widget["options"][int(part)]
    words = {"kind": NAMES[kind].of(language), "label": widget["label"], "part": part}
    return _NAMED[form.get(kind, "plain")][language].format(**words)


def _does(rng: np.random.Generator, screen: Screen, spot: Spot) -> str:
    """What a click does, as an instruction; "" where the name says it better."""
    if spot.key == "icon":
        return ""
    widget = find(screen, spot.key)
    to = {"checkbox": not widget.get("on"), "switch": not widget.get("on"), "button": ""}
    if widget["kind"] in ("radio", "list"):
        return goals.say(rng, screen, {"id": spot.key, "to": int(spot.part)})
    if widget["kind"] in to:
        return goals.say(rng, screen, {"id": spot.key, "to": to[widget["kind"]]})
    return ""


def oracle(task: Task) -> Replies:
    """The middle."""
    x1, y1, x2, y2 = task.reference["box"]
    return (boxed(write(((x1 + x2) // 2, (y1 + y2) // 2))),)


def distractors(task: Task) -> list[Replies]:
    """Other elements, places just beside it, boxes, and points everywhere."""
    box = task.reference["box"]
    x1, y1, x2, y2 = box
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    beside = [(x1 - 2, y), (x2 + 2, y), (x, y1 - 2), (x, y2 + 2)]
    wrong = [write((a, b)) for a, b in beside if 0 <= a < 1000 and 0 <= b < 1000]
    wrong += [write(tuple(place)) for place in task.reference["others"]]
    attacks = [attack for attack in box_attacks(box) if attack != write((x, y))]
    gold = write((x, y))
    hedges = [f"{gold},[0,0]", f"{gold} or [0,0]", f"at {gold}", f"[{x}.0,{y}.0]", f"{x},{y}"]
    return [(boxed(one),) for one in (*wrong, *attacks, *hedges, scattered_points(10))]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any point."""
    x, y = rng.integers(0, 1000, 2).tolist()
    return (boxed(write((x, y))),)


CATEGORY = Category(
    name="gui_grounding",
    group="gui",
    level="grounding",
    benchmark="ScreenSpot, ScreenSpot-Pro",
    scale="things to click: 5 … 100, and the screen's width: 168 … 1120 pixels",
    draw=draw,
    score=by_answer(gui_actions.point_in_box),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
