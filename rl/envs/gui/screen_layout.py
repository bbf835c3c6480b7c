"""Where everything on a screen is, in pixels, and what a click hits."""

from typing import NamedTuple

from cogvit_jax.data.rendering.canvas import text_width
from rl.answers.gui_family import At
from rl.answers.places import GRID
from rl.envs.gui.screens import MAX_SLIDER, Screen, Widget, here

Box = tuple[float, float, float, float]
MARGIN, INDENT = 8, 14  # pixels: around a column, and in front of what can be clicked


class Spot(NamedTuple):
    """Something that can be clicked.

    Attributes:
        key: the widget's id, "tab" or "icon".
        part: of it: a number of an option, tab or slider's step, "-", "+", an icon's name, or "".
        box: in pixels.
    """

    key: str
    part: str
    box: Box


def row(screen: Screen) -> int:
    """Height of a row of widgets, pixels."""
    return round(screen["text"] * 1.75)


def header(screen: Screen) -> int:
    """Height of what stays at the top."""
    bars = 1 + (screen["kind"] != "mobile" and len(screen["pages"]) > 1) + bool(screen["icons"])
    return (row(screen) + 2) * bars


def footer(screen: Screen) -> int:
    """Height of what stays at the bottom."""
    tabs = screen["kind"] == "mobile" and len(screen["pages"]) > 1
    return row(screen) + 6 if tabs else 0


def rows(widget: Widget) -> int:
    """Rows that a widget takes."""
    return 1 + (len(widget["options"]) if widget["kind"] in ("radio", "list") else 0)


def places(screen: Screen) -> tuple[list[tuple[Widget, Box]], float]:
    """Each widget of the page and its rows, not scrolled; and the height of it all."""
    step, columns = row(screen), screen["columns"]
    width = (screen["size"][0] - MARGIN) / columns
    shown = here(screen)
    total = sum(rows(widget) for widget in shown if widget["kind"] != "button")
    top = header(screen) + MARGIN / 2
    found, column, used, before, deepest = [], 0, 0, 0, 0
    for widget in shown:
        if widget["kind"] == "button":
            continue
        if used and before + rows(widget) / 2 > total * (column + 1) / columns:
            column, used = column + 1, 0
        left = MARGIN + column * width
        y = top + used * step
        found.append((widget, (left, y, left + width - MARGIN, y + rows(widget) * step)))
        used, before = used + rows(widget), before + rows(widget)
        deepest = max(deepest, used)
    buttons, bottom = _button_rows(screen, shown, top + deepest * step)
    return found + buttons, bottom + MARGIN / 2


def _button_rows(
    screen: Screen, shown: list[Widget], top: float
) -> tuple[list[tuple[Widget, Box]], float]:
    """Buttons in a row at the bottom, or in several."""
    step, found, left, bottom = row(screen), [], MARGIN + INDENT, top
    for widget in shown:
        if widget["kind"] != "button":
            continue
        width = text_width(widget["label"], screen["text"]) + 16
        if found and left + width > screen["size"][0] - MARGIN:
            left, top = MARGIN + INDENT, top + step + 3
        found.append((widget, (left, top + 2, left + width, top + step)))
        left, bottom = left + width + INDENT + 2, top + step
    return found, bottom


