"""Dialogs, menus and forms as a user interface shows them, with an instruction what to do."""

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import (
    BLACK,
    COLOURS,
    WHITE,
    Colour,
    Drawing,
    Sheet,
    draw_size,
    largest_size,
    mix,
    new_sheet,
    pick,
    pick_some,
    text_width,
    wrap,
)


def dialog(rng: np.random.Generator, language: str) -> Drawing:
    """A dialog window with a message and one to three buttons, one of which is to be clicked."""
    sheet, accent, back = _desktop(rng, draw_size(rng, 0.8, 1.7))
    names = pick_some(rng, texts.BUTTONS[language], int(rng.integers(1, 4)))
    title, message = pick(rng, texts.TITLES[language]), pick(rng, texts.MESSAGES[language])
    ink = _ink(back)
    inset, size = rng.uniform(6, 22), int(rng.integers(12, 16))
    lines = wrap(message, size, sheet.width - 2 * inset - 36)
    needed = 34 + len(lines) * size * 1.4 + 48
    top = rng.uniform(4, max(5, sheet.height - needed - 4))
    frame = (inset, top, sheet.width - inset, min(top + needed, sheet.height - 2))
    sheet.box(frame, back, mix(back, ink, 0.35), radius=float(pick(rng, (0, 4, 9))))
    _title_bar(rng, sheet, frame, title, accent, ink)
    for i, line in enumerate(lines):
        sheet.text((inset + 16, top + 34 + i * size * 1.4), line, size, ink)
    _buttons(rng, sheet, frame, names, accent, back)
    name = pick(rng, names)
    return Drawing(
        sheet.pixels(),
        (
            f"a dialog window that says “{message}”; click the “{name}” button",
            f"Click {name} in the dialog “{message}”",
        ),
        (
            f"一个对话框，写着“{message}”；请点“{name}”按钮",
            f"在对话框“{message}”里点一下{name}",
        ),
        f"dialog: {message} {name}",
        {"en": f"Click {name}", "zh": f"点一下“{name}”"}[language],
    )


def menu(rng: np.random.Generator, language: str) -> Drawing:
    """A menu, as a column or as a grid of icons, with one entry selected."""
    sheet, accent, back = _desktop(rng, draw_size(rng, 0.55, 1.4))
    count = int(rng.integers(3, 8))
    names = pick_some(rng, texts.MENU[language], count)
    chosen = int(rng.integers(count))
    if rng.random() < 0.6:
        _menu_column(rng, sheet, names, chosen, accent, back)
    else:
        _menu_grid(rng, sheet, names, chosen, accent, back)
    name, all_names = names[chosen], {"en": ", ".join, "zh": "、".join}[language](names)
    return Drawing(
        sheet.pixels(),
        (
            f"a menu with the entries {all_names}; “{name}” is selected",
            f"Which entry of the menu ({all_names}) is selected? {name}",
        ),
        (
            f"一个菜单，有{all_names}；选中了“{name}”",
            f"菜单（{all_names}）里选中的是哪一项？{name}",
        ),
        f"menu: {all_names}: {name}",
        {"en": "Which entry is selected?", "zh": "亮着的是什么？"}[language],
    )


