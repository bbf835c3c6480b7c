"""The interface tasks on the same screens: element, grounding, single step and trajectory.

tags["level"] names the level. A click is right anywhere inside of what is to be clicked.
"""

from dataclasses import replace

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Message, Text
from mmtp.data.tasks import screens
from mmtp.data.tasks.critic import VERDICTS
from mmtp.data.tasks.example import (
    YES_NO,
    Example,
    answered,
    ask,
    box_on_grid,
    brackets,
    middle_on_grid,
    say,
)
from mmtp.data.tasks.scenes import Named
from mmtp.data.tasks.screens import Element, Screen

KINDS = {
    "button": Named("button", "按钮"),
    "checkbox": Named("check box", "勾选框"),
    "field": Named("field", "填写框"),
}
_WHAT = {
    "en": ("What is at {place}?", "Which element is in {place}?"),
    "zh": ("{place}处是什么？", "{place}里是哪个元素？"),
}
_TICKED = {
    "en": ('Is "{label}" ticked?', 'Is the box "{label}" checked?'),
    "zh": ("“{label}”勾选了吗？", "“{label}”选中了没有？"),
}
_VALUE = {
    "en": ('What does the field "{label}" contain?', 'Read the field "{label}".'),
    "zh": ("“{label}”里填了什么？", "请读出“{label}”的内容。"),
}
_EMPTY = {"en": "empty", "zh": "空"}
_GROUND = {
    "en": ('Where is the {kind} "{label}"? Give a point.', 'Point at the {kind} "{label}".'),
    "zh": ("{kind}“{label}”在哪里？给出一个点。", "请指出{kind}“{label}”。"),
}
_GROUND_BOX = {
    "en": ('Where is the {kind} "{label}"? Give a box.', 'Box of the {kind} "{label}"?'),
    "zh": ("{kind}“{label}”在哪里？给出一个框。", "{kind}“{label}”的框？"),
}
_STEPS = {
    "button": {
        "en": ('Press "{label}".', 'Click "{label}".'),
        "zh": ("点“{label}”。", "请按“{label}”。"),
    },
    "tick": {
        "en": ('Tick "{label}".', 'Check "{label}".'),
        "zh": ("勾选“{label}”。", "选中“{label}”。"),
    },
    "untick": {"en": ('Untick "{label}".',), "zh": ("取消“{label}”的勾选。",)},
    "field": {
        "en": ('Edit "{label}".', 'Focus "{label}".'),
        "zh": ("填写“{label}”。", "点进“{label}”。"),
    },
    "type": {
        "en": ('Write {text} into "{label}".', 'Enter {text} in "{label}".'),
        "zh": ("在“{label}”里填{text}。", "把{text}填入“{label}”。"),
    },
}
_GOAL = {"en": "Goal: {} Next action?", "zh": "目标：{}下一步？"}
_STATES = {
    "en": ('"{label}" is ticked.', '"{label}" is not ticked.'),
    "zh": ("“{label}”勾选了。", "“{label}”没有勾选。"),
}
_CLAIM = {
    "en": ("Someone says: {claim} Check it.", "Answer given: {claim} Is anything wrong?"),
    "zh": ("有人说：{claim}请检查。", "已有的回答：{claim}有没有错？"),
}
_ACTION_CLAIM = {"en": "{step} -> {action}", "zh": "{step} -> {action}。"}
_HITS = {"en": 'that is the {kind} "{label}"', "zh": "那是{kind}“{label}”"}

Step = tuple[str, Element, str]  # key of _STEPS, the element, text to type


def what_is_there(rng: np.random.Generator, language: str, split: str) -> Example:
    """Element perception: the element in a box."""
    screen = screens.draw_form(rng, language)
    picture = screens.render(screen)
    element, corners = pick(rng, tuple(screens.boxes(screen).items()))
    question = say(rng, _WHAT, language, place=brackets(box_on_grid(corners, picture)))
    answer = _name(element, language)
    return ask(rng, [picture], question, answer, level="element")


def _name(element: Element, language: str) -> str:
    return {"en": "{} {}", "zh": "{}{}"}[language].format(
        KINDS[element.kind].of(language), element.label
    )


def states(rng: np.random.Generator, language: str, split: str) -> Example:
    """Element perception: whether a box is ticked, or what a field contains."""
    screen = screens.draw_form(rng, language)
    picture = screens.render(screen)
    fields = screen.of("field")
    if fields and rng.random() < 0.5:
        label = pick(rng, fields).label
        answer = screen.value(label) or _EMPTY[language]
        return ask(rng, [picture], say(rng, _VALUE, language, label=label), answer, level="element")
    label = pick(rng, screen.of("checkbox")).label
    answer = YES_NO[language][0 if label in screen.ticked else 1]
    question = say(rng, _TICKED, language, label=label)
    return ask(rng, [picture], question, answer, options=YES_NO[language], level="element")


def grounding(rng: np.random.Generator, language: str, split: str) -> Example:
    """Grounding: a point on an element, or its box."""
    screen = screens.draw_form(rng, language)
    picture = screens.render(screen)
    element, corners = pick(rng, tuple(screens.boxes(screen).items()))
    box, kind = box_on_grid(corners, picture), KINDS[element.kind].of(language)
    if rng.random() < 0.5:
        question = say(rng, _GROUND_BOX, language, kind=kind, label=element.label)
        return ask(rng, [picture], question, brackets(box), check="box", box=box, level="grounding")
    question = say(rng, _GROUND, language, kind=kind, label=element.label)
    answer = brackets(middle_on_grid(corners, picture))
    return ask(rng, [picture], question, answer, check="point", box=box, level="grounding")


