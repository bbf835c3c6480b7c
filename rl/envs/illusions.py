"""Which of two things is longer, larger or darker, or are they equal? Told against an illusion."""

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Text
from rl.envs.category import Category, Draw, Drawn, by_answer
from rl.envs.drawing.draw_illusions import ILLUSIONS
from rl.envs.parts import choices
from rl.rewards.rules import choice

ASKS = {
    "longer": {
        "en": ("Which line is longer, the red or the blue one?", "the red line", "the blue line"),
        "zh": ("红线和蓝线哪一条更长？", "红线", "蓝线"),
    },
    "larger": {
        "en": ("Which disc is larger, the red or the blue one?", "the red disc", "the blue disc"),
        "zh": ("红色圆和蓝色圆哪个更大？", "红色圆", "蓝色圆"),
    },
    "darker": {
        "en": ("Which of the two small squares is darker?", "the left one", "the right one"),
        "zh": ("两个小方块哪个更暗？", "左边的", "右边的"),
    },
}
EQUAL = {"en": "both are equal", "zh": "两个一样"}
WORSE = (0.36, 0.24, 0.17, 0.12, 0.09)  # difference of lengths
PALER = (90, 60, 40, 26, 18)  # difference of grey levels


def draw(context: Draw) -> Drawn:
    """A picture that misleads, and three options in any order."""
    rng, difficulty, language = context
    asked, paint = pick(rng, ILLUSIONS)
    truth = int(rng.integers(3))  # 0: the first, 1: the second, 2: neither
    unit = 140
    step = PALER[difficulty] if asked == "darker" else round(unit * WORSE[difficulty] / 2) * 2
    pixels, sizes = paint(rng, truth, step, difficulty)
    question, *names = ASKS[asked][language]
    order = rng.permutation(3).tolist()
    shown = [[*names, EQUAL[language]][i] for i in order]
    reference = {"answer": order.index(truth), "options": shown, "asked": asked, "sizes": sizes}
    question = f"{question}\n{choices.lettered(shown, language)}"
    return Drawn((Image(pixels), Text(question)), reference)


CATEGORY = Category(
    name="illusions",
    group="perception",
    level="element",
    benchmark="VLMsAreBiased (optical illusions)",
    scale="difference from 36 % of the length to 9 %, against a stronger illusion",
    draw=draw,
    score=by_answer(choice.choice),
    oracle=choices.oracle,
    distractors=choices.distractors,
    guess=choices.guess,
)