def form(rng: np.random.Generator, language: str) -> Drawing:
    """A form with labelled fields, some filled in, and a button."""
    sheet, accent, back = _desktop(rng, draw_size(rng, 0.65, 1.35))
    sheet.box((0, 0, sheet.width, sheet.height), back)
    fields = texts.FIELDS[language]
    names = pick_some(rng, tuple(fields), int(rng.integers(2, 6)))
    values = [pick(rng, fields[name]) for name in names]
    chosen = int(rng.integers(len(names)))
    filled = rng.random(len(names)) < 0.7
    filled[chosen] = True
    ink, margin = _ink(back), rng.uniform(8, 22)
    step = min(46.0, (sheet.height - 40) / len(names))
    label = largest_size(names, sheet.width, range(min(13, int(step * 0.36)), 8, -1))
    top = rng.uniform(4, max(5, sheet.height - 40 - step * len(names)))
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        y = top + i * step
        sheet.text((margin, y), name, label, mix(ink, back, 0.2))
        box = (margin, y + label + 4, sheet.width - margin, y + step - 4)
        sheet.box(box, WHITE, mix(accent, WHITE, 0.4), radius=float(pick(rng, (0, 3))))
        if filled[i]:
            size = max(9, min(16, int((box[3] - box[1]) * 0.65)))
            sheet.text((margin + 6, (box[1] + box[3]) / 2), value, size, BLACK, "lm")
    bottom = top + step * len(names)
    frame = (margin, bottom, sheet.width - margin, bottom + 36)
    _buttons(rng, sheet, frame, [pick(rng, texts.BUTTONS[language])], accent, back)
    name, value = names[chosen], values[chosen]
    return Drawing(
        sheet.pixels(),
        (
            f"a form in which the field “{name}” says {value}",
            f"Fill in the form: type {value} into “{name}”",
        ),
        (
            f"一张表单，“{name}”一栏写着{value}",
            f"填表单：在“{name}”里写上{value}",
        ),
        f"form: {name} {value}",
        {"en": f"Type {value} into {name}", "zh": f"在“{name}”里写“{value}”"}[language],
    )


def _desktop(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Sheet, Colour, Colour]:
    """A desktop in one hue, an accent colour, and the background of windows: light or dark."""
    accent, hue = pick(rng, COLOURS)[2], pick(rng, COLOURS)[2]
    dark = rng.random() < 0.3
    back = mix(hue, (34, 36, 42), 0.9) if dark else mix(hue, WHITE, rng.uniform(0.9, 1))
    sheet = new_sheet(size, mix(hue, BLACK if dark else WHITE, rng.uniform(0.3, 0.8)))
    for _ in range(int(rng.integers(0, 5))):  # what lies behind: other windows, a picture
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        other = mix(hue, pick(rng, COLOURS)[2], rng.uniform(0.1, 0.5))
        sheet.box((x - 50, y - 30, x + 50, y + 30), mix(other, WHITE, 0.3), radius=6)
    return sheet, mix(accent, WHITE, 0.15) if dark else accent, back


def _ink(back: Colour) -> Colour:
    return BLACK if sum(back) > 380 else (236, 236, 240)


def _title_bar(
    rng: np.random.Generator,
    sheet: Sheet,
    frame: tuple[float, float, float, float],
    title: str,
    accent: Colour,
    ink: Colour,
) -> None:
    left, top, right, _ = frame
    if coloured := rng.random() < 0.5:
        sheet.box((left, top, right, top + 24), accent)
    size = largest_size([title], right - left - 50, range(14, 8, -1))
    sheet.text((left + 10, top + 12), title, size, WHITE if coloured else ink, "lm")
    if rng.random() < 0.5:  # a cross that closes the window, or three round buttons
        x, y, cross = right - 14, top + 12, WHITE if coloured else ink
        sheet.line([(x - 4, y - 4), (x + 4, y + 4)], cross, 2)
        sheet.line([(x - 4, y + 4), (x + 4, y - 4)], cross, 2)
    else:
        for i, colour in enumerate(((235, 90, 80), (240, 190, 60), (90, 190, 90))):
            sheet.disc((right - 38 + 12 * i, top + 12), 4, colour)