def single_steps(rng: np.random.Generator, language: str, split: str) -> Example:
    """Single step: the action that an instruction asks for."""
    screen = screens.draw_form(rng, language)
    step = _step(rng, screen, pick(rng, screen.elements), language)
    if step[0] == "type" and rng.random() < 0.7:  # else it still has to be clicked
        screen = replace(screen, focus=step[1].label)
    picture, tags = screens.render(screen), {"level": "single_step"}
    answer, more = _action(screen, step)
    return ask(rng, [picture], _told(rng, step, language), answer, **{**tags, **more})


def _step(rng: np.random.Generator, screen: Screen, element: Element, language: str) -> Step:
    """What is to be done with an element."""
    if element.kind == "button":
        return "button", element, ""
    if element.kind == "checkbox":
        return "untick" if element.label in screen.ticked else "tick", element, ""
    old = screen.value(element.label)
    choices = [text for text in texts.FIELDS[language][element.label] if text != old]
    return "type", element, pick(rng, choices)


def _told(rng: np.random.Generator, step: Step, language: str) -> str:
    key, element, text = step
    return pick(rng, _STEPS[key][language]).format(label=element.label, text=text)


def _action(screen: Screen, step: Step) -> tuple[str, dict[str, object]]:
    """The next action of a step on a screen, and the tags that check it."""
    key, element, text = step
    if key == "type" and screen.focus == element.label:
        return f'type("{text}")', {"check": "exact"}
    return _click(screen, element)


def _click(screen: Screen, element: Element) -> tuple[str, dict[str, object]]:
    corners = screens.boxes(screen)[element]
    size = np.empty((screen.height, screen.width, 3), np.uint8)
    x, y = middle_on_grid(corners, size)
    tags = {"check": "point", "box": box_on_grid(corners, size), "form": "click{}"}
    return f"click({x},{y})", tags


def trajectories(rng: np.random.Generator, language: str, split: str) -> Example:
    """Trajectory: the next action after up to three actions and the screens that they led to."""
    screen = screens.draw_form(rng, language)
    changes = [element for element in screen.elements if element.kind != "button"]
    chosen = changes[int(rng.integers(len(changes)))]
    steps = [
        _step(rng, screen, chosen, language),
        _step(rng, screen, pick(rng, screen.of("button")), language),
    ]
    told = {"en": " ", "zh": ""}[language].join(_told(rng, step, language) for step in steps)
    goal = _GOAL[language].format(told)
    history = _play(screen, steps)
    length = int(rng.integers(1, len(history) + 1))
    messages = [Message("user", (Image(screens.render(screen)), Text(goal)))]
    for action, _, after in history[: length - 1]:
        messages.append(Message("assistant", (Text(action),)))
        messages.append(Message("observation", (Image(screens.render(after)),)))
    answer, tags, _ = history[length - 1]
    return answered(messages, answer, **{"level": "trajectory", **tags})


def _play(screen: Screen, steps: list[Step]) -> list[tuple[str, dict[str, object], Screen]]:
    """(action, tags that check it, screen afterwards) until everything is done."""
    history = []
    for step in steps:
        key, element, text = step
        for _ in range(2 if key == "type" else 1):
            action, tags = _action(screen, step)
            typed = action.startswith("type")
            screen = screen.after_typing(text) if typed else screen.after_click(element)
            history.append((action, tags, screen))
    return [*history, ("done()", {"check": "exact"}, screen)]


def critic_states(rng: np.random.Generator, language: str, split: str) -> Example:
    """Critic: whether a statement about a check box is right."""
    screen = screens.draw_form(rng, language)
    label = pick(rng, screen.of("checkbox")).label
    ticked, told = label in screen.ticked, bool(rng.random() < 0.5)
    claim = _STATES[language][0 if told else 1].format(label=label)
    good, bad = VERDICTS[language]
    truth = _STATES[language][0 if ticked else 1].format(label=label)
    answer = good if told == ticked else bad.format(truth)
    question = say(rng, _CLAIM, language, claim=claim)
    return ask(rng, [screens.render(screen)], question, answer, level="element")


def critic_actions(rng: np.random.Generator, language: str, split: str) -> Example:
    """Critic: whether a click does what was asked, and if not, what it hits."""
    screen = screens.draw_form(rng, language)
    wanted = pick(rng, [element for element in screen.elements if element.kind != "field"])
    others = [element for element in screen.elements if element != wanted]
    hit = wanted if rng.random() < 0.5 else pick(rng, others)
    step = _told(rng, _step(rng, screen, wanted, language), language)
    action, _ = _click(screen, hit)
    good, bad = VERDICTS[language]
    hits = _HITS[language].format(kind=KINDS[hit.kind].of(language), label=hit.label)
    claim = _ACTION_CLAIM[language].format(step=step, action=action)
    question = say(rng, _CLAIM, language, claim=claim)
    answer = good if hit == wanted else bad.format(hits)
    return ask(rng, [screens.render(screen)], question, answer, level="single_step")
