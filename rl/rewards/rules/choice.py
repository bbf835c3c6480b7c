"""Multiple choice, and yes or no: one option is named and nothing else is said.

Others search the answer for an option: MVBench takes an answer whose first word is in the option
(so "", "(" and "." are right, and "(A)(B)(C)(D)"), VLMEvalKit a letter among the last words, VLM-R1
a "no" inside of "know". Here the answer is the letter, or it is wrong.
"""

from collections.abc import Mapping

from rl.answers.numbers import parse_choice
from rl.rewards.rules.text import normalise
from rl.types import Json

YES = frozenset(("yes", "是", "是的", "对"))
NO = frozenset(("no", "否", "不是", "不", "不对"))
MAX_CHARACTERS = 20


def choice(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is the letter of the right option: "B", "b", "(B)", "B." or "B)".

    Args:
        answer: what was said.
        reference: "answer", the number of the right option, 0 first; "options", a list of all.
    """
    return float(parse_choice(answer, len(reference["options"])) == reference["answer"])


def yes_or_no(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is one word, yes or no (是, 否), and says what reference["answer"] says.

    Args:
        answer: what was said.
        reference: "answer", True for yes.
    """
    said = normalise(answer) if len(answer) <= MAX_CHARACTERS else ""
    return float(said in (YES if reference["answer"] else NO))
