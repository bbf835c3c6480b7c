"""Read the state of an element of a screen, or name the element at a place."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.answers.places import write
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.gui import screen_layout as layout
from rl.envs.gui import screen_states as states
from rl.envs.gui.screen_paint import paint
from rl.envs.gui.screen_plans import full_screen
from rl.envs.gui.screens import Screen, draw_screen, find, here
from rl.rewards.rules import text
from rl.types import Json, Task

_WHICH = {
    "en": "What is written on the element in the box {box} (thousandths of the picture)? "
    "Answer with its text only.",
    "zh": "方框{box}（图宽高的千分之几）里的元素上写着什么？只回答上面的文字。",
}


def draw(context: Draw) -> Drawn:
    """A screen, and a question about one of its elements."""
    rng, difficulty, language = context
    screen = draw_screen(rng, full_screen(rng, difficulty), language)
    if rng.random() < 0.25:
        question, reference = _written(rng, screen)
    else:
        widget = pick(rng, [w for w in here(screen) if w["kind"] != "button"])
        question = states.ask(widget, language)
        value = states.current(widget)
        others = [v for v in states.all_values(widget, language) if v != value][:40]
        options = [states.shown(widget, v, language) for v in (value, *others)]
        reference = {"answers": options[:1], "options": options}
    return Drawn((Image(paint(screen)), Text(question)), reference)


def _written(rng: np.random.Generator, screen: Screen) -> tuple[str, dict[str, Json]]:
    """The label of a button, check box or option, by its place."""
    written = {}
    for spot in layout.spots(screen):
        if spot.key != "icon":
            widget = find(screen, spot.key)
            if widget["kind"] in ("button", "checkbox"):
                written[widget["label"]] = spot
            elif "options" in widget and spot.part:
                written[widget["options"][int(spot.part)]] = spot
    names = list(written)
    name = pick(rng, names)
    box = layout.on_grid(screen, written[name].box)
    others = [other for other in names if text.normalise(other) != text.normalise(name)]
    question = _WHICH[screen["language"]].format(box=write(box))
    return question, {"answers": [name], "options": [name, *others][:40]}


def oracle(task: Task) -> Replies:
    """What it says."""
    return (boxed(task.reference["answers"][0]),)


def distractors(task: Task) -> list[Replies]:
    """Other values, all of them, hedges, and nothing."""
    gold, *others = task.reference["options"]
    wrong = [*others[:8], " ".join([gold, *others]), f"not {gold}", "", "None", f'"{gold}" "x"']
    wrong += [f"{gold} or {others[0]}" if others else "or"]
    return [(boxed(one),) for one in wrong]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """One of the values that the element can have."""
    return (boxed(pick(rng, task.reference["options"])),)


CATEGORY = Category(
    name="gui_element",
    group="gui",
    level="element",
    benchmark="ScreenQA",
    scale="widgets on the screen: 5 … 44, and its width: 168 … 1120 pixels",
    draw=draw,
    score=by_answer(text.exact),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
