"""Actions in a page of a real browser, and the numbers of a set of marks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cogvit_jax.data.rendering.canvas import BLACK, sheet_of, text_width
from rl.answers.gui_family import (
    Action,
    At,
    Click,
    Drag,
    Press,
    Scroll,
    Wait,
    Write,
)
from rl.answers.places import GRID
from rl.envs.gui.chromium import FINER, SIZE
from rl.types import Json

MAX_TYPED = 300  # characters
NOTCH = 30  # of the page's pixels that one click of the wheel scrolls
KEYS = {
    "enter": "Enter",
    "return": "Enter",
    "tab": "Tab",
    "esc": "Escape",
    "escape": "Escape",
    "backspace": "Backspace",
    "delete": "Delete",
    "space": "Space",
    "up": "ArrowUp",
    "down": "ArrowDown",
    "left": "ArrowLeft",
    "right": "ArrowRight",
    "home": "Home",
    "end": "End",
    **{f"ctrl+{key}": f"Control+{key}" for key in "acvx"},
}
STATE = """() => ({
    done: WOB_DONE_GLOBAL, raw_reward: WOB_RAW_REWARD_GLOBAL, reason: WOB_REWARD_REASON || ''
})"""
# Boxes of what can be used, as far as they are in view, in the order of the page: controls, and
# what listens to clicks, as d3 (__onclick) and jQuery (_data) note it.
MARKS = """() => {
    const seen = [], asked = 'button, a, input, textarea, select, [role=tab], .ui-menu-item';
    const listens = e => e.matches(asked) || e.__onclick || e.onclick
        || (window.jQuery && ((jQuery._data(e, 'events') || {}).click));
    for (const e of document.querySelectorAll('#wrap *, body > div *')) {
        if (e.closest('#query, #reward-display, #sync-task-cover') || !listens(e)) continue;
        const box = e.getBoundingClientRect(), style = getComputedStyle(e);
        const left = Math.max(box.left, 0), right = Math.min(box.right, innerWidth);
        const top = Math.max(box.top, 0), bottom = Math.min(box.bottom, innerHeight);
        const shown = right - left > 2 && bottom - top > 2 && style.visibility !== 'hidden';
        if (shown) seen.push([left, top, right, bottom]);
    }
    return seen.slice(0, 99);
}"""


def perform(page: Any, action: Action, marks: Sequence[Json]) -> bool:
    """Does an action; False where there is no such thing to do.

    Args:
        page: of Playwright.
        action: any but an end.
        marks: boxes of the numbers that were shown, in the page's pixels.
    """
    match action:
        case Click(at, how):
            return _click(page, _place(at, marks), how)
        case Write(text, at, clear):
            return _write(page, text, at, clear, marks)
        case Drag(start, end):
            return _drag(page, _place(start, marks), _place(end, marks))
        case Scroll(direction, at, steps):
            page.mouse.move(*(_place(at, marks) or (SIZE[0] / 2, SIZE[1] / 2)))
            sign = 1 if direction in ("down", "right") else -1
            far = sign * NOTCH * steps
            page.mouse.wheel(*((0, far) if direction in ("up", "down") else (far, 0)))
            page.wait_for_timeout(100)
        case Press(keys) if keys in KEYS:
            page.keyboard.press(KEYS[keys])
        case Wait():
            page.wait_for_timeout(1000)
        case _:
            return False
    return True


def with_marks(pixels: np.ndarray, marks: Sequence[Json]) -> np.ndarray:
    """The picture with a number at the upper left corner of each box."""
    sheet = sheet_of(pixels.astype(np.float64))
    for number, (left, top, *_) in enumerate(marks, 1):
        x, y, text = max(0.0, left * FINER), max(0.0, top * FINER - 4), str(number)
        sheet.box((x, y, x + text_width(text, 11) + 3, y + 12), (255, 236, 120), (120, 90, 0))
        sheet.text((x + 2, y + 6), text, 11, BLACK, "lm")
    return sheet.pixels()


def _place(at: At, marks: Sequence[Json]) -> tuple[float, float] | None:
    """The middle of a place, in the page's pixels."""
    if len(at) == 1:
        if not 1 <= at[0] <= len(marks):
            return None
        left, top, right, bottom = marks[at[0] - 1]
        return (left + right) / 2, (top + bottom) / 2
    if not at:
        return None
    x, y = (at[0] + at[-2]) / 2, (at[1] + at[-1]) / 2
    return min(SIZE[0] - 1, x * SIZE[0] / GRID), min(SIZE[1] - 1, y * SIZE[1] / GRID)


def _click(page: Any, place: tuple[float, float] | None, how: str) -> bool:
    if place is None:
        return False
    if how == "hover":
        page.mouse.move(*place)
    elif how == "long":
        page.mouse.click(*place, delay=600)
    elif how == "double":
        page.mouse.dblclick(*place)
    else:
        page.mouse.click(*place, button=how)
    return True


def _write(page: Any, text: str, at: At, clear: bool, marks: Sequence[Json]) -> bool:
    if len(text) > MAX_TYPED or (at and not _click(page, _place(at, marks), "left")):
        return False
    if clear:
        page.keyboard.press("Control+a")
        page.keyboard.press("Delete")
    page.keyboard.type(text)
    return True


def _drag(page: Any, start: tuple[float, float] | None, end: tuple[float, float] | None) -> bool:
    if start is None or end is None:
        return False
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=8)
    page.mouse.up()
    return True
