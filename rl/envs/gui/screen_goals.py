"""Goals on screens: what is to be changed, how it is said, and the actions that do it.

A change is a dict: "id" of a widget, and "to": True or False, a number, a text, or "" for a button.
"""

from collections.abc import Sequence

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some, text_width
from rl.answers.gui_family import Action, At, Click, Press, Scroll, Write
from rl.envs.gui import screen_layout as layout
from rl.envs.gui import screen_words as words
from rl.envs.gui.screen_acts import act
from rl.envs.gui.screen_layout import Spot
from rl.envs.gui.screens import (
    MAX_SLIDER,
    MAX_STEPPER,
    Screen,
    Widget,
    find,
    page_of,
    values,
    widgets,
)
from rl.types import Json

Change = dict[str, Json]

SAYS = {
    "button": {"en": ('press "{label}"', 'click the button "{label}"'), "zh": ("按“{label}”",)},
    "on": {"en": ('tick "{label}"', 'check the box "{label}"'), "zh": ("勾选“{label}”",)},
    "off": {"en": ('untick "{label}"',), "zh": ("取消勾选“{label}”",)},
    "switch_on": {"en": ('turn "{label}" on',), "zh": ("打开“{label}”",)},
    "switch_off": {"en": ('turn "{label}" off',), "zh": ("关掉“{label}”",)},
    "choice": {
        "en": ('set "{label}" to "{to}"', 'choose "{to}" for "{label}"'),
        "zh": ("把“{label}”设为“{to}”", "“{label}”选“{to}”"),
    },
    "field": {
        "en": ('make "{label}" say exactly: {to}', 'change the text of "{label}" to: {to}'),
        "zh": ("把“{label}”的内容改为：{to}",),
    },
    "number": {
        "en": ('set "{label}" to {to}',),
        "zh": ("把“{label}”设为{to}",),
    },
}  # fmt: skip


def choose(
    rng: np.random.Generator, screen: Screen, count: int, kinds: Sequence[str] = ()
) -> list[Change]:
    """Up to `count` changes of different widgets, of these kinds if any are named."""
    skip = ("button", "fact")
    able = [w for w in widgets(screen) if w["kind"] not in skip]
    able = [w for w in able if not kinds or w["kind"] in kinds]
    chosen = pick_some(rng, able, min(count, len(able)))
    chosen.sort(key=lambda w: w["id"])
    return [{"id": w["id"], "to": _other(rng, screen, w)} for w in chosen]


def _other(rng: np.random.Generator, screen: Screen, widget: Widget) -> Json:
    """A value that the widget does not have now."""
    kind = widget["kind"]
    if kind in ("checkbox", "switch"):
        return not widget["on"]
    old = widget["value"]
    if kind == "field":
        room = (screen["size"][0] - 24) / screen["columns"] * 0.42
        known = words.FIELDS[screen["language"]][widget["label"]]
        new = [text for text in known if text != old]
        fit = [text for text in new if text_width(text, screen["text"]) <= room]
        return pick(rng, fit or new)
    if kind == "stepper":
        near = range(max(0, old - 3), min(MAX_STEPPER, old + 3) + 1)
        return pick(rng, [n for n in near if n != old])
    top = MAX_SLIDER + 1 if kind == "slider" else len(widget["options"])
    return pick(rng, [n for n in range(top) if n != old])


def say(rng: np.random.Generator, screen: Screen, change: Change) -> str:
    """A change in words."""
    widget, to, language = find(screen, change["id"]), change["to"], screen["language"]
    kind = widget["kind"]
    key = {"button": "button", "field": "field", "slider": "number", "stepper": "number"}.get(kind)
    if kind == "checkbox":
        key = "on" if to else "off"
    elif kind == "switch":
        key = "switch_on" if to else "switch_off"
    shown = widget["options"][to] if "options" in widget else to
    return pick(rng, SAYS[key or "choice"][language]).format(label=widget["label"], to=shown)


def say_all(rng: np.random.Generator, screen: Screen, changes: Sequence[Change]) -> str:
    """Changes in a sentence."""
    said = [say(rng, screen, change) for change in changes]
    if screen["language"] == "zh":
        return "，".join(said) + "。"
    text = ", then ".join(said)
    return text[0].upper() + text[1:] + "."


def wanted(screen: Screen, changes: Sequence[Change]) -> dict[str, Json]:
    """`screens.values` when these changes, and no others, are made."""
    found = values(screen)
    for change in changes:
        if find(screen, change["id"])["kind"] == "button":
            found["pressed"] = [*found["pressed"], change["id"]]
        else:
            found[change["id"]] = change["to"]
    return found


def solve(screen: Screen, changes: Sequence[Change], dialect: str) -> list[tuple[Action, Screen]]:
    """Actions that make the changes, and the screen after each."""
    done: list[tuple[Action, Screen]] = []
    for change in changes:
        for _ in range(60):
            action = next_action(screen, change, dialect)
            if action is None:
                break
            after = act(screen, action)
            assert after is not None, (action, change)
            screen = after
            done.append((action, screen))
            if after["ended"] or (
                find(screen, change["id"])["kind"] == "button"
                and (after["pressed"][-1:] == [change["id"]])
            ):
                break
    return done


def next_action(screen: Screen, change: Change, dialect: str) -> Action | None:
    """The next action towards a change; None where it is made."""
    widget, to = find(screen, change["id"]), change["to"]
    kind = widget["kind"]
    if kind != "button" and widget.get("on", widget.get("value")) == to:
        return None
    if screen["page"] != page_of(screen, widget["id"]):
        part = str(page_of(screen, widget["id"]))
        return Click(
            place(screen, next(s for s in layout.spots(screen) if s[:2] == ("tab", part)), dialect)
        )
    parts = {"slider": str(to), "radio": str(to), "list": str(to)}
    part = parts.get(kind, "")
    if kind == "stepper":
        part = "+" if to > widget["value"] else "-"
    if screen["open"] == widget["id"]:
        part = str(to)
    spot = next((s for s in layout.spots(screen) if s[:2] == (widget["id"], part)), None)
    if spot is None:
        at = (500, 500) if dialect == "pc" else ()
        wanted = next(s for s in layout.everything(screen) if s[:2] == (widget["id"], part))
        down = wanted.box[1] > layout.header(screen)
        return Scroll("down" if down else "up", at)
    if kind == "field":
        return _fill(screen, widget, spot, to, dialect)
    return Click(place(screen, spot, dialect))


def _fill(screen: Screen, widget: Widget, spot: Spot, text: str, dialect: str) -> Action:
    if dialect != "pc":
        return Write(text, place(screen, spot, dialect), clear=True)
    if screen["focus"] != widget["id"]:
        return Click(place(screen, spot, dialect))
    return Write(text) if screen["marked"] or not widget["value"] else Press("ctrl+a")


def place(screen: Screen, spot: Spot, dialect: str) -> At:
    """A spot as a dialect points to it: a box, a point, or a mark."""
    if dialect == "mobile":
        return layout.on_grid(screen, spot.box)
    if dialect == "pc":
        return layout.middle(screen, spot.box)
    return (layout.spots(screen).index(spot) + 1,)
