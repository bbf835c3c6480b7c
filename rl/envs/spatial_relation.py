"""Where one thing is from another: for the camera, between two, or for somebody who is there."""

import math

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Text
from rl.envs.category import Category, Draw, Drawn, by_answer
from rl.envs.drawing.draw_world import draw
from rl.envs.drawing.world import COLOURS, KINDS, Camera, Solid, stand
from rl.envs.parts import choices
from rl.rewards.rules import choice

SIZES = ((168, 112), (224, 168), (280, 196), (336, 252), (392, 280))
SIDES = {  # angle to the right of straight ahead
    "en": ("in front", "on the right", "behind", "on the left"),
    "zh": ("前面", "右边", "后面", "左边"),
}
CORNERS = {
    "en": ("front right", "back right", "back left", "front left"),
    "zh": ("右前方", "右后方", "左后方", "左前方"),
}
ASK = {
    "camera": (
        "As the camera sees it, where is the {c} from the {a}? (In front: nearer to the camera.)",
        "从相机的角度看，{c}在{a}的哪一边？（前面是指离相机更近。）",
    ),
    "between": (
        "Which of these stands between the {a} and the {b}?",
        "下面哪一个在{a}和{b}之间？",
    ),
    "facing": (
        "You stand where the {a} is and look towards the {b}. Where is the {c} for you?",
        "假如你站在{a}的位置，面向{b}，那么{c}在你的哪一边？",
    ),
    "corner": (
        "You stand where the {a} is and look towards the {b}. Where is the {c} for you?",
        "假如你站在{a}的位置，面向{b}，那么{c}在你的哪个方向？",
    ),
    "turned": (
        "You stand where the {a} is and look towards the {b}. Then you turn {turn}. "
        "Where is the {c} for you now?",
        "假如你站在{a}的位置，面向{b}，然后{turn}，这时{c}在你的哪个方向？",
    ),
}
TURNS = {
    1: ("right by 90 degrees", "向右转90度"),
    2: ("around by 180 degrees", "向后转180度"),
    3: ("left by 90 degrees", "向左转90度"),
}
FORMS = (("camera",), ("camera", "between"), ("between", "facing"), ("corner",), ("turned",))
SLACK = 25  # degrees to either side of a direction


def draw_task(context: Draw) -> Drawn:
    """Solids, three of which are asked about."""
    rng, difficulty, language = context
    width, height = SIZES[difficulty]
    camera = Camera((width, height), width * 0.85, (width / 2, height / 2), 2.6, 0.45)
    form = pick(rng, FORMS[difficulty])
    count = 2 + difficulty if form != "between" else 5 + difficulty // 2
    pairs = [(pick(rng, tuple(KINDS)), c) for c in pick_some(rng, COLOURS, count)]
    quarters = int(rng.integers(1, 4)) if form == "turned" else 0
    solids, right = _scene(rng, camera, pairs, form, quarters, language)
    if form == "between":
        wrong = [solid.name(language) for solid in solids[2:] if solid.name(language) != right]
    else:
        sides = (SIDES if form in ("camera", "facing") else CORNERS)[language]
        wrong = [side for side in sides if side != right]
    options, reference = choices.shuffled(rng, right, wrong)
    names = dict(zip("abc", (solid.name(language) for solid in solids), strict=False))
    if form == "camera":
        names = {"a": names["a"], "c": names["b"]}
    turn = TURNS[quarters][language == "zh"] if quarters else ""
    question = ASK[form][language == "zh"].format(**names, turn=turn)
    reference["places"] = {solid.name(language): list(solid.at) for solid in solids}
    reference["form"] = form
    shown = draw(camera, [solids[i] for i in rng.permutation(count)])
    return Drawn((Image(shown), Text(choices.asked(question, options, language))), reference)


def _scene(
    rng: np.random.Generator,
    camera: Camera,
    pairs: list[tuple[str, str]],
    form: str,
    quarters: int,
    language: str,
) -> tuple[list[Solid], str]:
    """Solids in the order in which they are asked about, and the right option."""
    while True:
        solids = stand(rng, camera, pairs, [(3.0, 6.5)] * len(pairs))
        for _ in range(12):
            solids = [solids[i] for i in rng.permutation(len(solids))]
            right = _answer(form, solids, quarters, language)
            if right:
                return solids, right


def _answer(form: str, solids: list[Solid], quarters: int, language: str) -> str | None:
    """The right option; None where it is not clear."""
    at = [np.array(solid.at) for solid in solids]
    if form == "camera":
        front, right, behind, left = SIDES[language]
        views = np.array([0.0, 1.0]), at[0]  # along z, or along the line of sight: both must agree
        sides = behind, right, front, left
        said = {_direction(at[1] - at[0], view, 0, sides) for view in views}
        return said.pop() if len(said) == 1 else None
    if form == "between":
        found = [i for i in range(2, len(at)) if _off(at[i], at[0], at[1]) < 0.25]
        others = [p for i, p in enumerate(at) if i > 1 and i not in found]
        clear = all(_off(p, at[0], at[1]) > 0.8 for p in others)
        return solids[found[0]].name(language) if len(found) == 1 and clear else None
    if min(np.linalg.norm(at[1] - at[0]), np.linalg.norm(at[2] - at[0])) < 1:
        return None
    ahead = at[1] - at[0]
    if form == "facing":
        return _direction(at[2] - at[0], ahead, 0, SIDES[language])
    return _direction(at[2] - at[0], ahead, 45 + 90 * quarters, CORNERS[language])


def _direction(
    there: np.ndarray,
    ahead: np.ndarray,
    first: float,
    names: tuple[str, ...],
) -> str | None:
    """The name of a direction, the first one `first` degrees to the right of `ahead`."""
    angle = math.atan2(there[0], there[1]) - math.atan2(ahead[0], ahead[1])
    degrees = math.degrees(angle) - first
    index = round(degrees / 90)
    return names[index % 4] if abs(degrees - 90 * index) < SLACK else None


def _off(point: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """Distance in metres from the middle part of the way from one to the other."""
    along = other - one
    share = float(np.clip((point - one) @ along / (along @ along), 0.2, 0.8))
    return float(np.linalg.norm(point - one - share * along))


CATEGORY = Category(
    name="spatial_relation",
    group="spatial",
    level="element",
    benchmark="MMSI-Bench",
    scale="things 2 … 6; as the camera sees it, between, as somebody there sees it, who turns",
    draw=draw_task,
    score=by_answer(choice.choice),
    oracle=choices.oracle,
    distractors=choices.distractors,
    guess=choices.guess,
)
