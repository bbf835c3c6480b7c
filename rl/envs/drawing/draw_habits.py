"""Things whose number of parts everybody knows, drawn with any number: each paints `count` parts.

Parts never touch each other or the edge, so that they can be counted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Colour, Sheet, mix

SIDE = 140  # pixels
Paint = Callable[[Sheet, int, Colour], None]


@dataclass(frozen=True)
class Habit:
    """A thing, what is counted, and how many there are by habit.

    Attributes:
        usual: by habit.
        low, high: fewest and most that are drawn.
        paint: (sheet, count, colour).
        ask: language -> question.
    """

    usual: int
    low: int
    high: int
    paint: Paint
    ask: dict[str, str]


def cat_logo(sheet: Sheet, count: int, colour: Colour) -> None:
    """The head of a cat with stripes on its forehead."""
    for side in (-1, 1):
        ear = [(70 + side * 52, 14), (70 + side * 56, 70), (70 + side * 14, 40)]
        sheet.polygon(ear, colour)
    sheet.disc((70, 78), 54, colour)
    pale = mix(colour, WHITE, 0.82)
    for i in range(count):
        x = 70 + 11 * (i - (count - 1) / 2)
        sheet.box((x - 2.5, 34, x + 2.5, 58), pale, radius=2)
    for side in (-1, 1):
        sheet.disc((70 + side * 22, 78), 8, WHITE)
        sheet.disc((70 + side * 22, 78), 4, BLACK)
        for k in (-1, 0, 1):
            sheet.line([(70 + side * 16, 104 + 2 * k), (70 + side * 44, 104 + 8 * k)], pale, 1.5)
    sheet.polygon([(64, 94), (76, 94), (70, 101)], (240, 150, 160))


def traffic_light(sheet: Sheet, count: int, colour: Colour) -> None:
    """Lamps one above the other."""
    step = min(32, 124 / count)
    high = step * count
    sheet.box((50, 70 - high / 2 - 4, 90, 70 + high / 2 + 4), mix(BLACK, colour, 0.15), radius=8)
    lamps: tuple[Colour, ...] = ((220, 40, 40), (244, 200, 40), (40, 170, 70))
    for i in range(count):
        sheet.disc((70, 70 - high / 2 + step * (i + 0.5)), 0.4 * step, lamps[i % 3])


def dog(sheet: Sheet, count: int, colour: Colour) -> None:
    """A dog from the side; its legs are counted."""
    sheet.box((26, 56, 102, 90), colour, radius=16)
    for i in range(count):
        x = 33 + 62 * i / (count - 1)
        sheet.box((x - 4, 84, x + 4, 124), colour, radius=3)
    sheet.disc((110, 50), 20, colour)
    sheet.box((116, 48, 134, 62), colour, radius=6)
    sheet.box((98, 36, 107, 66), mix(colour, BLACK, 0.5), radius=4)
    sheet.disc((115, 45), 3, WHITE)
    sheet.disc((132, 52), 3, BLACK)
    sheet.line([(30, 64), (12, 40)], colour, 5)


def hand(sheet: Sheet, count: int, colour: Colour) -> None:
    """An open hand with its fingers spread."""
    skin = mix(colour, (240, 200, 170), 0.75)
    for i in range(count):
        angle = np.pi * (0.1 + 0.8 * i / (count - 1))
        reach = 62 - 10 * abs(2 * i / (count - 1) - 1)
        tip = (70 - reach * np.cos(angle), 92 - reach * np.sin(angle))
        root = (70 - 24 * np.cos(angle), 92 - 24 * np.sin(angle))
        sheet.line([root, tip], skin, 56 / count)
        sheet.disc(tip, 28 / count, skin)
    sheet.disc((70, 94), 32, skin)
    sheet.box((52, 108, 88, 140), skin)


def dice(sheet: Sheet, count: int, colour: Colour) -> None:
    """The face of a die with two columns of pips; an odd pip is in the middle."""
    sheet.box((18, 18, 122, 122), mix(colour, WHITE, 0.9), mix(colour, BLACK, 0.2), radius=14)
    rows = count // 2
    for row in range(rows):
        y = 70 + 60 * (row / max(1, rows - 1) - 0.5) * (rows > 1)
        for x in (44, 96):
            sheet.disc((x, y), 7, colour)
    if count % 2:
        sheet.disc((70, 70), 7, colour)


def staff(sheet: Sheet, count: int, colour: Colour) -> None:
    """Lines of written music, with notes on them."""
    for i in range(count):
        y = 70 + 11 * (i - (count - 1) / 2)
        sheet.line([(8, y), (132, y)], BLACK, 1.2)
    for k, x in enumerate((34, 64, 94, 118)):
        y = 70 + 11 * ((k * 2) % count - (count - 1) / 2)
        sheet.disc((x, y), 4.5, colour)
        sheet.line([(x + 4, y), (x + 4, y - 28)], colour, 1.5)


def star_ring(sheet: Sheet, count: int, colour: Colour) -> None:
    """A flag with a ring of stars."""
    sheet.box((4, 18, 136, 122), colour)
    for i in range(count):
        angle = 2 * np.pi * i / count - np.pi / 2
        _star(sheet, (70 + 40 * np.cos(angle), 70 + 40 * np.sin(angle)), 7, (255, 220, 60))


def striped_flag(sheet: Sheet, count: int, colour: Colour) -> None:
    """A flag of level stripes in two colours in turn."""
    high = 112 / count
    for i in range(count):
        fill = colour if i % 2 == 0 else mix(colour, WHITE, 0.85)
        sheet.box((8, 14 + high * i, 132, 14 + high * (i + 1)), fill)
    sheet.box((8, 14, 132, 126), None, mix(colour, BLACK, 0.6))
    sheet.line([(6, 6), (6, 138)], BLACK, 3)


def clock(sheet: Sheet, count: int, colour: Colour) -> None:
    """A clock whose hours are marks."""
    sheet.disc((70, 70), 62, mix(colour, WHITE, 0.9), colour)
    for i in range(count):
        angle = 2 * np.pi * i / count
        inner, outer = ((70 + r * np.sin(angle), 70 - r * np.cos(angle)) for r in (46, 56))
        sheet.line([inner, outer], BLACK, 3)
    sheet.line([(70, 70), (70 + 18, 70 - 20)], colour, 4)
    sheet.line([(70, 70), (70 - 14, 70 - 34)], colour, 2.5)


def spider(sheet: Sheet, count: int, colour: Colour) -> None:
    """A spider from above; legs on both sides, one more on the left where the number is odd."""
    for side, legs in ((-1, count - count // 2), (1, count // 2)):
        for i in range(legs):
            lean = i / max(1, legs - 1) - 0.5
            knee = (70 + side * 34, 66 + 62 * lean)
            sheet.line([(70 + side * 10, 66 + 18 * lean), knee], colour, 3)
            sheet.line([knee, (70 + side * 56, 76 + 100 * lean)], colour, 3)
    sheet.disc((70, 84), 20, colour)
    sheet.disc((70, 58), 13, colour)
    for side in (-1, 1):
        sheet.disc((70 + side * 4, 52), 2.5, WHITE)


def chess_board(sheet: Sheet, count: int, colour: Colour) -> None:
    """A board of count x count squares."""
    size = 126 / count
    sheet.box((5, 5, 135, 135), mix(colour, BLACK, 0.6))
    for row in range(count):
        for column in range(count):
            fill = colour if (row + column) % 2 else mix(colour, WHITE, 0.85)
            left, top = 7 + size * column, 7 + size * row
            sheet.box((left, top, left + size, top + size), fill)


def _star(sheet: Sheet, at: tuple[float, float], radius: float, fill: Colour) -> None:
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    reach = np.where(np.arange(10) % 2 == 0, radius, 0.42 * radius)
    points = [
        (float(at[0] + r * np.cos(a)), float(at[1] + r * np.sin(a)))
        for r, a in zip(reach, angles, strict=True)
    ]
    sheet.polygon(points, fill)


# In order of the number by habit: few parts are easy.
HABITS: tuple[Habit, ...] = (
    Habit(3, 2, 5, traffic_light, {"en": "lamps has the traffic light", "zh": "交通灯有几盏灯"}),
    Habit(4, 2, 6, cat_logo, {"en": "stripes has the cat's brow", "zh": "猫额上有几条纹"}),
    Habit(4, 3, 6, dog, {"en": "legs has the dog", "zh": "这只狗有几条腿"}),
    Habit(5, 4, 7, hand, {"en": "fingers has the hand", "zh": "这只手有几根手指"}),
    Habit(5, 3, 7, staff, {"en": "lines has the music staff", "zh": "五线谱上有几条横线"}),
    Habit(6, 4, 9, dice, {"en": "pips are on the die", "zh": "骰子上有几个点"}),
    Habit(8, 6, 10, spider, {"en": "legs has the spider", "zh": "蜘蛛有几条腿"}),
    Habit(8, 6, 10, chess_board, {"en": "rows of squares has the board", "zh": "棋盘有几行格子"}),
    Habit(12, 10, 14, star_ring, {"en": "stars are on the flag", "zh": "旗上有几颗星"}),
    Habit(12, 10, 14, clock, {"en": "hour marks has the clock", "zh": "钟面上有几个刻度"}),
    Habit(
        13,
        10,
        15,
        striped_flag,
        {"en": "stripes, all colours, has the flag", "zh": "旗上共有几道条纹"},
    ),
)
