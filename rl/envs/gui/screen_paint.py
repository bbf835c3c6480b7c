"""What a screen looks like; with the numbers of a set of marks if wanted."""

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Colour, Sheet, mix, new_sheet, text_width
from mmtp.data.tasks.example import Pixels
from mmtp.data.tasks.pages import ink_on
from mmtp.data.tasks.scenes import PALETTE, Shape, draw_shape
from rl.envs.gui import screen_layout as layout
from rl.envs.gui.screen_layout import INDENT, Box
from rl.envs.gui.screen_words import SENT
from rl.envs.gui.screens import Screen, Widget, find

MARK_SIZE = 9


def paint(screen: Screen, marks: bool = False) -> Pixels:
    """The picture of a screen.

    Args:
        screen: of `rl.envs.gui.screens`.
        marks: number what can be clicked, from 1 in the order of `screen_layout.spots`.
    """
    width, height = layout.size(screen)
    sheet = new_sheet((width, height), _ground(screen), 2 if width * height < 60_000 else 1)
    if screen["ended"] == "sent":
        _bars(sheet, screen)
        name = find(screen, screen["pressed"][-1])["label"]
        told = SENT[screen["language"]].format(name)
        sheet.text((width / 2, height / 2), told, screen["text"], _ink(screen), "mm")
        return sheet.pixels()
    for widget, (x1, y1, x2, y2) in layout.places(screen)[0]:
        box = (x1, y1 - screen["scroll"], x2, y2 - screen["scroll"])
        if box[3] > 0 and box[1] < height:
            _WAYS[widget["kind"]](sheet, screen, widget, box)
    _bars(sheet, screen)
    if layout.most_scroll(screen):
        _scroll_bar(sheet, screen)
    if screen["open"]:
        _open_menu(sheet, screen)
    if marks:
        _marks(sheet, screen)
    return sheet.pixels()


def _accent(screen: Screen) -> Colour:
    accent = PALETTE[screen["accent"]][1]
    return mix(accent, WHITE, 0.25) if screen["dark"] else accent


def _ground(screen: Screen) -> Colour:
    if screen["dark"]:
        return (38, 40, 46)
    return {"desktop": (236, 238, 242), "web": WHITE, "mobile": (246, 246, 249)}[screen["kind"]]


def _ink(screen: Screen) -> Colour:
    return (236, 236, 240) if screen["dark"] else BLACK


def _paper(screen: Screen) -> Colour:
    return (58, 61, 70) if screen["dark"] else WHITE


def _edge(screen: Screen) -> Colour:
    return mix(_ground(screen), _ink(screen), 0.45)


def _bars(sheet: Sheet, screen: Screen) -> None:
    """Title, icons and tabs, over whatever was scrolled below them."""
    width, height = layout.size(screen)
    accent, bar = _accent(screen), layout.row(screen) + 2
    sheet.box((0, 0, width, layout.header(screen) - 1), mix(_ground(screen), _ink(screen), 0.1))
    sheet.box((0, 0, width, bar), accent)
    sheet.text((8, bar / 2), screen["title"], screen["text"], ink_on(accent), "lm")
    if layout.footer(screen):
        top = height - layout.footer(screen)
        sheet.box((0, top, width, height), mix(_ground(screen), _ink(screen), 0.1))
    for spot in layout.spots({**screen, "open": ""}):
        if spot.key == "tab":
            _tab(sheet, screen, int(spot.part), spot.box)
        elif spot.key == "icon":
            x1, y1, x2, y2 = spot.box
            pressed = f"icon:{spot.part}" in screen["pressed"]
            sheet.box(spot.box, mix(_paper(screen), accent, 0.3 * pressed), _edge(screen), 3)
            middle = ((x1 + x2) / 2, (y1 + y2) / 2)
            colour = "blue" if not screen["dark"] else "yellow"
            draw_shape(sheet, Shape(spot.part, colour, middle, (x2 - x1) * 0.34))


def _tab(sheet: Sheet, screen: Screen, number: int, box: Box) -> None:
    current = number == screen["page"]
    fill = _accent(screen) if current else _paper(screen)
    sheet.box(box, fill, _edge(screen), radius=3)
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    ink = ink_on(fill)
    sheet.text(middle, screen["pages"][number]["name"], screen["text"], ink, "mm")


