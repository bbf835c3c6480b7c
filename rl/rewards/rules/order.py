"""Orders: 1 where the answer names exactly these items in exactly this order, else 0 (MVBench).

Closed holes: MVBench's own check takes "", "(" and "(A)(B)(C)(D)" for right, since it looks whether
one text contains the other. Here each item is named once, whole, and nothing else is said.
"""

import re
from collections.abc import Mapping, Sequence

from rl.answers.json_answer import parse_json
from rl.types import Json

MAX_CHARACTERS = 2000
_COMMA = re.compile(r"[,，、;；>→\n]|->|=>")


def parse_order(answer: str, items: Sequence[str]) -> list[int] | None:
    """Indices of `items` in the order said; None where that is no permutation of them all.

    Args:
        answer: "B, A, C", "B > A > C", JSON ["B","A","C"]; of single letters also "BAC" and
            "B A C".
        items: their names; case and surplus blanks do not count.
    """
    said = answer.strip()
    if not said or len(said) > MAX_CHARACTERS:
        return None
    known = {_plain(item): i for i, item in enumerate(items)}
    if said[0] == "[":
        value = parse_json(said, max_depth=1)
        words = value if isinstance(value, list) else []
    else:
        words = _COMMA.split(said.removesuffix(".").removesuffix("。").replace("->", ">"))
    single = all(len(item) == 1 for item in items)
    if single and len(words) == 1 and isinstance(words[0], str):
        words = list("".join(words[0].split()))
    if not all(isinstance(word, str) for word in words):
        return None
    order = [known.get(_plain(word), -1) for word in words]
    return order if sorted(order) == list(range(len(items))) else None


def permutation(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is reference["order"], a list of names."""
    said = parse_order(answer, reference["order"])
    return float(said is not None and said == sorted(said))


def _plain(word: str) -> str:
    return " ".join(word.split()).casefold()
