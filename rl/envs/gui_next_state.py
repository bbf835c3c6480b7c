"""Which of four screens does an action lead to?"""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Part, Text
from rl.answers import gui
from rl.answers.gui_family import Click
from rl.answers.numbers import letter
from rl.envs.category import Category, Draw, Drawn, by_answer
from rl.envs.gui import screen_goals as goals
from rl.envs.gui import screen_layout as layout
from rl.envs.gui.screen_acts import act
from rl.envs.gui.screen_layout import Spot
from rl.envs.gui.screen_paint import paint
from rl.envs.gui.screen_plans import DIALECTS, several_pages
from rl.envs.gui.screens import Screen, draw_screen, here, widgets
from rl.envs.parts import choices
from rl.rewards.rules import choice
from rl.types import Json

COUNT = 4
_NOW = {"en": "The screen now:", "zh": "现在的屏幕："}
_THEN = {
    "en": "The action: {}\nWhich of these screens comes next?",
    "zh": "动作：{}\n之后是下面哪个屏幕？",
}
_SAME = {"en": "screen {}", "zh": "屏幕{}"}


def draw(context: Draw) -> Drawn:
    """A screen, a click, and four screens that clicks lead to."""
    rng, difficulty, language = context
    kind = pick(rng, tuple(DIALECTS))
    while True:
        screen = draw_screen(rng, several_pages(rng, difficulty, kind, buttons=True), language)
        for widget in widgets(screen):
            if widget["kind"] == "button":
                widget["sends"] = True
        spots = [s for s in layout.spots(screen) if _changes(screen, s)]
        screens = _candidates(rng, screen, spots, DIALECTS[kind])
        if len(screens) == COUNT:
            break
    pictures = [paint(candidate, marks=kind == "web") for candidate in screens]
    order = rng.permutation(COUNT).tolist()
    clicked = gui.write(_click(screen, spots[0], DIALECTS[kind]), DIALECTS[kind])
    marks = kind == "web"
    parts: list[Part] = [Text(_NOW[language]), Image(paint(screen, marks))]
    parts.append(Text(_THEN[language].format(clicked)))
    for place, number in enumerate(order):
        parts += [Text(f"{letter(place)}:"), Image(pictures[number])]
    parts.append(Text(choices.FORM[language]))
    names = [_SAME[language].format(letter(i)) for i in range(COUNT)]
    return Drawn(tuple(parts), {"answer": order.index(0), "options": names})


def _changes(screen: Screen, spot: Spot) -> bool:
    """Whether a click there does something that can be seen."""
    return spot.key != "icon" and act(screen, Click(layout.on_grid(screen, spot.box))) != screen


def _click(screen: Screen, spot: Spot, dialect: str) -> Click:
    return Click(goals.place(screen, spot, dialect))


def _candidates(
    rng: np.random.Generator, screen: Screen, spots: list[Spot], dialect: str
) -> list[Screen]:
    """After the click on the first spot, which is drawn here, and other screens.

    Others are of clicks elsewhere, of the same click with something else changed too, and the
    screen as it was. All of them look different.
    """
    if len(spots) < COUNT:
        return []
    spots[:] = pick_some(rng, spots, len(spots))
    screens = [act(screen, _click(screen, spot, dialect)) for spot in spots[: COUNT + 2]]
    right, *others = [after for after in screens if after is not None]
    still = not right["ended"] and spots[1] in layout.spots(right)
    both = act(right, _click(right, spots[1], dialect)) if still else None
    others = [*others[:1], *([both] if both else []), *others[1:], screen]
    found: list[Screen] = []
    for candidate in [right, *others]:
        if all(_seen(candidate) != _seen(other) for other in found):
            found.append(candidate)
    return found[:COUNT]


def _seen(screen: Screen) -> list[Json]:
    """What is seen of a screen: equal only where the pictures are equal."""
    if screen["ended"]:
        return [screen["pressed"][-1:]]
    return [here(screen), *(screen[key] for key in ("page", "focus", "marked", "open", "scroll"))]


CATEGORY = Category(
    name="gui_next_state",
    group="gui",
    level="step",
    benchmark="World model of screens: next-state prediction",
    scale="things that can be clicked: 5 … 40; pages: 1 … 3",
    draw=draw,
    score=by_answer(choice.choice),
    oracle=choices.oracle,
    distractors=choices.distractors,
    guess=choices.guess,
)