def _label(sheet: Sheet, screen: Screen, widget: Widget, box: Box, indent: float = INDENT) -> None:
    y = box[1] + layout.row(screen) / 2
    sheet.text((box[0] + indent, y), widget["label"], screen["text"], _ink(screen), "lm")


def _button(sheet: Sheet, screen: Screen, widget: Widget, box: Box) -> None:
    accent = _accent(screen)
    sheet.box(box, accent, mix(accent, BLACK, 0.4), radius=4)
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    sheet.text(middle, widget["label"], screen["text"], ink_on(accent), "mm")


def _checkbox(sheet: Sheet, screen: Screen, widget: Widget, box: Box) -> None:
    half, y = screen["text"] * 0.48, (box[1] + box[3]) / 2
    left = box[0] + INDENT
    square = (left, y - half, left + 2 * half, y + half)
    accent = _accent(screen)
    sheet.box(square, accent if widget["on"] else _paper(screen), _edge(screen), radius=2)
    if widget["on"]:
        ticks = ((0.4, 0.0), (0.85, 0.5), (1.6, -0.5))
        points = [(left + dx * half, y + dy * half) for dx, dy in ticks]
        sheet.line(points, ink_on(accent), 2)
    _label(sheet, screen, widget, box, INDENT + 2 * half + 6)


def _switch(sheet: Sheet, screen: Screen, widget: Widget, box: Box) -> None:
    _label(sheet, screen, widget, box)
    radius, y, right = screen["text"] * 0.5, (box[1] + box[3]) / 2, box[2] - 4
    left = right - 3.6 * radius
    on = widget["on"]
    fill = _accent(screen) if on else mix(_ground(screen), _ink(screen), 0.3)
    sheet.box((left, y - radius, right, y + radius), fill, radius=radius)
    sheet.disc((right - radius if on else left + radius, y), radius - 1.5, WHITE)


def _radio(sheet: Sheet, screen: Screen, widget: Widget, box: Box) -> None:
    _label(sheet, screen, widget, box, 2)
    step, radius = layout.row(screen), screen["text"] * 0.45
    for i, option in enumerate(widget["options"]):
        x, y = box[0] + INDENT + radius + 1, box[1] + step * (i + 1.5)
        sheet.disc((x, y), radius, _paper(screen), _edge(screen))
        if i == widget["value"]:
            sheet.disc((x, y), radius * 0.62, _accent(screen))
        sheet.text((x + radius + 6, y), option, screen["text"], _ink(screen), "lm")


def _list(sheet: Sheet, screen: Screen, widget: Widget, box: Box) -> None:
    _label(sheet, screen, widget, box, 2)
    step, left = layout.row(screen), box[0] + INDENT
    sheet.box((left, box[1] + step, box[2], box[3]), _paper(screen), _edge(screen))
    for i, option in enumerate(widget["options"]):
        top, ink = box[1] + step * (i + 1), _ink(screen)
        if i == widget["value"]:
            sheet.box((left + 1, top + 1, box[2] - 1, top + step - 1), _accent(screen))
            ink = ink_on(_accent(screen))
        sheet.text((left + 6, top + step / 2), option, screen["text"], ink, "lm")


def _field(sheet: Sheet, screen: Screen, widget: Widget, box: Box) -> None:
    _label(sheet, screen, widget, box, 2)
    left, top, right, bottom = layout.control(screen, widget, box)
    focused, accent, y = screen["focus"] == widget["id"], _accent(screen), (top + bottom) / 2
    edge = accent if focused else _edge(screen)
    sheet.box((left, top + 2, right, bottom - 2), _paper(screen), edge, width=2 if focused else 1)
    room, text = right - left - 10, widget["value"].replace("\n", " ")[:200]
    while text and text_width(text, screen["text"]) > room:
        text = text[1:]
    end = left + 5 + text_width(text, screen["text"])
    if focused and screen["marked"] and text:
        sheet.box((left + 4, top + 4, end, bottom - 4), mix(_paper(screen), accent, 0.35))
    sheet.text((left + 5, y), text, screen["text"], _ink(screen), "lm")
    if focused:
        sheet.line([(end + 1, top + 5), (end + 1, bottom - 5)], _ink(screen), 1)


