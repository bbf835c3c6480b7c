"""Small screens with fields, check boxes and buttons, which answer to actions.

Actions are written click(x,y) with integers 0 ... 999, type("text"), and done().
"""

from dataclasses import dataclass, replace

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import (
    BLACK,
    WHITE,
    Sheet,
    mix,
    new_sheet,
    pick,
    pick_some,
    text_width,
)
from mmtp.data.tasks.example import Corners, Pixels
from mmtp.data.tasks.pages import ink_on
from mmtp.data.tasks.scenes import PALETTE, SCALE

TITLE, ROW = 16, 20  # pixels: heights of the title bar and of a row
SIZE = 12  # of the text
BUTTON_COLOURS = ("blue", "green", "purple", "red")


@dataclass(frozen=True)
class Element:
    """Something on a screen that can be clicked: "button", "checkbox" or "field"."""

    kind: str
    label: str


@dataclass(frozen=True)
class Screen:
    """A screen and its state.

    Attributes:
        title: of the window.
        elements: from top to bottom, then the buttons from left to right.
        values: label -> what a field contains.
        ticked: labels of check boxes.
        focus: label of the field that is being edited; "" = none.
        pressed: label of the button that was pressed; "" = none; then the form is gone.
        accent: key of PALETTE.
        width: pixels.
    """

    title: str
    elements: tuple[Element, ...]
    values: tuple[tuple[str, str], ...]
    ticked: frozenset[str]
    accent: str
    width: int
    focus: str = ""
    pressed: str = ""

    @property
    def height(self) -> int:
        """Pixels, a multiple of 28."""
        rows = sum(element.kind != "button" for element in self.elements) + 1
        return 28 * -(-(TITLE + ROW * rows + 4) // 28)

    def of(self, kind: str) -> list[Element]:
        """Elements of one kind."""
        return [element for element in self.elements if element.kind == kind]

    def value(self, label: str) -> str:
        """What a field contains."""
        return dict(self.values)[label]

    def after_click(self, element: Element) -> "Screen":
        """The screen after a click on one of its elements."""
        if element.kind == "button":
            return replace(self, pressed=element.label, focus="")
        if element.kind == "field":
            return replace(self, focus=element.label)
        return replace(self, ticked=self.ticked ^ {element.label}, focus="")

    def after_typing(self, text: str) -> "Screen":
        """The screen after text was typed into the field that has the focus."""
        values = tuple((k, text if k == self.focus else v) for k, v in self.values)
        return replace(self, values=values)


def draw_form(rng: np.random.Generator, language: str) -> Screen:
    """A form: up to two fields, one to three check boxes, two or three in all; two buttons."""
    known = texts.FIELDS[language]
    labels = [label for label in known if text_width(label, SIZE) < 48]
    num_fields = int(rng.integers(0, 3))
    num_checks = int(rng.integers(2 if num_fields == 0 else 1, 4 - num_fields))
    fields = pick_some(rng, labels, num_fields)
    checks = pick_some(
        rng, [word for word in texts.MENU[language] if word not in fields], num_checks
    )
    words = [word for word in texts.BUTTONS[language] if text_width(word, SIZE) < 44]
    buttons = pick_some(rng, [word for word in words if word not in checks], 2)
    elements = [Element("field", label) for label in fields]
    elements += [Element("checkbox", label) for label in checks]
    elements = [elements[i] for i in rng.permutation(len(elements))]
    values = tuple((f, pick(rng, known[f]) if rng.random() < 0.5 else "") for f in fields)
    return Screen(
        title=pick(rng, texts.TITLES[language]),
        elements=(*elements, *(Element("button", word) for word in buttons)),
        values=values,
        ticked=frozenset(label for label in checks if rng.random() < 0.5),
        accent=pick(rng, BUTTON_COLOURS),
        width=int(pick(rng, (140, 168))),
    )


def boxes(screen: Screen) -> dict[Element, Corners]:
    """Where each element is, in pixels; they do not overlap."""
    found: dict[Element, Corners] = {}
    top, left = float(TITLE + 2), 6.0
    for element in screen.elements:
        if element.kind == "field":
            found[element] = (58, top + 2, screen.width - 6, top + ROW - 2)
        elif element.kind == "checkbox":
            found[element] = (6, top + 3, 24 + text_width(element.label, SIZE), top + ROW - 3)
        if element.kind != "button":
            top += ROW
        else:
            width = text_width(element.label, SIZE) + 16
            found[element] = (left, top + 1, left + width, top + ROW - 1)
            left += width + 10
    return found


def render(screen: Screen) -> Pixels:
    """The screen as it looks."""
    sheet = new_sheet((screen.width, screen.height), (242, 243, 246), SCALE)
    accent = PALETTE[screen.accent][1]
    sheet.box((0, 0, screen.width, TITLE), accent)
    sheet.text((5, TITLE / 2), screen.title, SIZE, ink_on(accent), "lm")
    if screen.pressed:
        middle = (screen.width / 2, (screen.height + TITLE) / 2)
        sheet.text(middle, screen.pressed, 18, accent, "mm")
        return sheet.pixels()
    for element, corners in boxes(screen).items():
        _draw(sheet, screen, element, corners)
    return sheet.pixels()


def _draw(sheet: Sheet, screen: Screen, element: Element, corners: Corners) -> None:
    left, top, right, bottom = corners
    middle, accent = (top + bottom) / 2, PALETTE[screen.accent][1]
    if element.kind == "button":
        sheet.box(corners, accent, mix(accent, BLACK, 0.4), radius=4)
        sheet.text(((left + right) / 2, middle), element.label, SIZE, ink_on(accent), "mm")
    elif element.kind == "field":
        focused = element.label == screen.focus
        sheet.text((6, middle), element.label, SIZE, BLACK, "lm")
        sheet.box(corners, WHITE, accent if focused else (150, 150, 150), width=2 if focused else 1)
        text = screen.value(element.label)
        sheet.text((left + 4, middle), text, SIZE, BLACK, "lm")
        if focused:
            caret = left + 5 + text_width(text, SIZE)
            sheet.line([(caret, top + 3), (caret, bottom - 3)], BLACK, 1)
    else:
        square = (left, middle - 6, left + 12, middle + 6)
        ticked = element.label in screen.ticked
        sheet.box(square, accent if ticked else WHITE, (110, 110, 110), radius=2)
        if ticked:
            tick = [(left + 2.5, middle), (left + 5, middle + 3), (left + 9.5, middle - 3)]
            sheet.line(tick, WHITE, 2)
        sheet.text((left + 18, middle), element.label, SIZE, BLACK, "lm")
