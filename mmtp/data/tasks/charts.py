"""Academic pictures of numbers: bar charts, curves, angles and areas."""

import numpy as np

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Sheet, mix, new_sheet, pick, pick_some
from mmtp.data.tasks.example import Example, ask, say
from mmtp.data.tasks.scenes import COLOURS, PALETTE, SCALE

GREY = (190, 190, 190)
_VALUE = {
    "en": ("What is the value of {name}?", "How high is bar {name}?", "Read bar {name}."),
    "zh": ("{name}的值是多少？", "{name}有多高？", "请读出{name}的值。"),
}
_HIGHEST = {
    "en": ("Which bar is the highest?", "Which bar has the largest value?"),
    "zh": ("哪一条最高？", "值最大的是哪一条？"),
}
_LOWEST = {
    "en": ("Which bar is the lowest?", "Which bar has the smallest value?"),
    "zh": ("哪一条最低？", "值最小的是哪一条？"),
}
_SLOPE = {
    "en": ("Slope at the dot: positive, negative or zero?", "What sign has the slope at the dot?"),
    "zh": ("红点处的斜率是正、负还是零？", "红点处斜率的符号是什么？"),
}
SLOPES = {"en": ("positive", "negative", "zero"), "zh": ("正", "负", "零")}
_ANGLE = {
    "en": ("What kind of angle is this?", "Is the angle acute, right or obtuse?"),
    "zh": ("这是什么角？", "这是锐角、直角还是钝角？"),
}
ANGLES = {"en": ("acute", "right", "obtuse"), "zh": ("锐角", "直角", "钝角")}
_AREA = {
    "en": ("What is the area?", "Compute the area of the rectangle."),
    "zh": ("面积是多少？", "请计算矩形的面积。"),
}
_THIRD = {
    "en": ("What is the third angle?", 'How many degrees has the angle "?"?'),
    "zh": ("第三个角是多少度？", "“?”是多少度？"),
}


def bars(rng: np.random.Generator, language: str, split: str) -> Example:
    """A bar's value, or the highest or lowest bar; values 1 ... 9 on a marked axis."""
    names = ("A", "B", "C", "D")[: int(rng.integers(3, 5))]
    values = rng.choice(np.arange(1, 10), len(names), replace=False).tolist()
    sheet = new_sheet((84, 84), WHITE, SCALE)
    for value in range(0, 10, 3):
        y = 70 - 7 * value
        sheet.line([(12, y), (82, y)], GREY, 0.7)
        sheet.text((9, y), str(value), 10, BLACK, "rm")
    colours = pick_some(rng, COLOURS, len(names))
    width = 70 / len(names)
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        left = 12 + width * (i + 0.5) - 6
        sheet.box((left, 70 - 7 * value, left + 12, 70), PALETTE[colours[i]][1])
        sheet.text((left + 6, 77), name, 11, BLACK, "mm")
    picture = sheet.pixels()
    if rng.random() < 0.5:
        which = int(rng.integers(len(names)))
        options, question = tuple("123456789"), say(rng, _VALUE, language, name=names[which])
        return ask(
            rng, [picture], question, str(values[which]), options=options, values=tuple(values)
        )
    wordings, chosen = (_HIGHEST, max) if rng.random() < 0.5 else (_LOWEST, min)
    answer = names[values.index(chosen(values))]
    return ask(
        rng, [picture], say(rng, wordings, language), answer, options=names, values=tuple(values)
    )


def slopes(rng: np.random.Generator, language: str, split: str) -> Example:
    """The sign of a curve's slope at a dot: a line, a parabola or a wave."""
    sign = int(rng.integers(3))
    x = np.linspace(-1, 1, 41)
    kind = pick(rng, ("line", "parabola", "wave"))
    at = float(rng.uniform(0.35, 0.8))
    if kind == "line":
        y = x * rng.uniform(0.4, 0.9) if sign != 2 else np.full_like(x, rng.uniform(-0.6, 0.6))
        place = float(rng.uniform(-0.7, 0.7))
    elif kind == "parabola":
        y, place = 1.5 * x**2 - 0.75, 0.0 if sign == 2 else at
    else:
        y, place = 0.8 * np.sin(np.pi * x), 0.5 if sign == 2 else float(rng.uniform(-0.25, 0.25))
    y = -y if sign == 1 else y
    if rng.random() < 0.5:  # the same curve turned by half keeps its slopes
        y, place = -y[::-1], -place
    sheet = new_sheet((84, 84), WHITE, SCALE)
    sheet.line([(4, 42), (80, 42)], GREY, 0.8)
    sheet.line([(42, 4), (42, 80)], GREY, 0.8)
    ink = PALETTE[pick(rng, ("blue", "green", "purple", "orange"))][1]
    sheet.line([(42 + 37 * a, 42 - 37 * b) for a, b in zip(x, y, strict=True)], ink, 2)
    height = float(np.interp(place, x, y))
    sheet.disc((42 + 37 * place, 42 - 37 * height), 3.5, PALETTE["red"][1])
    answer, options = SLOPES[language][sign], SLOPES[language]
    at_dot = float(np.interp(place + 0.06, x, y) - np.interp(place - 0.06, x, y))
    question = say(rng, _SLOPE, language)
    return ask(rng, [sheet.pixels()], question, answer, options=options, rise=at_dot)