def _dropdown(sheet: Sheet, screen: Screen, widget: Widget, box: Box) -> None:
    _label(sheet, screen, widget, box, 2)
    left, top, right, bottom = layout.control(screen, widget, box)
    sheet.box((left, top + 2, right, bottom - 2), _paper(screen), _edge(screen), radius=3)
    y, text = (top + bottom) / 2, widget["options"][widget["value"]]
    sheet.text((left + 5, y), text, screen["text"], _ink(screen), "lm")
    x = right - 8
    sheet.polygon([(x - 4, y - 2), (x + 4, y - 2), (x, y + 3)], _ink(screen))


def _open_menu(sheet: Sheet, screen: Screen) -> None:
    widget = find(screen, screen["open"])
    for spot in layout.spots(screen):
        chosen = int(spot.part) == widget["value"]
        fill = mix(_paper(screen), _accent(screen), 0.3 * chosen)
        sheet.box(spot.box, fill, _edge(screen))
        at = (spot.box[0] + 6, (spot.box[1] + spot.box[3]) / 2)
        sheet.text(at, widget["options"][int(spot.part)], screen["text"], _ink(screen), "lm")


def _slider(sheet: Sheet, screen: Screen, widget: Widget, box: Box) -> None:
    _label(sheet, screen, widget, box, 2)
    track, accent = layout.track_of(screen, widget, box), _accent(screen)
    y, knob = (track[1] + track[3]) / 2, layout.slider_x(track, widget["value"])
    sheet.line([(track[0] + 6, y), (track[2] - 6, y)], _edge(screen), 3)
    sheet.line([(track[0] + 6, y), (knob, y)], accent, 3)
    sheet.disc((knob, y), screen["text"] * 0.42, accent, _edge(screen))
    sheet.text((box[2] - 2, y), str(widget["value"]), screen["text"], _ink(screen), "rm")


def _stepper(sheet: Sheet, screen: Screen, widget: Widget, box: Box) -> None:
    _label(sheet, screen, widget, box, 2)
    left, top, right, bottom = layout.control(screen, widget, box)
    y, wide = (top + bottom) / 2, layout.row(screen) * 1.1
    for x1, sign in ((left, "-"), (right - wide, "+")):
        sheet.box((x1, top + 2, x1 + wide, bottom - 2), _paper(screen), _edge(screen), radius=3)
        x, arm, ink = x1 + wide / 2, screen["text"] * 0.3, _ink(screen)
        sheet.line([(x - arm, y), (x + arm, y)], ink, 2)
        if sign == "+":
            sheet.line([(x, y - arm), (x, y + arm)], ink, 2)
    number = str(widget["value"])
    sheet.text(((left + right) / 2, y), number, screen["text"], _ink(screen), "mm")


def _fact(sheet: Sheet, screen: Screen, widget: Widget, box: Box) -> None:
    _label(sheet, screen, widget, box, 2)
    at = (layout.control(screen, widget, box)[0], (box[1] + box[3]) / 2)
    sheet.text(at, widget["value"], screen["text"], _ink(screen), "lm")


def _scroll_bar(sheet: Sheet, screen: Screen) -> None:
    """At the right edge: where the view is in the page."""
    width, height = layout.size(screen)
    top, bottom = layout.header(screen), height - layout.footer(screen)
    most = layout.most_scroll(screen)
    length = (bottom - top) * (bottom - top) / (bottom - top + most)
    start = top + (bottom - top - length) * screen["scroll"] / most
    sheet.box((width - 4, start, width - 1, start + length), _edge(screen), radius=1)


def _marks(sheet: Sheet, screen: Screen) -> None:
    for number, spot in enumerate(layout.spots(screen), 1):
        x, y = spot.box[0] - 2, (spot.box[1] + spot.box[3]) / 2
        if spot.key == "tab":
            x, y = spot.box[0] + 14, spot.box[1] + 7
        wide = text_width(str(number), MARK_SIZE) + 3
        sheet.box((x - wide, y - 6, x, y + 5), (255, 236, 120), (120, 90, 0))
        sheet.text((x - wide / 2, y), str(number), MARK_SIZE, BLACK, "mm")


_WAYS = {
    "button": _button,
    "checkbox": _checkbox,
    "switch": _switch,
    "radio": _radio,
    "list": _list,
    "field": _field,
    "dropdown": _dropdown,
    "slider": _slider,
    "stepper": _stepper,
    "fact": _fact,
}
