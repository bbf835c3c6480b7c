"""Pictures that need no download: real ones inside scikit-learn and scikit-image, and drawn ones.

The drawn ones are in `rendered.py`.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.embedded_captions import PHOTOS
from cogvit_jax.data.records import Record, Source
from cogvit_jax.data.rendered import KINDS, open_rendered

_INSTALL = {"skimage": "scikit-image", "sklearn": "scikit-learn"}
# Non-faces of lfw_subset.npy (counted over all 200) that do show part of a face.
_PARTIAL_FACES = (125, 127, 130, 196)

FACES: tuple[tuple[str, tuple[str, ...]], ...] = (  # index = label: (concept, captions)
    (
        "face",
        (
            "a small grey photo of a human face",
            "the face of a person",
            "a portrait of a person in black and white",
            "一张人脸的灰度小照片",
            "一个人的脸",
            "黑白的人物肖像",
        ),
    ),
    (
        "not a face",
        (
            "a small grey background patch without a face",
            "a blurred piece of background",
            "nobody is in this grey patch",
            "没有人脸的灰色背景小块",
            "一块模糊的背景",
            "这个灰色小块里没有人",
        ),
    ),
)
FACE_CLASSES = {
    "en": ("human face", "background patch without a face"),
    "zh": ("人脸", "没有人脸的背景"),
}
FACE_TEMPLATES = {
    "en": ("a small grey photo of a {}", "a picture of a {}", "{}"),
    "zh": ("{}的灰度小照片", "一张{}的图片", "{}"),
}

DIGIT_CLASSES = {
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "zh": ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九"),
}
DIGIT_TEMPLATES = {
    "en": (
        "a handwritten digit {}",
        "the number {} written by hand",
        "a tiny grey picture of the digit {}",
        "a light {} on a dark ground",
    ),
    "zh": ("手写的数字{}", "一个手写的{}", "写着数字{}的小图", "深色背景上的浅色{}"),
}


def open_embedded(rest: str) -> Source:
    """Opens one of the embedded sets.

    digits: 1,797 handwritten digits (scikit-learn), uint8 `[8, 8]`, ten classes.
    photos: whole photographs as encoded files without a class, and uint8 `[25, 25]` crops with
    the classes face and background patch (both scikit-image and scikit-learn). A photograph is on
    one side only, so random crops of it never are on both.
    instruct, science: pictures drawn from a seed, see `rendered.open_rendered`.

    Args:
        rest: one of these names, and "/train" or "/heldout".

    Raises:
        ValueError: another name.
        FileNotFoundError: a package, or a picture in it, is missing.
    """
    name, _, split = rest.partition("/")
    if name not in ("digits", "photos", *KINDS) or split not in ("train", "heldout"):
        raise ValueError(
            f"No embedded source 'embedded:{rest}'. Use 'embedded:digits/train', "
            "'embedded:digits/heldout', or photos, instruct or science in the place of digits."
        )
    if name in KINDS:
        return open_rendered(name, split)
    if name == "digits":
        records, classes, templates = _digits(split), DIGIT_CLASSES, DIGIT_TEMPLATES
    else:
        records = _photographs(split) + _faces(split)
        classes, templates = FACE_CLASSES, FACE_TEMPLATES
    return Source(
        name=f"embedded:{rest}",
        records=records,
        classes=classes,
        templates=templates,
        flippable=name != "digits",
    )


def all_text() -> list[str]:
    """Every caption, class name and prompt of the real pictures, in a fixed order.

    What the embedded vocabulary was made from; captions of drawn pictures are not in it.
    """
    groups = [captions for _, _, captions in PHOTOS.values()]
    groups += [captions for _, captions in FACES]
    groups += [_digit_captions(digit) for digit in range(10)]
    for table in (FACE_CLASSES, DIGIT_CLASSES, FACE_TEMPLATES, DIGIT_TEMPLATES):
        groups += list(table.values())
    return [text.replace("{}", "") for group in groups for text in group]


def _digits(split: str) -> tuple[Record, ...]:
    """scikit-learn's copy of the UCI optical digits: 64 values 0..16, then the digit, per line."""
    path = _packaged("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(path, delimiter=",").astype(np.int64)
    images = _to_uint8(table[:, :-1].reshape(-1, 8, 8) / 16)
    return tuple(
        Record(f"digits/{i:04d}", image, _digit_captions(digit), f"digit {digit}", digit)
        for i, (image, digit) in enumerate(zip(images, table[:, -1].tolist(), strict=True))
        if _split_of(image) == split
    )


def _digit_captions(digit: int) -> tuple[str, ...]:
    """Every template of both languages, with the digit once as a word and once as a numeral."""
    return tuple(
        template.format(name)
        for language, templates in DIGIT_TEMPLATES.items()
        for template in templates
        for name in (DIGIT_CLASSES[language][digit], str(digit))
    )


def _photographs(split: str) -> tuple[Record, ...]:
    return tuple(
        Record(f"photos/{Path(path).stem}", _packaged(path).read_bytes(), captions, concept)
        for path, (side, concept, captions) in PHOTOS.items()
        if side == split
    )


def _faces(split: str) -> tuple[Record, ...]:
    """scikit-image's subset of Labeled Faces in the Wild: 100 faces, then 100 background crops."""
    images = _to_uint8(np.load(_packaged("skimage/data/lfw_subset.npy")))
    return tuple(
        Record(f"photos/lfw_{i:03d}", image, FACES[i // 100][1], FACES[i // 100][0], i // 100)
        for i, image in enumerate(images)
        if _split_of(image) == split and i not in _PARTIAL_FACES
    )


def _to_uint8(image: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """Brings 0..1 to 0..255, rounding half up."""
    return np.floor(image * 255 + 0.5).astype(np.uint8)


def _split_of(image: UInt8[np.ndarray, "h w"]) -> str:
    """A fifth is held out, by a hash of the pixels: equal pictures fall on the same side."""
    return "heldout" if hashlib.sha256(image.tobytes()).digest()[0] < 51 else "train"


def _packaged(path: str) -> Path:
    """The file at `path` ("package/...") of an installed package, without importing it."""
    package, _, inside = path.partition("/")
    spec = find_spec(package)
    roots = (spec.submodule_search_locations or ()) if spec else ()
    for root in roots:
        if (file := Path(root) / inside).is_file():
            return file
    raise FileNotFoundError(
        f"The embedded sources need {path}, which is not installed: pip install {_INSTALL[package]}"
    )