def angles(rng: np.random.Generator, language: str, split: str) -> Example:
    """Whether an angle is acute, right (marked) or obtuse."""
    which = int(rng.integers(3))
    degrees = (float(rng.uniform(20, 70)), 90.0, float(rng.uniform(115, 160)))[which]
    start = float(rng.uniform(0, 360))
    turns = np.deg2rad([start, start + degrees])
    toward = np.deg2rad(start + degrees / 2)
    corner = np.array([28 - 12 * np.cos(toward), 28 - 12 * np.sin(toward)])
    sheet = new_sheet((56, 56), WHITE, SCALE)
    ink = PALETTE[pick(rng, ("blue", "green", "purple", "black"))][1]
    arms = [np.array([np.cos(turn), np.sin(turn)]) for turn in turns]
    for arm in arms:
        sheet.line([tuple(corner), tuple(corner + 26 * arm)], ink, 2)
    if which == 1:
        mark = [corner + 8 * arms[0], corner + 8 * (arms[0] + arms[1]), corner + 8 * arms[1]]
        sheet.line([tuple(point) for point in mark], ink, 1)
    answer, options = ANGLES[language][which], ANGLES[language]
    question = say(rng, _ANGLE, language)
    return ask(rng, [sheet.pixels()], question, answer, options=options, degrees=degrees)


def areas(rng: np.random.Generator, language: str, split: str) -> Example:
    """The area of a rectangle whose sides are labelled."""
    a, b = (int(n) for n in rng.integers(2, 10, 2))
    sheet = new_sheet((84, 84), WHITE, SCALE)
    width, height = 12 + 4.5 * a, 12 + 4.5 * b
    left, top = (70 - width) / 2 + 12, (70 - height) / 2
    colour = PALETTE[pick(rng, COLOURS)][1]
    fill = mix(colour, WHITE, 0.6)
    sheet.box((left, top, left + width, top + height), fill, colour, width=2)
    sheet.text((left + width / 2, top + height + 8), str(a), 14, BLACK, "mm")
    sheet.text((left - 8, top + height / 2), str(b), 14, BLACK, "mm")
    thinking = f"{a} × {b} = {a * b}"
    question = say(rng, _AREA, language)
    return ask(rng, [sheet.pixels()], question, str(a * b), thinking=thinking)


def third_angles(rng: np.random.Generator, language: str, split: str) -> Example:
    """The third angle of a triangle of which two are labelled."""
    while True:
        a, b = (int(n) for n in rng.integers(6, 13, 2) * 5)
        if 30 <= 180 - a - b <= 100:
            break
    sheet = new_sheet((112, 84), WHITE, SCALE)
    slope_a, slope_b = np.tan(np.deg2rad([a, b]))
    base = min(100.0, 68 * (1 / slope_a + 1 / slope_b))
    left = 56 - base / 2
    top = base / (1 / slope_a + 1 / slope_b)
    corners = [(left, 78.0), (left + base, 78.0), (left + top / slope_a, 78 - top)]
    _triangle(sheet, corners, (str(a), str(b), "?"), PALETTE[pick(rng, ("blue", "green"))][1])
    thinking = f"180 - {a} - {b} = {180 - a - b}"
    question = say(rng, _THIRD, language)
    return ask(rng, [sheet.pixels()], question, str(180 - a - b), thinking=thinking)


def _triangle(
    sheet: Sheet,
    corners: list[tuple[float, float]],
    labels: tuple[str, str, str],
    ink: tuple[int, int, int],
) -> None:
    """A triangle with a label inside each corner."""
    sheet.line([*corners, corners[0]], ink, 2)
    middle = np.mean(corners, axis=0)
    for corner, label in zip(corners, labels, strict=True):
        toward = middle - corner
        place = np.array(corner) + toward * (17 / np.linalg.norm(toward))
        sheet.text((float(place[0]), float(place[1])), label, 12, BLACK, "mm")
