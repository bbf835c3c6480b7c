"""Text against expected text: exact, by alias, by character error rate, and by ANLS.

What an answer contains does not count, only what it is: rules that look for the expected text
inside of the answer (OCRBench, MVBench) pay for printing everything.
"""

import re
from collections.abc import Mapping

from rapidfuzz.distance import Levenshtein

from rl.types import Json

GATE = 0.5  # share of errors from which on nothing is paid
MAX_CHARACTERS = 20_000  # a longer answer is wrong

# Full-width forms U+FF01 ... U+FF5E are ASCII + 0xFEE0; compatibility forms such as "²" stay as
# they are, so that no exponent turns into a digit.
_WIDTHS = {0xFEE0 + code: code for code in range(0x21, 0x7F)}
_WIDTHS |= {
    0x3000: 0x20, 0x3001: 0x2C, 0x3002: 0x2E,  # ideographic space, "、", "。"
    0x2018: 0x27, 0x2019: 0x27, 0x201C: 0x22, 0x201D: 0x22,  # quotation marks
}  # fmt: skip
_CHINESE = r"\u3400-\u4dbf\u4e00-\u9fff"
_BLANK = re.compile(f"(?<=[{_CHINESE}]) | (?=[{_CHINESE}])")
# Marks beside a digit are part of the number: "-3" is not "3" and "1.5" not "15".
_MARKS = re.compile(r"(?<![0-9])[^\w\s+%°-](?![0-9])")
_ARTICLES = frozenset(("a", "an", "the"))


def fold_width(text: str) -> str:
    """Full-width letters, digits and marks as half-width ones, Chinese marks as English ones."""
    return text.translate(_WIDTHS)


def normalise(text: str) -> str:
    """Without surplus spaces, case, width, and a full stop at the end.

    Spaces beside Chinese characters are surplus.
    """
    words = " ".join(fold_width(text).split()).casefold()
    words = _BLANK.sub("", words)
    return words[:-1].rstrip() if words[-1:] == "." else words


def exact(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is one of reference["answers"], but for case, spaces, width, full stop."""
    if len(answer) > MAX_CHARACTERS:
        return 0.0
    said = normalise(answer)
    return float(bool(said) and any(said == normalise(gold) for gold in reference["answers"]))


def alias(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is one of reference["answers"] but for marks and English articles.

    SimpleVQA and MMSearch ask a model this; SQuAD's normalisation is its offline form. Signs and
    decimal points stay: where they are dropped, 15 passes for 1.5 and 3 for -3.
    """
    if len(answer) > MAX_CHARACTERS:
        return 0.0
    said = _plain(answer)
    return float(bool(said) and any(said == _plain(gold) for gold in reference["answers"]))


def error_rate(said: str, gold: str) -> float:
    """Character error rate: edits from `gold` to `said`, over the length of `gold`; may pass 1.

    Raises:
        ValueError: `gold` is empty.
    """
    if not gold:
        raise ValueError("the expected text must not be empty: its error rate is not defined")
    return Levenshtein.distance(said, gold) / len(gold)


def wraps(said: str, gold: str) -> bool:
    """Whether the expected text is there with something beside it: "not X", "X or Y", "XX".

    Such an answer is no slip of reading, and distances would pay for nearly all of it.
    """
    return bool(gold) and gold in said and said != gold


def transcription(answer: str, reference: Mapping[str, Json]) -> float:
    """1 - CER of the nearest of reference["answers"]; 0 from CER = GATE on, and for nothing said.

    An answer that `wraps` an expected text is not near to it.

    Compared as `normalise` leaves them, as OCRBench does (lower case). Its own rule, expected text
    inside of the answer, is passed by printing everything; 1 - edits / longer length divides by
    zero where both are empty.
    """
    if len(answer) > MAX_CHARACTERS:
        return 0.0
    said = normalise(answer)
    if not said:
        return 0.0
    golds = [gold for gold in map(normalise, reference["answers"]) if not wraps(said, gold)]
    least = min((error_rate(said, gold) for gold in golds), default=1.0)
    return 1 - least if least < GATE else 0.0


def similarity(said: str, gold: str) -> float:
    """Normalised Levenshtein similarity: 1 - edits / longer length; 0 where either is empty."""
    return (
        1 - Levenshtein.distance(said, gold) / max(len(said), len(gold)) if said and gold else 0.0
    )


def anls(answer: str, reference: Mapping[str, Json]) -> float:
    """DocVQA's ANLS of one question: the best similarity to one of reference["answers"].

    s = 1 - NL where NL = edits / longer length < 0.5, else 0; 0 also where it `wraps` the text.
    """
    if len(answer) > MAX_CHARACTERS:
        return 0.0
    said = normalise(answer)
    golds = [gold for gold in map(normalise, reference["answers"]) if not wraps(said, gold)]
    best = max((similarity(said, gold) for gold in golds), default=0.0)
    return best if best > 1 - GATE else 0.0


def _plain(text: str) -> str:
    """Normalised, without marks and articles."""
    words = _MARKS.sub(" ", normalise(text)).split()
    return " ".join(word for word in words if word not in _ARTICLES)
