"""The next action for a goal on a screen, in one of three dialects; parts may be done already."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.answers import gui
from rl.answers.gui_family import (
    Action,
    Answer,
    Click,
    Finish,
    Press,
    Wait,
    Write,
    from_json,
    to_json,
)
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.gui import screen_goals as goals
from rl.envs.gui import screen_layout as layout
from rl.envs.gui.screen_goals import Change
from rl.envs.gui.screen_paint import paint
from rl.envs.gui.screen_plans import DIALECTS, full_screen
from rl.envs.gui.screen_prompts import ACTIONS, GOAL, NEXT
from rl.envs.gui.screens import Screen, draw_screen, here
from rl.rewards.rules import gui_actions
from rl.types import Json, Task

KINDS = ("checkbox", "switch", "field", "radio", "dropdown", "stepper", "list")


def draw(context: Draw) -> Drawn:
    """A screen on the way to a goal, and the actions that bring it nearer."""
    rng, difficulty, language = context
    kind = pick(rng, tuple(DIALECTS))
    plan = full_screen(rng, min(difficulty, 3), kind)
    screen, dialect = draw_screen(rng, plan, language), DIALECTS[kind]
    changes = goals.choose(rng, screen, (1, 1, 2, 3, 4)[difficulty], KINDS)
    buttons = [w["id"] for w in here(screen) if w["kind"] == "button"]
    press = [{"id": pick(rng, buttons), "to": ""}] if rng.random() < 0.8 or not changes else []
    told = goals.say_all(rng, screen, [*changes, *press])
    path = goals.solve(screen, changes, dialect)
    allowed = len(path) + bool(press or (dialect != "web" and rng.random() < 0.3))
    done = int(rng.integers(0, max(1, allowed)))
    screen = path[done - 1][1] if done else screen
    wanted = _wanted(screen, changes, press, dialect)
    reference = {
        "dialect": dialect,
        "actions": wanted,
        "others": _others(screen, dialect, wanted),
    }
    goal = GOAL[language].format(told, " " * (language == "en") + NEXT[language])
    asked = f"{goal}\n{ACTIONS[dialect][language]}"
    return Drawn((Image(paint(screen, marks=dialect == "web")), Text(asked)), reference)


def _wanted(screen: Screen, changes: list[Change], press: list[Change], dialect: str) -> list[Json]:
    """Every action that brings the goal nearer; changes may be made in any order."""
    started = [c for c in changes if c["id"] in (screen["open"], screen["focus"])]
    actions = [goals.next_action(screen, change, dialect) for change in started]
    if not any(actions) or not screen["open"]:
        actions += [goals.next_action(screen, c, dialect) for c in changes if c not in started]
    if not any(actions):
        actions = [goals.next_action(screen, c, dialect) for c in press] or [Finish(True)]
    return [{"action": to_json(a), "box": _box(screen, a)} for a in actions if a is not None]


def _box(screen: Screen, action: Action) -> list[int] | None:
    """Of what a click of the pc dialect is meant for."""
    spot = (
        layout.hit(screen, action.at) if isinstance(action, Click) and len(action.at) == 2 else None
    )
    return list(layout.on_grid(screen, spot.box)) if spot else None


def _others(screen: Screen, dialect: str, wanted: list[Json]) -> list[str]:
    """Actions that are possible and wrong: clicks elsewhere, nothing, the end, other texts."""
    right = [one["action"] for one in wanted]
    spots = layout.spots(screen)[:30]
    actions: list[Action] = []
    actions += [Click(goals.place(screen, spot, dialect)) for spot in spots]
    actions += [Wait(), *([Press("enter")] if dialect != "mobile" else [])]
    actions += [Answer("done")] if dialect == "web" else [Finish(True), Finish(False)]
    for one in wanted:
        if one["action"]["kind"] == "Write":
            at, clear = tuple(one["action"]["at"]), one["action"]["clear"]
            actions += [Write(text, at, clear) for text in ("", "x", one["action"]["text"] * 3)]
    return [gui.write(a, dialect) for a in actions if to_json(a) not in right]


def oracle(task: Task) -> Replies:
    """The first of the right actions."""
    return (boxed(_right(task)),)


def _right(task: Task) -> str:
    wanted = task.reference["actions"][0]["action"]
    return gui.write(from_json(wanted), task.reference["dialect"])


def distractors(task: Task) -> list[Replies]:
    """Other actions, other dialects, two at once, and words around the right one."""
    right = _right(task)
    others = ["", "DONE", "click", f"{right} {right}", f"{right}; WAIT()", f"I would {right}", "{}"]
    others += [f"[{right}]", right[:-1], "__import__('os').getpid()"]
    said = [*task.reference["others"], *others]
    said += [gui.write(Wait(), name) for name in gui.DIALECTS]
    return [(boxed(one),) for one in said]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A click anywhere."""
    x, y = rng.integers(0, 900, 2).tolist()
    at = {"mobile": (x, y, x + 99, y + 40), "pc": (x, y), "web": (x // 90 + 1,)}
    dialect = task.reference["dialect"]
    return (boxed(gui.write(Click(at[dialect]), dialect)),)


CATEGORY = Category(
    name="gui_step",
    group="gui",
    level="step",
    benchmark="AndroidControl, Mind2Web",
    scale="things to do: 1 … 4, of which some are done; widgets: 5 … 21",
    draw=draw,
    score=by_answer(gui_actions.step),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
