"""Episodes on screens: goals, actions and their screens, and whether the end is as asked.

An episode is right where everything has exactly the value that was asked for, nothing else has
changed, and it was ended as it should: by the form's button, by saying that it is done, or by the
answer that was asked for.
"""

from collections.abc import Mapping

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.answers import gui
from rl.answers.gui_family import Action, Answer, Click, Finish, Wait
from rl.answers.reply import answer_of, boxed
from rl.envs.category import Draw, Drawn, Replies, Step
from rl.envs.gui import screen_goals as goals
from rl.envs.gui import screen_layout as layout
from rl.envs.gui.screen_acts import act
from rl.envs.gui.screen_goals import Change
from rl.envs.gui.screen_paint import paint
from rl.envs.gui.screen_plans import several_pages
from rl.envs.gui.screen_prompts import ACTIONS, GOAL, NOTHING
from rl.envs.gui.screens import Screen, draw_screen, page_of, values, widgets
from rl.rewards.rules.text import normalise
from rl.types import Json, Observation, Rollout, Task

MAX_TURNS = 40
_TELL = {
    "done": {"en": "Then say that it is done.", "zh": "做完后说明已完成。"},
    "web": {"en": 'Then ANSWER with "done".', "zh": "做完后用ANSWER回答“done”。"},
    "fact": {
        "en": 'Then ANSWER with the number that "{}" has.',
        "zh": "做完后用ANSWER回答“{}”的数值。",
    },
    "ask": {
        "en": 'Which number does "{}" have? Use the action "answer", change nothing.',
        "zh": "“{}”的数值是多少？用answer动作回答，什么都不要改变。",
    },
    "sent": {"en": "", "zh": ""},
}


def draw_form(context: Draw) -> Drawn:
    """A form on a computer that a button sends away."""
    rng, difficulty, _ = context
    screen = _screen(context, "desktop", buttons=True)
    for widget in widgets(screen):
        if widget["kind"] == "button":
            widget["sends"] = True
    changes = goals.choose(rng, screen, difficulty + 1)
    buttons = [w["id"] for w in widgets(screen) if w["kind"] == "button"]
    press = {"id": pick(rng, buttons), "to": ""}
    return _drawn(rng, screen, "pc", [*changes, press], "sent")


def draw_mobile(context: Draw) -> Drawn:
    """Settings of a telephone, or a number that is to be found and told."""
    rng, difficulty, _ = context
    screen = _screen(context, "mobile", buttons=False)
    facts = [w for w in widgets(screen) if w["kind"] == "fact"]
    if facts and rng.random() < 0.25:
        return _drawn(rng, screen, "mobile", [], "ask", pick(rng, facts))
    changes = goals.choose(rng, screen, difficulty + 1)
    return _drawn(rng, screen, "mobile", changes, "done")


def draw_web(context: Draw) -> Drawn:
    """Pages whose elements wear numbers; at the end something is to be answered."""
    rng, difficulty, _ = context
    screen = _screen(context, "web", buttons=False)
    changes = goals.choose(rng, screen, difficulty + 1)
    facts = [w for w in widgets(screen) if w["kind"] == "fact"]
    fact = pick(rng, facts) if facts else None
    return _drawn(rng, screen, "web", changes, "fact" if fact else "web", fact)


def _screen(context: Draw, kind: str, buttons: bool) -> Screen:
    rng, difficulty, language = context
    while True:
        plan = several_pages(rng, difficulty, kind, buttons)
        screen = draw_screen(rng, plan, language)
        if goals.choose(rng, screen, 1):
            return screen


def _drawn(
    rng: np.random.Generator,
    screen: Screen,
    dialect: str,
    changes: list[Change],
    tell: str,
    fact: dict[str, Json] | None = None,
) -> Drawn:
    language = screen["language"]
    said = goals.say_all(rng, screen, changes) if changes else ""
    told = _TELL[tell][language].format(fact["label"] if fact else "")
    joint = " " if language == "en" and told and said else ""
    goal = GOAL[language].format(said + joint, told).rstrip()
    reference = {
        "dialect": dialect,
        "changes": changes,
        "wanted": goals.wanted(screen, changes),
        "ended": {"fact": "answer", "web": "answer", "ask": "answer"}.get(tell, tell),
        "said": fact["value"] if fact else "done" if tell == "web" else "",
        "fact": fact["id"] if fact else "",
    }
    question = Text(f"{goal}\n{ACTIONS[dialect][language]}")
    return Drawn((Image(paint(screen, marks=dialect == "web")), question), reference, screen)


