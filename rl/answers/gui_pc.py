"""Actions on a computer: one call, `left_click(start_box='[x,y]', element_info='')`."""

import re

from rl.answers import gui_calls
from rl.answers.gui_family import (
    Action,
    At,
    Click,
    Drag,
    Finish,
    Press,
    Scroll,
    Wait,
    Write,
    as_direction,
    valid_place,
)

MAX_STEPS = 20  # clicks of a mouse wheel in one action

_CLICKS = {
    "left_click": "left",
    "right_click": "right",
    "middle_click": "middle",
    "left_double_click": "double",
    "hover": "hover",
}
_PC: dict[str, tuple[set[str], set[str]]] = {
    **{name: ({"start_box"}, {"element_info"}) for name in _CLICKS},
    "left_drag": (
        {"start_box", "end_box"},
        {"element_info", "start_element_info", "end_element_info"},
    ),
    "scroll": ({"start_box", "direction"}, {"step", "element_info"}),
    "key": ({"keys"}, set()),
    "type": ({"content"}, set()),
    "WAIT": (set(), set()),
    "DONE": (set(), set()),
    "FAIL": (set(), set()),
}
_KEYS = re.compile(r"[A-Za-z0-9_]{1,20}(?:\+[A-Za-z0-9_]{1,20}){0,3}")


def parse(text: str) -> Action | None:
    """The action that `text` is, or None."""
    call = gui_calls.parse_call(text)
    if call is None or call[0] not in _PC:
        return None
    name, arguments = call
    needed, allowed = _PC[name]
    if not needed <= set(arguments) <= needed | allowed:
        return None
    steps = arguments.pop("step", 5)
    if type(steps) is not int or not 1 <= steps <= MAX_STEPS:
        return None
    given = {key: value for key, value in arguments.items() if isinstance(value, str)}
    if len(given) < len(arguments):
        return None
    places = [_pc_place(given[key]) for key in ("start_box", "end_box") if key in given]
    if any(place is None for place in places):
        return None
    return _pc_action(name, given, [place or () for place in places], steps)


def _pc_action(name: str, given: dict[str, str], places: list[At], steps: int) -> Action | None:
    if name in _CLICKS:
        return Click(places[0], _CLICKS[name])
    if name == "left_drag":
        return Drag(places[0], places[1])
    if name == "scroll":
        direction = as_direction(given["direction"])
        return Scroll(direction, places[0], steps) if direction else None
    if name == "key":
        keys = given["keys"].lower()
        return Press(keys) if _KEYS.fullmatch(keys) else None
    if name == "type":
        return Write(given["content"])
    return Wait() if name == "WAIT" else Finish(name == "DONE")


def _pc_place(said: str) -> At | None:
    numbers = gui_calls.INTEGERS.fullmatch(said)
    return valid_place([int(n) for n in re.findall("[0-9]+", said)]) if numbers else None


def write(action: Action) -> str | None:
    """The action in this dialect, or None where it has none such."""
    match action:
        case Click(at, how):
            name = next((key for key, value in _CLICKS.items() if value == how), None)
            return name and f"{name}(start_box='{_brackets(at)}', element_info='')"
        case Drag(start, end):
            places = f"start_box='{_brackets(start)}', end_box='{_brackets(end)}'"
            return f"left_drag({places}, element_info='')"
        case Scroll(direction, at, steps):
            return f"scroll(start_box='{_brackets(at)}', direction='{direction}', step={steps})"
        case Press(keys):
            return f"key(keys='{keys}')"
        case Write(text):
            return f"type(content='{gui_calls.escape(text)}')"
        case Wait():
            return "WAIT()"
        case Finish(done):
            return "DONE()" if done else "FAIL()"
    return None


def _brackets(at: At) -> str:
    return f"[{','.join(map(str, at))}]"
