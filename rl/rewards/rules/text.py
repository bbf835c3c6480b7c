"""Text against expected text."""

from collections.abc import Mapping

from rl.types import Json


def normalise(text: str) -> str:
    """Without surplus spaces, case, and a full stop at the end."""
    words = " ".join(text.split()).casefold()
    return words[:-1].rstrip() if words[-1:] in (".", "。") else words


def exact(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is one of reference["answers"], but for case, spaces and a full stop."""
    said = normalise(answer)
    return float(bool(said) and any(said == normalise(gold) for gold in reference["answers"]))
