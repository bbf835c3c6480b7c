"""What a widget shows: asked for, answered, and stated."""

from rl.envs.gui import screen_words as words
from rl.envs.gui.screens import MAX_SLIDER, MAX_STEPPER, Widget
from rl.types import Json

EMPTY = {"en": "empty", "zh": "空"}
ON_OFF = {"en": ("on", "off"), "zh": ("开", "关")}
_ASK = {
    "toggle": {
        "en": 'Is "{label}" on or off? Answer "on" or "off".',
        "zh": "“{label}”是开着（或勾选）还是关着？回答“开”或“关”。",
    },
    "choice": {
        "en": 'What is chosen for "{label}"? Answer with the chosen text only.',
        "zh": "“{label}”选的是什么？只回答选中的文字。",
    },
    "field": {
        "en": 'What does the field "{label}" say? Answer with its text only, or "empty".',
        "zh": "“{label}”一栏写着什么？只回答其中的文字，没有就回答“空”。",
    },
    "number": {
        "en": 'At which number is "{label}"? Answer with the number only.',
        "zh": "“{label}”是多少？只回答数字。",
    },
}
_STATE = {
    "toggle": {"en": '"{label}" is {value}.', "zh": "“{label}”是{value}着的。"},
    "choice": {"en": '"{label}" is set to "{value}".', "zh": "“{label}”选的是“{value}”。"},
    "field": {"en": 'The field "{label}" says: {value}', "zh": "“{label}”一栏写着：{value}"},
    "empty": {"en": 'The field "{label}" is empty.', "zh": "“{label}”一栏是空的。"},
    "number": {"en": '"{label}" is at {value}.', "zh": "“{label}”是{value}。"},
}


def ask(widget: Widget, language: str) -> str:
    """A question for its state."""
    return _ASK[_form(widget)][language].format(label=widget["label"])


def shown(widget: Widget, value: Json, language: str) -> str:
    """A value of the widget as it is told."""
    form = _form(widget)
    if form == "toggle":
        return ON_OFF[language][0 if value else 1]
    if form == "choice":
        return widget["options"][value]
    return str(value) or EMPTY[language]


def current(widget: Widget) -> Json:
    """Its value now."""
    return widget.get("on", widget.get("value"))


def all_values(widget: Widget, language: str) -> list[Json]:
    """The values that it can have (of a figure: some)."""
    kind = widget["kind"]
    if _form(widget) == "toggle":
        return [True, False]
    if _form(widget) == "choice":
        return list(range(len(widget["options"])))
    if kind == "field":
        return ["", *words.FIELDS[language][widget["label"]]]
    if kind == "fact":
        return [str(n) for n in range(11, 990)]
    return list(range((MAX_SLIDER if kind == "slider" else MAX_STEPPER) + 1))


def state(widget: Widget, value: Json, language: str) -> str:
    """A statement that its value is this one."""
    form = "empty" if widget["kind"] == "field" and not value else _form(widget)
    told = shown(widget, value, language)
    return _STATE[form][language].format(label=widget["label"], value=told)


def _form(widget: Widget) -> str:
    kind = widget["kind"]
    if kind in ("checkbox", "switch"):
        return "toggle"
    if kind in ("radio", "list", "dropdown"):
        return "choice"
    return "field" if kind == "field" else "number"
