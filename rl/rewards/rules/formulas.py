"""Chemical formulas: 1 where the answer has the same number of atoms of each element, else 0.

Any order of the elements will do (C2H6O = OH6C2 = CH3CH2OH), subscripts in LaTeX too; numbers are
ASCII, groups in brackets are not needed. Case counts: CO is not Co.
"""

import re
from collections.abc import Mapping

from rl.types import Json

MAX_CHARACTERS = 60
_ATOMS = re.compile(r"([A-Z][a-z]?)(?:_?([1-9][0-9]{0,2})|_\{([1-9][0-9]{0,2})\})?", re.ASCII)


def parse_formula(answer: str) -> dict[str, int] | None:
    """Atoms of each element; None where the answer is no formula."""
    said = answer.strip().removesuffix(".")
    if said.startswith("$") and said.endswith("$"):
        said = said.strip("$").strip()
    if not said or len(said) > MAX_CHARACTERS:
        return None
    counts: dict[str, int] = {}
    place = 0
    while place < len(said):
        match = _ATOMS.match(said, place)
        if not match:
            return None
        counts[match[1]] = counts.get(match[1], 0) + int(match[2] or match[3] or 1)
        place = match.end()
    return counts


def formula(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer's atoms are those of reference["atoms"], {"C": 2, "H": 6, "O": 1}."""
    return float(parse_formula(answer) == reference["atoms"])
