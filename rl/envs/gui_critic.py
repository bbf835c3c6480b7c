"""Find what is wrong: a step of a shown episode, or a statement about a screen."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Part, Text
from rl.answers import gui
from rl.answers.gui_family import Action, Click
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.gui import screen_goals as goals
from rl.envs.gui import screen_states as states
from rl.envs.gui.screen_acts import act
from rl.envs.gui.screen_goals import Change
from rl.envs.gui.screen_paint import paint
from rl.envs.gui.screen_plans import full_screen, several_pages
from rl.envs.gui.screens import Screen, draw_screen, find, here
from rl.rewards.rules import counts
from rl.types import Task

SIMPLE = ("checkbox", "switch", "radio", "list", "stepper")
_STATED = {
    "en": "Exactly one of these statements about the screen is false. Which? Answer with its "
    "number only.\n{}",
    "zh": "关于这个屏幕，下面只有一句是错的。是哪一句？只回答它的编号。\n{}",
}
_GOAL = {"en": "Goal: {} The first screen:", "zh": "目标：{}最初的屏幕："}
_STEP = {"en": "Step {}: {}", "zh": "第{}步：{}"}
_WRONG = {
    "en": "Which step does not serve the goal? Answer with its number only, 0 if all are right.",
    "zh": "哪一步不是为目标做的？只回答步骤的编号，都对就回答0。",
}


def draw(context: Draw) -> Drawn:
    """Statements about a screen, or an episode, with one thing wrong."""
    rng = context.rng
    return _statements(context) if rng.random() < 0.4 else _episode(context)


def _statements(context: Draw) -> Drawn:
    rng, difficulty, language = context
    screen = draw_screen(rng, full_screen(rng, difficulty), language)
    able = [widget for widget in here(screen) if widget["kind"] != "button"]
    chosen = pick_some(rng, able, min(len(able), 3 + difficulty))
    wrong = int(rng.integers(len(chosen)))
    lines = []
    for number, widget in enumerate(chosen):
        value = states.current(widget)
        if number == wrong:
            value = pick(rng, [v for v in states.all_values(widget, language) if v != value])
        lines.append(f"{number + 1}. {states.state(widget, value, language)}")
    question = _STATED[language].format("\n".join(lines))
    reference = {"answer": wrong + 1, "choices": list(range(1, len(chosen) + 1))}
    return Drawn((Image(paint(screen)), Text(question)), reference)


def _episode(context: Draw) -> Drawn:
    """The steps of a goal, or all but one of them and a click on something else."""
    rng, difficulty, language = context
    while True:
        plan = several_pages(rng, min(difficulty, 2), "desktop", buttons=False)
        screen = draw_screen(rng, plan, language)
        changes = goals.choose(rng, screen, 2 + (difficulty + 1) // 2, SIMPLE)
        path = goals.solve(screen, changes, "pc")[: 3 + difficulty]
        spare = [w for w in here(screen) if w["kind"] in SIMPLE]
        spare = [w for w in spare if w["id"] not in [change["id"] for change in changes]]
        if len(path) >= 2 and spare and len(path) == len(goals.solve(screen, changes, "pc")):
            break
    actions = [action for action, _ in path]
    wrong = int(rng.integers(len(actions) + 1))
    if wrong:
        before = path[wrong - 2][1] if wrong > 1 else screen
        spare = [w for w in here(before) if w["kind"] in SIMPLE and not _asked(w["id"], changes)]
        if spare:
            actions[wrong - 1 : wrong - 1] = [_stray(rng, before, pick(rng, spare)["id"])]
        else:
            wrong = 0
    told = goals.say_all(rng, screen, changes)
    parts: list[Part] = [Text(_GOAL[language].format(told)), Image(paint(screen))]
    for number, action in enumerate(actions, 1):
        after = act(screen, action)
        assert after is not None, action
        screen = after
        parts.append(Text(_STEP[language].format(number, gui.write(action, "pc"))))
        parts.append(Image(paint(screen)))
    parts.append(Text(_WRONG[language]))
    return Drawn(tuple(parts), {"answer": wrong, "choices": list(range(len(actions) + 1))})


def _asked(key: str, changes: list[Change]) -> bool:
    return any(change["id"] == key for change in changes)


def _stray(rng: np.random.Generator, screen: Screen, key: str) -> Action:
    """A click that changes a widget."""
    change = {"id": key, "to": _new(find(screen, key))}
    action = goals.next_action(screen, change, "pc")
    assert isinstance(action, Click), action
    return action


def _new(widget: dict) -> bool | int:
    if "on" in widget:
        return not widget["on"]
    return widget["value"] - 1 if widget["value"] else 1


def oracle(task: Task) -> Replies:
    """The number."""
    return (boxed(task.reference["answer"]),)


def distractors(task: Task) -> list[Replies]:
    """Other numbers, several, and none."""
    gold, choices = task.reference["answer"], task.reference["choices"]
    wrong = [str(n) for n in choices if n != gold]
    wrong += [" ".join(map(str, choices)), f"{gold} or {wrong[0]}", f"not {gold}", "", "-1"]
    wrong += [f"{gold}.5", f"{gold}, {wrong[0]}", "²", f"step {gold}", f"{gold}e0"]
    return [(boxed(one),) for one in wrong]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Any of the numbers."""
    return (boxed(pick(rng, task.reference["choices"])),)


CATEGORY = Category(
    name="gui_critic",
    group="gui",
    level="step",
    benchmark="Critic of perception and of actions on screens",
    scale="statements: 3 … 7; steps: 2 … 8",
    draw=draw,
    score=by_answer(counts.count),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
