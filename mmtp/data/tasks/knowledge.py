"""World knowledge: colours, shapes, and what the embedded photographs show."""

import functools
import io

import numpy as np
from PIL import Image as Pillow

from cogvit_jax.data.embedded import open_embedded
from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.tasks import scenes
from mmtp.data.tasks.example import YES_NO, Example, Pixels, ask, say

_COLOUR = {
    "en": (
        "What colour is the {kind}?",
        "Which colour does the {kind} have?",
        "Colour of the {kind}?",
    ),
    "zh": ("{kind}是什么颜色？", "图里的{kind}是哪种颜色？", "请说出{kind}的颜色。"),
}
_SHAPE = {
    "en": ("What shape is this?", "Which shape is drawn?", "What is the {colour} shape?"),
    "zh": ("这是什么形状？", "图里画的是什么形状？", "{colour}的是什么形状？"),
}
_PHOTO = {
    "en": ("Which is it: {a} or {b}?", "What does it show: {a} or {b}?"),
    "zh": ("这是{a}还是{b}？", "图里的是{a}，还是{b}？"),
}
_FACE = {
    "en": ("Is this a face?", "Does the picture show a human face?"),
    "zh": ("这是人脸吗？", "图里有没有人脸？"),
}
# Concepts of the photographs in both languages.
_CONCEPTS = {
    "astronaut": "宇航员", "bricks": "砖墙", "photographer": "摄影师", "cell": "细胞", "cat": "猫",
    "chessboard": "棋盘", "blurred clock": "模糊的钟", "coffee": "咖啡", "coins": "硬币",
    "colour wheel": "色环", "grass": "草地", "gravel": "碎石", "horse": "马", "galaxies": "星系",
    "stained tissue": "染色组织", "logo": "标志", "retina detail": "视网膜细节", "moon": "月球",
    "motorcycle": "摩托车", "printed page": "印刷的书页", "head phantom": "头部模型",
    "retina": "视网膜", "rocket": "火箭", "handwriting": "手写公式", "pavilion": "楼阁",
    "flower": "花",
}  # fmt: skip


def colours(rng: np.random.Generator, language: str, split: str) -> Example:
    """The colour of a shape, alone or beside others of other colours."""
    shapes = scenes.scatter(rng, scenes.different(rng, int(rng.integers(1, 4))))
    shape = pick(rng, shapes)
    picture = scenes.draw(shapes, (56, 56), scenes.light_ground(rng))
    question = say(rng, _COLOUR, language, kind=scenes.SHAPES[shape.kind].of(language))
    options = tuple(scenes.colour_name(key, language) for key in scenes.COLOURS)
    answer = scenes.colour_name(shape.colour, language)
    return ask(rng, [picture], question, answer, options=options, shapes=scenes.facts(shapes))


def one_colour(rng: np.random.Generator, language: str, split: str) -> Example:
    """The colour of one large shape: the step before `colours`."""
    shapes = scenes.scatter(rng, scenes.different(rng, 1), 1, (14, 24), 56)
    picture = scenes.draw(shapes, (56, 56), scenes.light_ground(rng))
    question = say(rng, _COLOUR, language, kind=scenes.SHAPES[shapes[0].kind].of(language))
    options = tuple(scenes.colour_name(key, language) for key in scenes.COLOURS)
    answer = scenes.colour_name(shapes[0].colour, language)
    return ask(rng, [picture], question, answer, options=options, shapes=scenes.facts(shapes))


def shape_names(rng: np.random.Generator, language: str, split: str) -> Example:
    """The name of one large shape."""
    shape = scenes.scatter(rng, scenes.different(rng, 1), 1, (14, 24), 56)[0]
    picture = scenes.draw([shape], (56, 56), scenes.light_ground(rng))
    question = say(rng, _SHAPE, language, colour=scenes.colour_name(shape.colour, language))
    options = tuple(name.of(language) for name in scenes.SHAPES.values())
    return ask(rng, [picture], question, scenes.SHAPES[shape.kind].of(language), options=options)


def photos(rng: np.random.Generator, language: str, split: str) -> Example:
    """Which of two things a crop of a photograph shows; held-out photographs are other things."""
    things = _photographs(split)
    concept, other = pick_some(rng, sorted(things), 2)
    picture = _crop(rng, pick(rng, things[concept]))
    names = [name if language == "en" else _CONCEPTS[name] for name in (concept, other)]
    first, second = names if rng.random() < 0.5 else names[::-1]
    question = say(rng, _PHOTO, language, a=first, b=second)
    return ask(rng, [picture], question, names[0])


def faces(rng: np.random.Generator, language: str, split: str) -> Example:
    """Whether a small grey picture is a face."""
    is_face = bool(rng.random() < 0.5)
    grey = pick(rng, _face_crops(split)[is_face])
    side = Pillow.fromarray(grey).resize((56, 56), Pillow.Resampling.BICUBIC)
    picture = np.array(side.convert("RGB"))
    answer = YES_NO[language][0 if is_face else 1]
    return ask(rng, [picture], say(rng, _FACE, language), answer, options=YES_NO[language])


def _crop(rng: np.random.Generator, photo: Pixels, side: int = 84) -> Pixels:
    """A square crop of at least 70 % of the shorter side."""
    height, width = photo.shape[:2]
    cut = int(min(height, width) * rng.uniform(0.7, 1))
    top, left = rng.integers(height - cut + 1), rng.integers(width - cut + 1)
    crop = Pillow.fromarray(photo[top : top + cut, left : left + cut])
    return np.array(crop.resize((side, side), Pillow.Resampling.BILINEAR))


@functools.lru_cache(maxsize=2)
def _photographs(split: str) -> dict[str, tuple[Pixels, ...]]:
    """Concept -> photographs of about 168 pixels on the shorter side."""
    found: dict[str, tuple[Pixels, ...]] = {}
    for record in open_embedded(f"photos/{split}").records:
        if isinstance(record.image, bytes):
            picture = Pillow.open(io.BytesIO(record.image)).convert("RGB")
            scale = 168 / min(picture.size)
            size = (round(picture.width * scale), round(picture.height * scale))
            pixels = np.array(picture.resize(size, Pillow.Resampling.LANCZOS))
            found[record.concept] = (*found.get(record.concept, ()), pixels)
    return found


@functools.lru_cache(maxsize=2)
def _face_crops(split: str) -> dict[bool, list[np.ndarray]]:
    crops: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for record in open_embedded(f"photos/{split}").records:
        if isinstance(record.image, np.ndarray):
            crops[record.concept == "face"].append(record.image)
    return crops