def step(task: Task, state: Mapping[str, Json], reply: str) -> Step:
    """One action; where there is no such action nothing changes, and the turn is gone."""
    dialect, screen = task.reference["dialect"], dict(state)
    answer = answer_of(reply)
    action = None if answer is None else gui.parse(answer, dialect)
    after = None if action is None else act(screen, action)
    if after is not None and after["ended"]:
        return Step(after, Observation((), role="observation"), True)
    now = screen if after is None else after
    picture = Image(paint(now, marks=dialect == "web"))
    note = (Text(NOTHING[task.language]),) if after is None else ()
    return Step(now, Observation((picture, *note), role="observation"), False)


def score(task: Task, rollout: Rollout) -> float:
    """1 where the last screen is exactly what was asked for and was ended as it should."""
    screen, reference = dict(rollout.state), task.reference
    right = values(screen) == reference["wanted"] and screen["ended"] == reference["ended"]
    return float(right and normalise(screen["said"]) == normalise(reference["said"]))


def oracle(task: Task) -> Replies:
    """Every change, one after the other, and the end."""
    return _replies(task, task.reference["changes"], task.reference["said"])


def distractors(task: Task) -> list[Replies]:
    """Nothing but an end, one thing left out, wrong or too much, no end, another answer."""
    dialect, changes = task.reference["dialect"], task.reference["changes"]
    right = oracle(task)
    wrong = [right[:-1], ("",), (boxed(gui.write(Wait(), dialect)),) * 3, (right[-1] * 2,)]
    if not changes or len(right) > 1:
        wrong.append(_replies(task, [], task.reference["said"] and "0"))
    wrong += [_replies(task, changes[:i] + changes[i + 1 :]) for i in range(len(changes))]
    wrong.append(_replies(task, [*_extra(task), *changes]))
    if task.reference["said"]:
        wrong += [_replies(task, changes, said) for said in ("", "0", "1 2 3")]
    elif dialect != "web":
        give_up = {"pc": Finish(False), "mobile": Finish(False)}[dialect]
        wrong += [(*right[:-1], boxed(gui.write(give_up, dialect)))]
        wrong += [(boxed(gui.write(Finish(True), dialect)),)]
    return [replies for replies in wrong if replies != right]


def _extra(task: Task) -> list[Change]:
    """A change that nobody asked for, of something else or of the same to another value."""
    screen = dict(task.state)
    rng = np.random.default_rng(task.seed)
    asked = [change["id"] for change in task.reference["changes"]]
    extra = [c for c in goals.choose(rng, screen, 99) if c["id"] not in asked]
    return extra[:1]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A few clicks at random, and the end."""
    dialect = task.reference["dialect"]
    replies = []
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.integers(0, 900, 2).tolist()
        at = {"mobile": (x, y, x + 99, y + 40), "pc": (x, y), "web": (x // 60 + 1,)}
        replies.append(boxed(gui.write(Click(at[dialect]), dialect)))
    end = Finish(True) if dialect != "web" else Answer(task.reference["said"] and "done")
    return (*replies, boxed(gui.write(end, dialect)))


def _replies(task: Task, changes: list[Change], said: str | None = None) -> Replies:
    """Replies that make changes and then end the episode."""
    dialect, reference = task.reference["dialect"], task.reference
    screen = dict(task.state)
    path = goals.solve(screen, changes, dialect)
    actions: list[Action] = [action for action, _ in path]
    if path:
        screen = path[-1][1]
    if reference["ended"] == "answer":
        actions += _towards(screen, reference["fact"], dialect)
        actions.append(Answer(reference["said"] if said is None else said))
    elif reference["ended"] == "done" or not screen["ended"]:
        actions.append(Finish(True))
    return tuple(boxed(gui.write(action, dialect)) for action in actions)


def _towards(screen: Screen, fact: str, dialect: str) -> list[Action]:
    """To the page of a figure, so that it can be read."""
    page = page_of(screen, fact) if fact else screen["page"]
    if page == screen["page"]:
        return []
    tab = next(s for s in layout.spots(screen) if s[:2] == ("tab", str(page)))
    return [Click(goals.place(screen, tab, dialect))]
