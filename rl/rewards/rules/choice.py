"""Multiple choice: one option is named and nothing else is said.

Others search the answer for an option: MVBench takes an answer whose first word is in the option
(so "", "(" and "." are right, and "(A)(B)(C)(D)"), VLMEvalKit a letter among the last words. Here
the answer is the letter, or it is wrong.
"""

from collections.abc import Mapping

from rl.answers.numbers import parse_choice
from rl.types import Json


def choice(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is the letter of the right option: "B", "b", "(B)", "B." or "B)".

    Args:
        answer: what was said.
        reference: "answer", the number of the right option, 0 first; "options", a list of all.
    """
    return float(parse_choice(answer, len(reference["options"])) == reference["answer"])
