"""Actions on a telephone: `{"action_type": "click", "box_2d": [[x1, y1, x2, y2]]}`, JSON."""

import json

from rl.answers.gui_family import (
    Action,
    Answer,
    At,
    Click,
    Direction,
    Finish,
    Go,
    Press,
    Scroll,
    Wait,
    Write,
    as_direction,
    valid_place,
)
from rl.types import Json

_OPPOSITE: dict[str, Direction] = {"up": "down", "down": "up", "left": "right", "right": "left"}
# action_type -> keys it must have, keys it may have
_MOBILE: dict[str, tuple[set[str], set[str]]] = {
    "click": ({"box_2d"}, set()),
    "long_press": ({"box_2d"}, set()),
    "input_text": ({"text", "box_2d"}, {"override"}),
    "swipe": ({"direction"}, {"box_2d"}),
    "open_app": ({"app_name"}, set()),
    "keyboard_enter": (set(), set()),
    "navigate_back": (set(), set()),
    "navigate_home": (set(), set()),
    "wait": (set(), set()),
    "answer": ({"text"}, set()),
    "status": ({"goal_status"}, set()),
}


def parse(text: str) -> Action | None:
    """The action that `text` is, or None."""
    said = _one_object(text)
    name = said.pop("action_type", None) if said else None
    if said is None or not isinstance(name, str) or name not in _MOBILE:
        return None
    needed, allowed = _MOBILE[name]
    if not needed <= set(said) <= needed | allowed:
        return None
    at = valid_place(said["box_2d"]) if "box_2d" in said else ()
    words = [said.get(key, "") for key in ("text", "app_name", "direction", "goal_status")]
    clear = said.get("override", False)
    if at is None or not all(isinstance(word, str) for word in words) or type(clear) is not bool:
        return None
    if "box_2d" in said and len(at) != 4:
        return None
    return _mobile_action(name, at, words[0], words[1], words[2], words[3], clear)


def _mobile_action(
    name: str, at: At, text: str, app: str, direction: str, status: str, clear: bool
) -> Action | None:
    if name == "swipe":
        moved = as_direction(_OPPOSITE.get(direction, ""))
        return Scroll(moved, at) if moved else None
    if name == "status":
        known = {"complete": True, "infeasible": False}
        return Finish(known[status]) if status in known else None
    if name == "open_app":
        return Go(app) if app and app not in ("back", "home", "search") else None
    plain = {
        "click": Click(at),
        "long_press": Click(at, "long"),
        "input_text": Write(text, at, clear),
        "keyboard_enter": Press("enter"),
        "navigate_back": Go("back"),
        "navigate_home": Go("home"),
        "wait": Wait(),
        "answer": Answer(text),
    }
    return plain[name]


def _one_object(text: str) -> dict[str, Json] | None:
    """A JSON object without a key twice and without NaN; None where it is none."""

    def unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key twice")
        return found

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        said = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def write(action: Action) -> str | None:
    """The action in this dialect, or None where it has none such."""
    match action:
        case Click(at, "left" | "long" as how):
            said = {"action_type": "click" if how == "left" else "long_press", "box_2d": [at]}
        case Write(text, at, clear):
            said = {"action_type": "input_text", "text": text, "box_2d": [at], "override": clear}
        case Scroll(direction, at):
            said = {"action_type": "swipe", "direction": _OPPOSITE[direction]}
            said |= {"box_2d": [at]} if at else {}
        case Press("enter"):
            said = {"action_type": "keyboard_enter"}
        case Go(to):
            plain = to in ("back", "home")
            said = {"action_type": f"navigate_{to}"} if plain else {"action_type": "open_app"}
            said |= {} if plain else {"app_name": to}
        case Wait():
            said = {"action_type": "wait"}
        case Answer(text):
            said = {"action_type": "answer", "text": text}
        case Finish(done):
            said = {"action_type": "status", "goal_status": "complete" if done else "infeasible"}
        case _:
            return None
    return json.dumps(said, ensure_ascii=False)
