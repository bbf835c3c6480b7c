"""Fields of forms and receipts, and answers out of documents.

DocVQA's ANLS where words are asked for: 1 − NL(said, gold) where NL, the edit distance over the
longer length, is below one half, else 0. It is blind to one wrong digit of a date or of a telephone
number (NL is small), so what has a digit in it must be equal here, and numbers are compared as
numbers. Blanks and case do not count. What is empty is never right.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from rl.answers.json_answer import parse_json
from rl.answers.numbers import parse_number
from rl.rewards.rules.text import normalise, wraps
from rl.types import Json

GATE = 0.5

Path = tuple[str, ...]


def similarity(said: str, gold: str) -> float:
    """ANLS of words, equality of what has a digit; 0 where the answer `wraps` the text."""
    from rapidfuzz.distance import Levenshtein

    said, gold = normalise(said), normalise(gold)
    if said == gold:
        return float(bool(gold))
    if wraps(said, gold) or any(character.isdigit() for character in gold):
        return 0.0
    distance = Levenshtein.normalized_distance(said, gold)
    return 1 - distance if distance < 0.5 else 0.0


def words(answer: str, reference: Mapping[str, Json]) -> float:
    """The largest `similarity` to one of reference["answers"]."""
    return max(similarity(answer, gold) for gold in reference["answers"])


def field_f1(answer: str, reference: Mapping[str, Json]) -> float:
    """F1 of the fields of a JSON object, 0 below one half.

    2 Σ s / (said + true fields), s over the fields of equal path: equality of numbers, `similarity`
    of texts. An object in an object has a field for each of its own, so {"items": {"tea": 3}} has
    one, at ("items", "tea"). Fields that were not asked for count as said.

    Args:
        answer: a JSON object.
        reference: "fields": the true one.
    """
    gold, said = flatten(reference["fields"]), flatten(parse_json(answer))
    if not gold or not said:
        return 0.0
    right = sum(agreement(said[path], value) for path, value in gold.items() if path in said)
    f1 = 2 * right / (len(said) + len(gold))
    return f1 if f1 >= GATE else 0.0


def cited(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where both the answer and the page that it was found on are right.

    MMLongBench-Doc counts them apart; a right answer from the wrong page was not read but guessed.

    Args:
        answer: {"answer": …, "page": n} and no more.
        reference: "answer": text or number; "page": an integer.
    """
    said = parse_json(answer, max_characters=2000, max_depth=1)
    if not isinstance(said, dict) or set(said) != {"answer", "page"}:
        return 0.0
    page = agreement(said["page"], reference["page"])
    return float(page == 1 and agreement(said["answer"], reference["answer"]) == 1)


def agreement(said: Json, gold: Json) -> float:
    """Of two values: numbers by equality, also where spelled as text; texts by `similarity`."""
    if isinstance(gold, str):
        return similarity(said, gold) if isinstance(said, str) else 0.0
    truth, number = _decimal(gold), _decimal(said)
    return float(number is not None and number == truth)


def flatten(value: Json) -> dict[Path, Json] | None:
    """The leaves of an object by their paths; None for anything else, a list, or a key twice."""
    if not isinstance(value, dict):
        return None
    pairs = list(_leaves(value, ()))
    leaves = dict(pairs)
    twice = len(leaves) < len(pairs)
    return None if twice or any(isinstance(leaf, list) for leaf in leaves.values()) else leaves


def _leaves(value: Json, path: Path) -> Iterator[tuple[Path, Json]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, (*path, normalise(key)))


def _decimal(value: Json) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return parse_number(value) if isinstance(value, str) else Decimal(str(value))
