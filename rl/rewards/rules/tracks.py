"""A box that moves: JSON keyed by second, as GLM-V writes it (LaSOT, GOT-10k: mean overlap).

    score = mean over the seconds asked of IoU(said, gold), 0 where that is below .5

Every second that was asked must be there and no other; a key that comes twice, a box that is
reversed or empty and a number out of range make the whole answer wrong, so that neither half an
answer nor boxes for all seconds at once are worth anything.
"""

import math
from collections.abc import Mapping

from rl.answers.json_answer import parse_json
from rl.answers.places import GRID
from rl.rewards.rules.boxes import iou
from rl.types import Json

GATE = 0.5


def parse_track(answer: str) -> dict[str, list[float]] | None:
    """Boxes [x1,y1,x2,y2] in thousandths by second; None for anything else."""
    value = parse_json(answer.strip(), max_depth=2)
    if not isinstance(value, dict) or not value:
        return None
    return value if all(_is_box(box) for box in value.values()) else None


def track(answer: str, reference: Mapping[str, Json]) -> float:
    """Mean IoU with reference["boxes"], {"0": [x1,y1,x2,y2], …}; 0 below the gate."""
    said, gold = parse_track(answer), reference["boxes"]
    if said is None or set(said) != set(gold):
        return 0.0
    mean = math.fsum(iou(said[second], gold[second]) for second in gold) / len(gold)
    return mean if mean >= GATE else 0.0


def _is_box(value: Json) -> bool:
    if not isinstance(value, list) or len(value) != 4:
        return False
    numbers = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= GRID for n in value)
    return numbers and value[0] < value[2] and value[1] < value[3]
