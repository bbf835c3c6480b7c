"""Short answers of several forms: a name, words, a number, or the letter of an option."""

from collections.abc import Mapping

from rl.rewards.rules import fields, text
from rl.rewards.rules.choice import choice
from rl.rewards.rules.relaxed import relaxed
from rl.types import Json

RULES = {"name": text.exact, "words": fields.words, "number": relaxed, "choice": choice}


def short(answer: str, reference: Mapping[str, Json]) -> float:
    """By the rule of reference["form"], a key of RULES; the rest of the reference is its own."""
    return RULES[reference["form"]](answer, reference)
