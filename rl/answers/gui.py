"""Actions on screens, in the three dialects of the GLM-V family; parsed strictly, never run.

`mobile`: one JSON object, `{"action_type": "click", "box_2d": [[x1, y1, x2, y2]]}`.
`pc`: one call, `left_click(start_box='[x,y]', element_info='')`.
`web`: set of marks, `Click [3]`, `Type [4]; [some text]`, `ANSWER; <content>...</content>`.
Whatever is not exactly one action is None.
"""

from rl.answers import gui_mobile, gui_pc, gui_web
from rl.answers.gui_family import Action

DIALECTS = ("mobile", "pc", "web")
MAX_CHARACTERS = 4000  # of one action

_PARSERS = {"mobile": gui_mobile.parse, "pc": gui_pc.parse, "web": gui_web.parse}
_WRITERS = {"mobile": gui_mobile.write, "pc": gui_pc.write, "web": gui_web.write}


def parse(answer: str, dialect: str) -> Action | None:
    """The one action of an answer; None where it is anything else.

    Raises:
        ValueError: `dialect` is not one of DIALECTS.
    """
    if dialect not in DIALECTS:
        raise ValueError(f"dialect = {dialect!r} is not one of {DIALECTS}")
    text = answer.strip()
    return None if not text or len(text) > MAX_CHARACTERS else _PARSERS[dialect](text)


def write(action: Action, dialect: str) -> str:
    """The action as a model writes it; `parse` gives it back.

    Raises:
        ValueError: the dialect has no such action.
    """
    said = _WRITERS[dialect](action)
    if said is None or parse(said, dialect) != action:
        raise ValueError(f"dialect {dialect!r} cannot say {action}")
    return said
