"""Coordinates: points, boxes and polygons in thousandths of the picture's width and height.

Models write integers 0 … 999 (documents of the family also say 1000: it is accepted). Lists come in
square or round brackets, single or doubled: [x,y], [[x,y]], (x,y). Nothing else may stand in the
answer; numbers that are not plain ASCII integers in range are no coordinates.
"""

import functools
import re

GRID = 1000
Point = tuple[int, int]
Box = tuple[int, int, int, int]

MAX_PLACES = 100  # in one answer
_INTEGER = r"\s*([0-9]{1,4})\s*"
_OPEN = {"[": "]", "(": ")"}
_EMPTY = re.compile(r"\[\s*\]|\(\s*\)")
_DOUBLE = re.compile(r"[\[(]\s*[\[(]")
_BETWEEN = re.compile(r"\s*[,;]\s*|\s+")


def parse_point(answer: str) -> Point | None:
    """The only point of an answer."""
    points = parse_points(answer)
    return points[0] if points and len(points) == 1 else None


def parse_box(answer: str) -> Box | None:
    """The only box of an answer: left < right, top < bottom."""
    boxes = parse_boxes(answer)
    return boxes[0] if boxes and len(boxes) == 1 else None


def parse_points(answer: str) -> list[Point] | None:
    """`[x,y]`, `[[x,y],[x,y]]` or `[x,y],[x,y]`; `[]` is no points, None is no such list."""
    lists = parse_lists(answer, 2)
    return None if lists is None else [(x, y) for x, y in lists]


def parse_boxes(answer: str) -> list[Box] | None:
    """The same of boxes `[x1,y1,x2,y2]`; None where one of them is empty or turned inside out."""
    lists = parse_lists(answer, 4)
    if lists is None or any(x1 >= x2 or y1 >= y2 for x1, y1, x2, y2 in lists):
        return None
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in lists]


def parse_polygon(answer: str) -> list[Point] | None:
    """A list of three points or more."""
    points = parse_points(answer)
    return points if points and len(points) >= 3 else None


def parse_lists(answer: str, size: int) -> list[tuple[int, ...]] | None:
    """Lists of `size` coordinates, alone, in a row, or in a list; None where anything else is said.

    Args:
        answer: what was said.
        size: numbers of each list.
    """
    text = answer.strip()
    if len(text) > 40 * size * MAX_PLACES:
        return None
    if _EMPTY.fullmatch(text):
        return []
    one = _one_list(size)
    inner = text
    if _DOUBLE.match(text) and text[-1] == _OPEN[text[0]]:
        inner = text[1:-1].strip()
    found, place = [], 0
    while True:
        match = one.match(inner, place)
        if not match:
            return None
        found.append(tuple(int(n) for n in match.groups() if n is not None))
        place = match.end()
        if place == len(inner):
            break
        comma = _BETWEEN.match(inner, place)
        if not comma or len(found) == MAX_PLACES:
            return None
        place = comma.end()
    return found if all(n <= GRID for numbers in found for n in numbers) else None


def write(numbers: tuple[int, ...]) -> str:
    """A point or box as models write it."""
    return f"[{','.join(map(str, numbers))}]"


@functools.cache
def _one_list(size: int) -> re.Pattern[str]:
    inner = ",".join([_INTEGER] * size)
    forms = (re.escape(a) + inner + re.escape(b) for a, b in _OPEN.items())
    return re.compile("|".join(f"(?:{form})" for form in forms))
