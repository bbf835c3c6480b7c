"""Actions on a page whose elements wear numbers: `Click [3]`, `Type [4]; [some text]`."""

import re

from rl.answers.gui_family import (
    Action,
    Answer,
    Click,
    Go,
    Press,
    Scroll,
    Wait,
    Write,
)

_WEB = {
    "click": re.compile(r"Click \[([0-9]{1,4})\]"),
    "type": re.compile(r"Type \[([0-9]{1,4})\]; ?\[([^\n]*)\]"),
    "scroll": re.compile(r"Scroll \[(WINDOW|[0-9]{1,4})\]; ?\[(up|down)\]"),
    "key": re.compile(r"Key; ?\[(Return)\]"),
    "answer": re.compile(r"ANSWER; ?<content>((?:(?!</?content>).)*)</content>", re.DOTALL),
}
_WEB_WORDS: dict[str, Action] = {"Wait": Wait(), "GoBack": Go("back"), "Bing": Go("search")}


def parse(text: str) -> Action | None:
    """The action that `text` is, or None."""
    if text in _WEB_WORDS:
        return _WEB_WORDS[text]
    for name, form in _WEB.items():
        found = form.fullmatch(text)
        if found:
            return _web_action(name, *found.groups())
    return None


def _web_action(name: str, first: str, second: str = "") -> Action:
    at = (int(first),) if first.isdecimal() else ()
    if name == "click":
        return Click(at)
    if name == "type":
        return Write(second, at, clear=True)
    if name == "scroll":
        return Scroll("up" if second == "up" else "down", at)
    return Press("enter") if name == "key" else Answer(first)


def write(action: Action) -> str | None:
    """The action in this dialect, or None where it has none such."""
    match action:
        case Click((mark,), "left"):
            return f"Click [{mark}]"
        case Write(text, (mark,)):
            return f"Type [{mark}]; [{text}]"
        case Scroll(direction, at):
            return f"Scroll [{at[0] if at else 'WINDOW'}]; [{direction}]"
        case Press("enter"):
            return "Key; [Return]"
        case Go(to):
            return {"back": "GoBack", "search": "Bing"}.get(to)
        case Wait():
            return "Wait"
        case Answer(text):
            return f"ANSWER; <content>{text}</content>"
    return None
