"""How large and how full screens are at each difficulty."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from rl.envs.gui.screens import Plan

KINDS = ("checkbox", "switch", "field", "radio", "dropdown", "stepper", "list", "slider", "fact")
SIMPLE = ("checkbox", "switch", "field", "checkbox")
DIALECTS = {"mobile": "mobile", "desktop": "pc", "web": "web"}  # of each kind of screen

# width, columns, widgets, buttons, icons, size of the text
_ONE_PAGE = (
    (168, 1, 3, 2, 0, 12),
    (224, 1, 5, 2, 0, 12),
    (392, 2, 9, 3, 3, 12),
    (616, 3, 17, 4, 5, 12),
    (1120, 5, 38, 6, 6, 11),
)
# width, columns, pages, widgets and buttons of each, greatest height (of telephones)
_PAGES = (
    (168, 1, 1, 3, 2, 0),
    (224, 1, 1, 5, 2, 0),
    (224, 1, 2, 4, 1, 0),
    (308, 2, 2, 7, 2, 224),
    (364, 2, 3, 9, 2, 224),
)


def full_screen(rng: np.random.Generator, difficulty: int, kind: str = "") -> Plan:
    """One page: 3 widgets on 168 pixels ... 38 on 1120."""
    kind = kind or pick(rng, ("desktop", "web", "mobile") if difficulty < 3 else ("desktop", "web"))
    width, columns, count, buttons, icons, text = _ONE_PAGE[difficulty]
    widgets = (*_some(rng, kind, count, difficulty), *["button"] * buttons)
    return Plan(kind, [widgets], width, columns, text, icons=icons)


def several_pages(rng: np.random.Generator, difficulty: int, kind: str, buttons: bool) -> Plan:
    """One page ... three; telephones scroll from difficulty 2 on."""
    width, columns, pages, count, number, view = _PAGES[difficulty]
    if kind == "mobile":
        width, columns, view = (width, 1, view and 196) if columns == 1 else (224, 1, view)
    else:
        view = 0
    ends = ["button"] * (number if buttons else 0)
    found = [_some(rng, kind, count, difficulty) for _ in range(pages)]
    last = (*found[-1], *ends)
    return Plan(kind, [*found[:-1], last], width, columns, view=view)


def _some(rng: np.random.Generator, kind: str, count: int, difficulty: int) -> tuple[str, ...]:
    """Kinds of widgets: marks cannot be put on a slider, so web pages have none."""
    if difficulty == 0:
        return tuple(pick(rng, SIMPLE) for _ in range(count))
    known = [name for name in KINDS if kind != "web" or name != "slider"]
    return tuple(pick(rng, known) for _ in range(count))
