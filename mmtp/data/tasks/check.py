"""Whether a reply is the answer that a document's tags give. Replies are parsed, never run."""

import re
from collections.abc import Mapping

from mmtp.data.tasks.example import GRID

CHECKS = ("exact", "point", "box")
MAX_CHARACTERS = 2000  # a reply that is longer than this and than its answer by half is wrong
MIN_OVERLAP = 0.5  # intersection over union at which a box counts

Box = tuple[int, int, int, int]

_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_BOXED = re.compile(r"^<\|begin_of_box\|>(.*)<\|end_of_box\|>$", re.DOTALL)
_NUMBER = r"\s*([0-9]{1,3})\s*"
_BRACKETS = (("[", "]"), ("[[", "]]"), ("(", ")"))


def check(tags: Mapping[str, object], reply: str) -> bool:
    """Whether `reply` is right.

    A thought in front, surrounding space, and <|begin_of_box|> ... <|end_of_box|> are taken off.
    Nothing else may be said beside the answer: a reply that lists several answers is wrong.

    Args:
        tags: of a document: "answer", and "check":
            "exact": the same text, but for spaces and line ends, a capital at the start and a full
            stop at the end;
            "point": [x,y] inside of tags["box"] (0 ... 999, edges included);
            "box": [x1,y1,x2,y2] that overlaps tags["box"] by MIN_OVERLAP or more.
            tags["form"] is what a point or box is written in, "{}" in its place: "click{}" asks
            for click(x,y).
        reply: whatever was said.

    Raises:
        ValueError: another check.
    """
    kind, answer = str(tags["check"]), str(tags["answer"])
    if kind not in CHECKS:
        raise ValueError(f'tags["check"] = {kind!r}; expected one of {", ".join(CHECKS)}')
    if len(reply) > max(MAX_CHARACTERS, 1.5 * len(answer)):
        return False
    said = bare(reply)
    if kind == "exact":
        return normalise(said) == normalise(answer)
    form = str(tags.get("form", "{}"))
    wanted = _box(tags["box"])
    if kind == "point":
        point = read_numbers(said, 2, form)
        return point is not None and _inside(point, wanted)
    box = read_numbers(said, 4, form)
    return box is not None and overlap((box[0], box[1], box[2], box[3]), wanted) >= MIN_OVERLAP


def normalise(text: str) -> str:
    """Without surplus spaces, a capital at the start, and a full stop at the end."""
    words = " ".join(text.split())
    words = words[:1].lower() + words[1:]
    return words[:-1].rstrip() if words[-1:] in (".", "。") else words


def read_numbers(text: str, count: int, form: str = "{}") -> tuple[int, ...] | None:
    """The integers 0 ... 999 of exactly one bracketed list of `count`; None where it is not one."""
    before, _, after = form.partition("{}")
    inner = ",".join([_NUMBER] * count)
    for opening, closing in _BRACKETS:
        pattern = re.escape(before + opening) + inner + re.escape(closing + after)
        if match := re.fullmatch(pattern, text):
            return tuple(int(number) for number in match.groups())
    return None


def overlap(one: Box, other: Box) -> float:
    """Intersection over union; 0 where a box is empty or turned inside out."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    proper = all(box[2] > box[0] and box[3] > box[1] for box in (one, other))
    if not proper or width <= 0 or height <= 0:
        return 0.0
    return width * height / (sum(areas) - width * height)


def bare(reply: str) -> str:
    """What is left without a thought in front and the marks of a final answer."""
    said = _THOUGHT.sub("", reply, count=1).strip()
    boxed = _BOXED.match(said)
    return boxed.group(1).strip() if boxed else said


def _inside(point: tuple[int, ...], box: Box) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _box(value: object) -> Box:
    """The tag, as four integers.

    Raises:
        ValueError: something else.
    """
    if isinstance(value, tuple | list) and len(value) == 4:
        box = tuple(int(number) for number in value)
        if all(0 <= number < GRID for number in box):
            return box[0], box[1], box[2], box[3]
    raise ValueError(f'tags["box"] = {value!r}; expected four integers 0 ... {GRID - 1}')
