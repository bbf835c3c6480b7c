"""Actions on screens against the expected one: AndroidWorld's, OSWorld's and WebVoyager's rules.

They follow the step rewards that GLM-V's reward system states, and close what is open there: its
distance falls from 0.8 to 0.6 in one step at 20 thousandths, DONE, WAIT and FAIL are worth 1 by
their type alone, and any box or text has some value. Here the distance falls without a step, WAIT
is worth nothing, the end of an episode only counts where it is due, and a box, a text or a click
that would do something else is worth 0. Nothing is evaluated as code.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from rl.answers.gui import parse
from rl.answers.gui_family import (
    Action,
    At,
    Click,
    Drag,
    Scroll,
    Wait,
    Write,
    from_json,
    to_json,
)
from rl.answers.places import parse_point
from rl.rewards.rules.boxes import gated, iou
from rl.types import Json

NEAR, FAR = 20.0, 50.0  # thousandths: where a click is worth 0.8, and where it is worth nothing
TEXT_GATE = 0.8  # less similar texts are other texts
ON_TARGET = 0.8  # what a click in the target is worth at least


def step(answer: str, reference: Mapping[str, Json]) -> float:
    """One action against the expected one, or the best of several.

    Args:
        answer: an action in the dialect.
        reference: "dialect", "mobile", "pc" or "web"; "actions", a list of dicts: "action", as
            `gui_family.to_json` gives it, and "box" of its target in thousandths, or None.
    """
    said = parse(answer, reference["dialect"])
    if said is None:
        return 0.0
    rules = {"mobile": android_world, "pc": os_world, "web": web_voyager}
    rule = rules[reference["dialect"]]
    wanted = reference["actions"]
    return max(rule(said, from_json(one["action"]), one.get("box")) for one in wanted)


def android_world(said: Action, wanted: Action, box: Sequence[int] | None = None) -> float:
    """The product over an action's keys: equality, IoU of boxes, similarity of texts.

    An IoU below 0.5 and a similarity of texts below 0.8 are 0; so is another kind of action.
    """
    if type(said) is not type(wanted) or isinstance(said, Wait):
        return 0.0
    value, one, other = 1.0, to_json(said), to_json(wanted)
    for key in one:
        if key in ("at", "start", "end"):
            same_kind = len(one[key]) == len(other[key])
            value *= _overlap(one[key], other[key]) if same_kind else 0.0
        elif key == "text":
            value *= gated(longest_common(one[key], other[key]), TEXT_GATE)
        else:
            value *= float(one[key] == other[key])
    return value


def os_world(said: Action, wanted: Action, box: Sequence[int] | None = None) -> float:
    """Distance of clicks, similarity of what is typed, equality of all else.

    Args:
        said: the action.
        wanted: the expected one.
        box: of the target: a click in it is worth 0.8 at least and one outside 0; None = unknown,
            the distance alone counts.
    """
    if type(said) is not type(wanted) or isinstance(said, Wait):
        return 0.0
    if isinstance(said, Click) and isinstance(wanted, Click):
        return click(said.at, wanted.at, box) if said.how == wanted.how else 0.0
    if isinstance(said, Drag) and isinstance(wanted, Drag):
        start = near(distance(said.start, wanted.start))
        return math.sqrt(start * near(distance(said.end, wanted.end)))
    if isinstance(said, Write) and isinstance(wanted, Write):
        return gated(typed(said.text, wanted.text), TEXT_GATE)
    if isinstance(said, Scroll) and isinstance(wanted, Scroll):
        return float(said.direction == wanted.direction)
    return float(said == wanted)


def web_voyager(said: Action, wanted: Action, box: Sequence[int] | None = None) -> float:
    """The same element and the same action; a text need only be similar, 0.8 at least.

    The scale of GLM-V gives 0.05 for another action on the right element: here it is 0.
    """
    if isinstance(said, Wait):
        return 0.0
    if isinstance(said, Write) and isinstance(wanted, Write) and said.at == wanted.at:
        return gated(longest_common(said.text, wanted.text), TEXT_GATE)
    return float(said == wanted)


def click(at: At, wanted: At, box: Sequence[int] | None) -> float:
    """A click's worth by its distance and, where the target's box is known, by being in it."""
    value = near(distance(at, wanted))
    if box is None:
        return value
    x, y = middle(at)
    inside = box[0] <= x <= box[2] and box[1] <= y <= box[3]
    return max(value, ON_TARGET) if inside else 0.0


def near(d: float) -> float:
    """1 at 0, 0.8 at 20 thousandths, 0 from 50 on, straight in between."""
    if d <= NEAR:
        return 1 - 0.2 * d / NEAR
    return max(0.0, 0.8 * (FAR - d) / (FAR - NEAR))


def middle(at: At) -> tuple[float, float]:
    """Of a point or a box."""
    return (at[0] + at[-2]) / 2, (at[1] + at[-1]) / 2


def distance(one: At, other: At) -> float:
    """Between two points, or middles of boxes; infinite where one is neither."""
    if not {len(one), len(other)} <= {2, 4}:
        return math.inf
    return math.dist(middle(one), middle(other))


def longest_common(one: str, other: str) -> float:
    """Length of the longest common subsequence, over that of the longer text; 1 if both are empty.

    GLM-V's rule for AndroidWorld.
    """
    from rapidfuzz.distance import LCSseq

    return LCSseq.normalized_similarity(one, other)


def typed(one: str, other: str) -> float:
    """0.6 edit similarity + 0.4 Jaccard of pairs of letters, less for a wrong length.

    GLM-V's rule for OSWorld. Pairs are counted as often as they occur, so a text that repeats
    itself gains nothing; below half the longer one's length all of it is scaled down.
    """
    from rapidfuzz.distance import Levenshtein

    if one == other:
        return 1.0
    edit = Levenshtein.normalized_similarity(one, other)
    pairs = [Counter(text[i : i + 2] for i in range(len(text) - 1)) for text in (one, other)]
    union = (pairs[0] | pairs[1]).total()
    jaccard = (pairs[0] & pairs[1]).total() / union if union else 0.0
    shorter, longer = sorted((len(one), len(other)))
    return (0.6 * edit + 0.4 * jaccard) * min(1.0, 2 * shorter / longer)


def _overlap(one: Sequence[int], other: Sequence[int]) -> float:
    """IoU of boxes with its gate; of other places, equality."""
    if len(one) != 4 or len(other) != 4:
        return float(list(one) == list(other))
    return gated(iou(one, other))


def point_in_box(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is one point, in reference["box"], its edges included: ScreenSpot's rule.

    Several points, boxes, and words beside the point are 0.
    """
    point = parse_point(answer)
    if point is None:
        return 0.0
    x1, y1, x2, y2 = reference["box"]
    return float(x1 <= point[0] <= x2 and y1 <= point[1] <= y2)
