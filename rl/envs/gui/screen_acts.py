"""What actions do to a screen: pure functions of JSON."""

import copy

from rl.answers.gui_family import (
    Action,
    Answer,
    At,
    Click,
    Drag,
    Finish,
    Go,
    Press,
    Scroll,
    Wait,
    Write,
)
from rl.envs.gui import screen_layout as layout
from rl.envs.gui.screen_layout import Spot
from rl.envs.gui.screens import MAX_STEPPER, Screen, Widget, find

MAX_TYPED = 200  # characters of a field


def act(screen: Screen, action: Action) -> Screen | None:
    """The screen after an action; None where there is nothing that it could act on."""
    new = copy.deepcopy(screen)
    match action:
        case Click(at, "left"):
            return _click(new, _spot(new, at))
        case Write():
            return _write(new, action)
        case Drag():
            return _drag(new, action)
        case Scroll():
            return _scroll(new, action)
        case Press(keys):
            return _press(new, keys)
        case Go(to):
            return _go(new, to)
        case Wait():
            return new
        case Answer(text):
            return {**new, "said": text[:MAX_TYPED], "ended": "answer"}
        case Finish(done):
            return {**new, "ended": "done" if done else "failed"}
    return None


def _spot(screen: Screen, at: At) -> Spot | None:
    """What a place means: a mark's number, or what is under a point or the middle of a box."""
    if len(at) == 1:
        spots = layout.spots(screen)
        return spots[at[0] - 1] if 1 <= at[0] <= len(spots) else None
    return layout.hit(screen, at)


def _click(screen: Screen, spot: Spot | None) -> Screen | None:
    if screen["open"]:
        if spot is not None:
            find(screen, spot.key)["value"] = int(spot.part)
        return {**screen, "open": "", "focus": ""}
    if spot is None:
        return None
    screen.update(focus="", marked=False)
    if spot.key == "tab":
        return _turn_to(screen, int(spot.part))
    if spot.key == "icon":
        screen["pressed"].append(f"icon:{spot.part}")
        return screen
    kind = find(screen, spot.key)["kind"]
    if kind == "button":
        return _push(screen, spot.key)
    if kind in ("field", "dropdown"):
        return {**screen, "focus" if kind == "field" else "open": spot.key}
    _change(find(screen, spot.key), spot.part)
    return screen


def _change(widget: Widget, part: str) -> None:
    """A click on a part of a widget that has a value."""
    if widget["kind"] in ("checkbox", "switch"):
        widget["on"] = not widget["on"]
    elif widget["kind"] == "stepper":
        moved = widget["value"] + (1 if part == "+" else -1)
        widget["value"] = min(MAX_STEPPER, max(0, moved))
    else:
        widget["value"] = int(part)


def _push(screen: Screen, key: str) -> Screen:
    """A button: it leads to a page, sends the form away, or is only pressed."""
    button = find(screen, key)
    if button["to"] >= 0:
        return _turn_to(screen, button["to"])
    screen["pressed"].append(key)
    return {**screen, "ended": "sent"} if button.get("sends") else screen


def _turn_to(screen: Screen, page: int) -> Screen:
    if page != screen["page"]:
        screen["back"] = [*screen["back"], screen["page"]][-20:]
    return {**screen, "page": page, "scroll": 0, "focus": "", "open": ""}


def _write(screen: Screen, action: Write) -> Screen | None:
    if action.at:
        spot = None if screen["open"] else _spot(screen, action.at)
        if spot is None or spot.key in ("tab", "icon"):
            return None
        if find(screen, spot.key)["kind"] != "field":
            return None
        screen.update(focus=spot.key, marked=False)
    if not screen["focus"]:
        return None
    field = find(screen, screen["focus"])
    old = "" if action.clear or screen["marked"] else field["value"]
    field["value"] = (old + action.text)[:MAX_TYPED]
    screen["marked"] = False
    return screen


def _press(screen: Screen, keys: str) -> Screen | None:
    if keys in ("enter", "return", "esc", "escape"):
        return {**screen, "open": "", "marked": False}
    if not screen["focus"]:
        return None
    field = find(screen, screen["focus"])
    if keys == "ctrl+a":
        return {**screen, "marked": True}
    if keys in ("backspace", "delete"):
        kept = field["value"][:-1] if keys == "backspace" else field["value"]
        field["value"] = "" if screen["marked"] else kept
        screen["marked"] = False
        return screen
    return None


def _drag(screen: Screen, action: Drag) -> Screen | None:
    """A slider's knob to another place on its track."""
    spots = [
        None if screen["open"] else layout.hit(screen, at) for at in (action.start, action.end)
    ]
    start, end = spots
    if start is None or end is None or start.key != end.key or start.key in ("tab", "icon"):
        return None
    widget = find(screen, start.key)
    if widget["kind"] != "slider" or int(start.part) != widget["value"]:
        return None
    widget["value"] = int(end.part)
    return screen


def _scroll(screen: Screen, action: Scroll) -> Screen | None:
    most = layout.most_scroll(screen)
    if screen["open"] or not most or action.direction not in ("up", "down"):
        return None
    view = layout.size(screen)[1] - layout.header(screen) - layout.footer(screen)
    distance = round(0.12 * view * action.steps) * (1 if action.direction == "down" else -1)
    return {**screen, "scroll": min(most, max(0, screen["scroll"] + distance))}


def _go(screen: Screen, to: str) -> Screen | None:
    if to == "home":
        return _turn_to(screen, 0)
    if to == "back" and (screen["open"] or screen["back"]):
        if screen["open"]:
            return {**screen, "open": ""}
        *rest, last = screen["back"]
        return {**_turn_to(screen, last), "back": rest}
    return None