def size(screen: Screen) -> tuple[int, int]:
    """(width, height) of the picture, the same for all pages."""
    width, view = screen["size"]
    if view:
        return width, view
    heights = [places({**screen, "page": i})[1] for i in range(len(screen["pages"]))]
    return width, 28 * -(-round(max(heights) + footer(screen)) // 28)


def most_scroll(screen: Screen) -> int:
    """How far the page can be scrolled, pixels."""
    return max(0, round(places(screen)[1] + footer(screen)) - size(screen)[1])


def spots(screen: Screen) -> list[Spot]:
    """What can be clicked now: the options of an open menu, or everything in full view."""
    bars = _tabs(screen) + _icons(screen)
    top, bottom = header(screen), size(screen)[1] - footer(screen)
    if screen["open"]:
        widget, box = next(p for p in places(screen)[0] if p[0]["id"] == screen["open"])
        return _menu(screen, widget, _scrolled(screen, box))
    return bars + [s for s in everything(screen) if s.box[1] >= top and s.box[3] <= bottom]


def everything(screen: Screen) -> list[Spot]:
    """What could be clicked on this page if its view were high enough."""
    found = []
    for widget, box in places(screen)[0]:
        found += _parts(screen, widget, _scrolled(screen, box))
    return found


def _scrolled(screen: Screen, box: Box) -> Box:
    return box[0], box[1] - screen["scroll"], box[2], box[3] - screen["scroll"]


def hit(screen: Screen, at: At) -> Spot | None:
    """What is under a point, or the middle of a box, in thousandths of the picture."""
    width, height = size(screen)
    x, y = at if len(at) == 2 else ((at[0] + at[2]) / 2, (at[1] + at[3]) / 2)
    x, y = x * width / GRID, y * height / GRID
    inside = (s for s in spots(screen) if s.box[0] <= x <= s.box[2] and s.box[1] <= y <= s.box[3])
    return next(inside, None)


def on_grid(screen: Screen, box: Box) -> tuple[int, int, int, int]:
    """A box in thousandths, rounded inwards, never empty."""
    width, height = size(screen)
    x1, y1 = (-(-box[0] * GRID // width), -(-box[1] * GRID // height))
    x2, y2 = (box[2] * GRID // width, box[3] * GRID // height)
    return int(x1), int(y1), min(int(max(x2, x1 + 1)), 999), min(int(max(y2, y1 + 1)), 999)


def middle(screen: Screen, box: Box) -> tuple[int, int]:
    """The middle of a box, in thousandths."""
    x1, y1, x2, y2 = on_grid(screen, box)
    return (x1 + x2) // 2, (y1 + y2) // 2


def control(screen: Screen, widget: Widget, box: Box) -> Box:
    """The part of a row behind the label."""
    x1, y1, x2, y2 = box
    split = x1 + (x2 - x1) * (0.48 if widget["kind"] != "stepper" else 0.45)
    return max(split, x1 + INDENT + text_width(widget["label"], screen["text"]) + 8), y1, x2, y2


def slider_x(track: Box, value: int) -> float:
    """Where the knob stands."""
    return track[0] + 6 + (track[2] - track[0] - 12) * value / MAX_SLIDER


def track_of(screen: Screen, widget: Widget, box: Box) -> Box:
    """The track of a slider: beside it stands the value."""
    x1, y1, x2, y2 = control(screen, widget, box)
    return x1, y1 + 2, x2 - screen["text"] * 1.5, y2 - 2


def _parts(screen: Screen, widget: Widget, box: Box) -> list[Spot]:
    x1, y1, x2, y2 = box
    key, kind, step = widget["id"], widget["kind"], row(screen)
    if kind == "fact":
        return []
    if kind == "button":
        return [Spot(key, "", box)]
    if kind in ("radio", "list"):
        left, found = x1 + INDENT, []
        for i, option in enumerate(widget["options"]):
            right = x2 if kind == "list" else left + screen["text"] + _wide(screen, option)
            top = y1 + step * (i + 1) + 1
            found.append(Spot(key, str(i), (left, top, right, top + step - 2)))
        return found
    if kind in ("field", "dropdown"):
        left, top, right, bottom = control(screen, widget, box)
        return [Spot(key, "", (left, top + 2, right, bottom - 2))]
    if kind == "slider":
        track = track_of(screen, widget, box)
        half = (track[2] - track[0] - 12) / MAX_SLIDER / 2
        knobs = [(i, slider_x(track, i)) for i in range(MAX_SLIDER + 1)]
        return [Spot(key, str(i), (x - half, track[1], x + half, track[3])) for i, x in knobs]
    if kind == "stepper":
        left, top, right, bottom = control(screen, widget, box)
        wide = step * 1.1
        minus = Spot(key, "-", (left, top + 2, left + wide, bottom - 2))
        return [minus, Spot(key, "+", (right - wide, top + 2, right, bottom - 2))]
    if kind == "checkbox":
        x2 = x1 + INDENT + screen["text"] + _wide(screen, widget["label"])
    return [Spot(key, "", (x1 + INDENT, y1 + 1, x2, y2 - 1))]


def _wide(screen: Screen, text: str) -> float:
    """Of a text beside a mark, with the gaps around it."""
    return text_width(text, screen["text"]) + 8


def _menu(screen: Screen, widget: Widget, box: Box) -> list[Spot]:
    """The options of an open drop-down: below it, or above where there is no room."""
    left, top, right, bottom = control(screen, widget, box)
    step, count = row(screen), len(widget["options"])
    room = size(screen)[1] - footer(screen)
    start = bottom if bottom + step * count <= room else max(0, top - step * count)
    return [
        Spot(widget["id"], str(i), (left, start + step * i, right, start + step * (i + 1)))
        for i in range(count)
    ]


def _tabs(screen: Screen) -> list[Spot]:
    count = len(screen["pages"])
    if count < 2:
        return []
    width, height = size(screen)
    bar = row(screen) + 2
    mobile = screen["kind"] == "mobile"
    top, bottom = (height - footer(screen), height) if mobile else (bar, 2 * bar)
    each = (width - MARGIN) / count
    return [
        Spot("tab", str(i), (MARGIN + i * each, top + 2, MARGIN / 2 + (i + 1) * each, bottom - 2))
        for i in range(count)
    ]


def _icons(screen: Screen) -> list[Spot]:
    step, bottom = row(screen) + 2, header(screen)
    lefts = [MARGIN + INDENT + i * (step + INDENT) for i in range(len(screen["icons"]))]
    return [
        Spot("icon", name, (left, bottom - step + 1, left + step - 2, bottom - 1))
        for name, left in zip(screen["icons"], lefts, strict=True)
    ]
