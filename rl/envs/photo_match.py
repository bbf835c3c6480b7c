"""Which of several crops was cut out of this photograph?"""

import numpy as np
from PIL import Image as Pillow

from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Part, Text
from mmtp.data.tasks.example import Pixels
from rl.answers.numbers import letter
from rl.envs.category import Category, Draw, Drawn, by_answer
from rl.envs.drawing.photos import photographs
from rl.envs.parts import choices
from rl.rewards.rules import choice

ASKS = {
    "en": "Which of the crops{how} was cut out of the first photograph?",
    "zh": "哪一块{how}是从第一张照片上剪下来的？",
}
HOW = {
    "en": (
        "",
        "",
        " (shown in grey)",
        " (turned, in grey)",
        " (turned, in grey, lighter or darker)",
    ),
    "zh": ("", "", "（灰色）", "（转过方向，灰色）", "（转过方向，灰色，变亮或变暗）"),
}
COUNTS = (2, 3, 4, 5, 6)  # crops
CUTS = (112, 84, 72, 60, 48)  # pixels of the photograph
SHOWN = 56  # pixels of a crop as it is shown
PLAIN = 14.0  # standard deviation below which a crop could be of anything


def draw(context: Draw) -> Drawn:
    """A photograph, and crops of which one is of it and the others of other things."""
    rng, difficulty, language = context
    things = photographs()
    concepts = pick_some(rng, list(things), COUNTS[difficulty])
    photos = [pick(rng, things[concept]) for concept in concepts]
    order = rng.permutation(len(photos)).tolist()
    parts: list[Part] = [Image(_shown(photos[0]))]
    places = []
    for i, which in enumerate(order):
        crop, place = _crop(rng, photos[which], CUTS[difficulty])
        parts += [Text(f"{letter(i)}."), Image(_changed(rng, crop, difficulty))]
        places.append(place)
    answer = order.index(0)
    question = ASKS[language].format(how=HOW[language][difficulty])
    parts.append(Text(f"{question} {choices.FORM[language]}"))
    reference = {
        "answer": answer,
        "options": [concepts[which] for which in order],
        "place": places[answer],
    }
    return Drawn(tuple(parts), reference)


def _shown(photo: Pixels) -> Pixels:
    """The photograph with sides that are multiples of 28."""
    height, width = (28 * round(side / 28) for side in photo.shape[:2])
    return np.array(Pillow.fromarray(photo).resize((width, height), Pillow.Resampling.BILINEAR))


def _crop(rng: np.random.Generator, photo: Pixels, cut: int) -> tuple[Pixels, list[int]]:
    """A square of the photograph in which there is something to see, and its left and top."""
    height, width = photo.shape[:2]
    best, least, place = photo[:cut, :cut], -1.0, [0, 0]
    for _ in range(12):
        top, left = int(rng.integers(height - cut + 1)), int(rng.integers(width - cut + 1))
        crop = photo[top : top + cut, left : left + cut]
        spread = float(crop[::2, ::2].mean(2).std())
        if spread > least:
            best, least, place = crop, spread, [left, top]
        if spread >= PLAIN:
            break
    return best, place


def _changed(rng: np.random.Generator, crop: Pixels, difficulty: int) -> Pixels:
    """The crop in its common size: in grey, turned, lighter or darker as it gets harder."""
    small = Pillow.fromarray(crop).resize((SHOWN, SHOWN), Pillow.Resampling.BILINEAR)
    if difficulty < 2:
        return np.array(small)
    grey = np.asarray(small.convert("L"), np.float32)
    if difficulty >= 3:
        grey = np.rot90(grey, int(rng.integers(4)))
    if difficulty >= 4:
        low, high = (20, 160) if rng.random() < 0.5 else (90, 235)
        grey = low + grey * ((high - low) / 255)
    return np.repeat(np.round(grey).astype(np.uint8)[..., None], 3, axis=2)


CATEGORY = Category(
    name="photo_match",
    group="perception",
    level="element",
    benchmark="BLINK (visual correspondence)",
    scale="crops: 2 … 6, smaller and smaller; then in grey, turned, lighter or darker",
    draw=draw,
    score=by_answer(choice.choice),
    oracle=choices.oracle,
    distractors=choices.distractors,
    guess=choices.guess,
)