def _buttons(
    rng: np.random.Generator,
    sheet: Sheet,
    frame: tuple[float, float, float, float],
    names: list[str],
    accent: Colour,
    back: Colour,
) -> None:
    """A row of buttons at the lower edge of `frame`, from its right or centred."""
    size = 13
    widths = [text_width(name, size) + 18 for name in names]
    room = frame[2] - frame[0] - 12
    if sum(widths) + 8 * (len(names) - 1) > room:
        size, widths = 10, [text_width(name, 10) + 10 for name in names]
    total = sum(widths) + 8 * (len(names) - 1)
    x = frame[2] - 6 - total if rng.random() < 0.6 else (frame[0] + frame[2] - total) / 2
    radius, primary = float(pick(rng, (0, 4, 12))), int(rng.integers(len(names)))
    for i, (name, width) in enumerate(zip(names, widths, strict=True)):
        colour = accent if i == primary else mix(back, _ink(back), 0.12)
        top, bottom = frame[3] - 32, frame[3] - 8
        sheet.box((x, top, x + width, bottom), colour, mix(colour, BLACK, 0.2), radius)
        ink = WHITE if i == primary else _ink(colour)
        sheet.text((x + width / 2, (top + bottom) / 2), name, size, ink, "mm")
        x += width + 8


def _menu_column(
    rng: np.random.Generator,
    sheet: Sheet,
    names: list[str],
    chosen: int,
    accent: Colour,
    back: Colour,
) -> None:
    step = min(34.0, (sheet.height - 12) / len(names))
    size = min(16, int(step * 0.6))
    width = max(text_width(name, size) for name in names) + 46
    width = min(width * rng.uniform(1, 1.4), sheet.width - 8)
    left = rng.uniform(4, sheet.width - width - 4)
    top = rng.uniform(4, sheet.height - step * len(names) - 4)
    frame = (left, top, left + width, top + step * len(names))
    sheet.box(frame, back, mix(back, _ink(back), 0.3), radius=4)
    icons = rng.random() < 0.7
    for i, name in enumerate(names):
        y = top + step * i
        if i == chosen:
            sheet.box((left + 2, y + 2, left + width - 2, y + step - 2), accent, radius=4)
        ink = WHITE if i == chosen else _ink(back)
        if icons:
            _icon(rng, sheet, (left + 16, y + step / 2), step * 0.24, ink)
        sheet.text((left + (30 if icons else 12), y + step / 2), name, size, ink, "lm")


def _menu_grid(
    rng: np.random.Generator,
    sheet: Sheet,
    names: list[str],
    chosen: int,
    accent: Colour,
    back: Colour,
) -> None:
    columns = 3 if sheet.width > 200 and len(names) > 4 else 2
    rows = -(-len(names) // columns)
    wide, high = (sheet.width - 8) / columns, (sheet.height - 8) / rows
    size = largest_size(names, wide - 12, range(14, 8, -1))
    for i, name in enumerate(names):
        x, y = 4 + wide * (i % columns), 4 + high * (i // columns)
        fill = accent if i == chosen else back
        sheet.box((x + 3, y + 3, x + wide - 3, y + high - 3), fill, radius=8)
        ink = WHITE if i == chosen else _ink(back)
        _icon(rng, sheet, (x + wide / 2, y + high * 0.4), min(wide, high) * 0.16, ink)
        sheet.text((x + wide / 2, y + high - 8), name, size, ink, "mb")


def _icon(
    rng: np.random.Generator, sheet: Sheet, at: tuple[float, float], radius: float, ink: Colour
) -> None:
    """A disc, a ring, a square, a triangle, a star or three bars."""
    x, y = at
    kind = int(rng.integers(6))
    if kind == 0:
        sheet.disc(at, radius, ink)
    elif kind == 1:
        sheet.disc(at, radius, None, ink)
    elif kind == 2:
        sheet.box((x - radius, y - radius, x + radius, y + radius), ink, radius=2)
    elif kind in (3, 4):
        corners = 3 if kind == 3 else 10
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) - np.pi / 2
        radii = np.where(np.arange(corners) % 2 == (kind == 3), 1.1, 1.1 if kind == 3 else 0.5)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (radius * radii)[:, None]
        sheet.polygon([(x + a, y + b) for a, b in points.tolist()], ink)
    else:
        for shift in (-radius, 0.0, radius):
            sheet.line([(x - radius, y + shift * 0.8), (x + radius, y + shift * 0.8)], ink, 2)
