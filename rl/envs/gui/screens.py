"""Screens as JSON: a window, a page of a shop, or a telephone's application, with its state.

A screen is a dict: what is fixed ("kind", "size", "text", "columns", "pages", ...) and what actions
change ("page", "focus", "open", "scroll", "pressed", and the values of widgets). A widget is a dict
too: "id", "kind", "label", and what its kind needs:

    button    "to": the page it leads to, -1 = none      checkbox, switch  "on"
    radio, dropdown, list  "options", "value": a number  field     "value": a text
    slider    "value" 0 ... 10                           stepper   "value" 0 ... 9
    fact      "value": a text that can only be read
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some, text_width
from mmtp.data.tasks.scenes import KINDS, Named
from rl.envs.gui import screen_words as words
from rl.types import Json

Screen = dict[str, Json]
Widget = dict[str, Json]

ACCENTS = ("blue", "green", "purple", "red")
MAX_SLIDER, MAX_STEPPER = 10, 9
NAMES = {
    "button": Named("button", "按钮"),
    "checkbox": Named("check box", "勾选框"),
    "switch": Named("switch", "开关"),
    "radio": Named("option", "选项"),
    "field": Named("field", "填写栏"),
    "dropdown": Named("drop-down", "下拉框"),
    "slider": Named("slider", "滑块"),
    "stepper": Named("counter", "计数栏"),
    "list": Named("list entry", "列表项"),
    "fact": Named("figure", "数值"),
    "tab": Named("tab", "标签页"),
    "icon": Named("icon", "图标"),
}


class Plan(NamedTuple):
    """What a screen is drawn from.

    Attributes:
        kind: "desktop", "web" or "mobile".
        widgets: the kinds on each page, in order; buttons are put last.
        width: of the picture, pixels.
        columns: of widgets.
        text: size of the text, pixels.
        view: greatest height in pixels, beyond which the page scrolls; 0 = as high as needed.
        icons: in the bar at the top.
    """

    kind: str
    widgets: Sequence[Sequence[str]]
    width: int
    columns: int = 1
    text: int = 12
    view: int = 0
    icons: int = 0


def draw_screen(rng: np.random.Generator, plan: Plan, language: str) -> Screen:
    """A screen with different labels everywhere."""
    used: set[str] = set()
    names = _labels(rng, words.PAGES[language], len(plan.widgets), used, 70)
    pages = []
    for page, kinds in enumerate(plan.widgets):
        room = (plan.width - 24) // plan.columns - 24
        ordered = sorted(kinds, key=lambda kind: kind == "button")
        found = [_widget(rng, kind, language, used, room, plan.text) for kind in ordered]
        widgets = [
            {"id": f"p{page}w{i}", **widget} for i, widget in enumerate(w for w in found if w)
        ]
        pages.append({"name": names[page], "widgets": widgets})
    return {
        "kind": plan.kind,
        "size": [plan.width, plan.view],
        "columns": plan.columns,
        "text": plan.text,
        "accent": pick(rng, ACCENTS),
        "dark": bool(rng.random() < 0.25),
        "language": language,
        "title": pick(rng, words.TITLES[plan.kind][language]),
        "icons": pick_some(rng, KINDS, plan.icons),
        "pages": pages,
        "page": 0,
        "back": [],
        "focus": "",
        "marked": False,
        "open": "",
        "scroll": 0,
        "pressed": [],
        "said": "",
        "ended": "",
    }


def widgets(screen: Screen) -> Iterator[Widget]:
    """All widgets of all pages."""
    return (widget for page in screen["pages"] for widget in page["widgets"])


def here(screen: Screen) -> list[Widget]:
    """The widgets of the page that is shown."""
    return screen["pages"][screen["page"]]["widgets"]


def find(screen: Screen, key: str) -> Widget:
    """The widget with an id."""
    return next(widget for widget in widgets(screen) if widget["id"] == key)


def page_of(screen: Screen, key: str) -> int:
    """The number of the page that a widget is on."""
    pages = enumerate(screen["pages"])
    return next(i for i, page in pages if any(w["id"] == key for w in page["widgets"]))


def values(screen: Screen) -> dict[str, Json]:
    """Everything that a user sets, by the widgets' ids, and what was pressed."""
    found = {w["id"]: w.get("on", w.get("value")) for w in widgets(screen)}
    return {**found, "pressed": list(screen["pressed"])}


def _labels(
    rng: np.random.Generator,
    table: Sequence[str],
    count: int,
    used: set[str],
    room: float,
    size: int = 12,
) -> list[str]:
    """Up to `count` words of a table that are new on this screen and fit into `room` pixels."""
    fit = [word for word in table if word not in used and text_width(word, size) <= room]
    found = pick_some(rng, fit, min(count, len(fit)))
    used.update(found)
    return found


def _widget(
    rng: np.random.Generator, kind: str, language: str, used: set[str], room: float, size: int
) -> Widget | None:
    """A widget in some state; None where there are no words left."""
    tables = {
        "button": words.BUTTONS,
        "checkbox": words.TOGGLES,
        "switch": words.TOGGLES,
        "radio": words.CHOICES,
        "dropdown": words.CHOICES,
        "field": words.FIELDS,
        "slider": words.SLIDERS,
        "stepper": words.STEPPERS,
        "fact": words.FACTS,
        "list": words.PAGES,
    }
    table = tables[kind][language]
    label = _labels(rng, tuple(table), 1, used, room * (0.9 if kind != "field" else 0.5), size)
    if not label:
        return None
    widget: Widget = {"kind": kind, "label": label[0]}
    if kind == "button":
        return {**widget, "to": -1}
    if kind in ("checkbox", "switch"):
        return {**widget, "on": bool(rng.random() < 0.5)}
    if kind in ("radio", "dropdown"):
        options = list(table[label[0]])
        return {**widget, "options": options, "value": int(rng.integers(len(options)))}
    if kind == "list":
        options = _labels(rng, words.LISTS[language], int(rng.integers(3, 6)), used, room, size)
        if len(options) < 2:
            return None
        return {**widget, "options": options, "value": int(rng.integers(len(options)))}
    if kind == "field":
        known = [v for v in table[label[0]] if text_width(v, size) <= room * 0.5]
        return {**widget, "value": pick(rng, known) if known and rng.random() < 0.5 else ""}
    if kind == "fact":
        return {**widget, "value": str(rng.integers(11, 990))}
    top = MAX_SLIDER if kind == "slider" else MAX_STEPPER
    return {**widget, "value": int(rng.integers(top + 1))}
