"""Expressions that mean exactly one thing of a picture: by what it is, where, and beside what."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mmtp.data.tasks.scenes import PALETTE
from rl.envs.drawing.draw_items import NAMES, THING, Item

FORMS = ("pair", "colour", "kind", "place", "size", "relation", "nearest", "order")
MARGIN = 0.06  # of the picture's side: what is nearer to each other is not told apart

_ENDS = {
    ("x", -1): ("leftmost {}", "最左边的{}"),
    ("x", 1): ("rightmost {}", "最右边的{}"),
    ("y", -1): ("topmost {}", "最上边的{}"),
    ("y", 1): ("bottommost {}", "最下边的{}"),
}
_SIDES = {
    ("x", -1): ("{} to the left of the {}", "{1}左边的{0}"),
    ("x", 1): ("{} to the right of the {}", "{1}右边的{0}"),
    ("y", -1): ("{} above the {}", "{1}上方的{0}"),
    ("y", 1): ("{} below the {}", "{1}下方的{0}"),
}
_ORDINALS = (("second", "二"), ("third", "三"))


@dataclass(frozen=True)
class Expression:
    """Words and the number of the thing that they mean; in English "the" belongs before them."""

    index: int
    en: str
    zh: str

    def of(self, language: str) -> str:
        """The words, with "the" in English."""
        return self.zh if language == "zh" else f"the {self.en}"


def expressions(items: Sequence[Item], form: str, side: float) -> list[Expression]:
    """All expressions of a form that mean one thing clearly.

    Args:
        items: of the picture.
        form: one of FORMS.
        side: of the picture, in pixels.
    """
    makers = {
        "pair": _pairs,
        "colour": _colours,
        "kind": _kinds,
        "place": _places,
        "size": _sizes,
        "relation": _relations,
        "nearest": _nearest,
        "order": _orders,
    }
    return list(makers[form](items, MARGIN * side))


def _pairs(items: Sequence[Item], margin: float) -> Iterator[Expression]:
    names = [item.name("en") for item in items]
    for i, item in enumerate(items):
        if names.count(names[i]) == 1:
            yield Expression(i, names[i], item.name("zh"))


def _colours(items: Sequence[Item], margin: float) -> Iterator[Expression]:
    colours = [item.colour for item in items]
    for i, item in enumerate(items):
        if colours.count(item.colour) == 1:
            en, zh = PALETTE[item.colour][0].en, PALETTE[item.colour][0].zh
            yield Expression(i, f"{en} {THING.en}", zh + THING.zh)


def _kinds(items: Sequence[Item], margin: float) -> Iterator[Expression]:
    kinds = [item.kind for item in items]
    for i, item in enumerate(items):
        if kinds.count(item.kind) == 1:
            yield Expression(i, NAMES[item.kind].en, NAMES[item.kind].zh)


def _of_kind(items: Sequence[Item], least: int) -> Iterator[tuple[str, list[int]]]:
    for kind in NAMES:
        members = [i for i, item in enumerate(items) if item.kind == kind]
        if len(members) >= least:
            yield kind, members


def _at(item: Item, axis: str) -> float:
    return item.middle["xy".index(axis)]


def _places(items: Sequence[Item], margin: float) -> Iterator[Expression]:
    for kind, members in _of_kind(items, 2):
        for (axis, sign), words in _ENDS.items():
            order = sorted(members, key=lambda i: -sign * _at(items[i], axis))
            if abs(_at(items[order[0]], axis) - _at(items[order[1]], axis)) > margin:
                yield _said(order[0], words, kind)


def _sizes(items: Sequence[Item], margin: float) -> Iterator[Expression]:
    for kind, members in _of_kind(items, 2):
        order = sorted(members, key=lambda i: items[i].radius)
        for index, rival, words in (
            (order[0], order[1], ("smallest {}", "最小的{}")),
            (order[-1], order[-2], ("largest {}", "最大的{}")),
        ):
            ratio = items[index].radius / items[rival].radius
            if max(ratio, 1 / ratio) > 1.2:
                yield _said(index, words, kind)


def _relations(items: Sequence[Item], margin: float) -> Iterator[Expression]:
    for anchor in _pairs(items, margin):
        there = items[anchor.index]
        for kind, members in _of_kind(items, 2):
            others = [i for i in members if i != anchor.index]
            for (axis, sign), words in _SIDES.items():
                ahead = [sign * (_at(items[i], axis) - _at(there, axis)) for i in others]
                found = [i for i, d in zip(others, ahead, strict=True) if d > margin]
                if len(found) == 1 and len(others) > 1 and all(abs(d) > margin for d in ahead):
                    en = words[0].format(NAMES[kind].en, anchor.en)
                    yield Expression(found[0], en, words[1].format(NAMES[kind].zh, anchor.zh))


def _nearest(items: Sequence[Item], margin: float) -> Iterator[Expression]:
    for anchor in _pairs(items, margin):
        x, y = items[anchor.index].middle
        far = [((i.middle[0] - x) ** 2 + (i.middle[1] - y) ** 2) ** 0.5 for i in items]
        order = sorted((i for i in range(len(items)) if i != anchor.index), key=far.__getitem__)
        if len(order) > 1 and far[order[1]] > 1.25 * far[order[0]]:
            en = f"{THING.en} nearest to the {anchor.en}"
            yield Expression(order[0], en, f"离{anchor.zh}最近的{THING.zh}")


def _orders(items: Sequence[Item], margin: float) -> Iterator[Expression]:
    for kind, members in _of_kind(items, 3):
        for axis, sign, en, zh in (
            ("x", 1, "left", "左"),
            ("x", -1, "right", "右"),
            ("y", 1, "top", "上"),
            ("y", -1, "bottom", "下"),
        ):
            order = sorted(members, key=lambda i: sign * _at(items[i], axis))
            at = [_at(items[i], axis) for i in order]
            if min(abs(a - b) for a, b in pairwise(at)) <= margin:
                continue
            for rank, (nth, number) in enumerate(_ORDINALS[: len(order) - 1], 1):
                words = (f"{nth} {{}} from the {en}", f"从{zh}数第{number}个{{}}")
                yield _said(order[rank], words, kind)


def _said(index: int, words: tuple[str, str], kind: str) -> Expression:
    return Expression(index, words[0].format(NAMES[kind].en), words[1].format(NAMES[kind].zh))
