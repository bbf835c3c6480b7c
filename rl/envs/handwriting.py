"""Read a row of real handwritten digits."""

import functools

import numpy as np
from jaxtyping import Float
from PIL import Image as Pillow

from cogvit_jax.data.embedded import open_embedded
from cogvit_jax.data.rendering.canvas import pick, smooth_noise
from mmtp.data.records import Image, Text
from mmtp.data.tasks.scenes import PALETTE, light_ground
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.rewards.rules import text
from rl.types import Task

ASKS = {
    "en": (
        "Which digits are written here? Answer with the digits from left to right, nothing else.",
        "Read the handwriting. Write only its digits, without spaces.",
    ),
    "zh": (
        "这里写着哪些数字？从左到右只写数字，不要空格。",
        "请读出手写的数字，只回答数字本身。",
    ),
}
COUNTS = ((1, 1), (2, 3), (3, 5), (5, 7), (7, 10))  # digits in a row
INKS = ("red", "green", "blue", "purple", "black")
SIDE = 28  # pixels of a digit
Mask = Float[np.ndarray, "h w"]


def draw(context: Draw) -> Drawn:
    """Digits of different hands in one ink, in a row that wavers more and more."""
    rng, difficulty, language = context
    low, high = COUNTS[difficulty]
    count = int(rng.integers(low, high + 1))
    digits = "".join(map(str, rng.integers(0, 10, count).tolist()))
    height = 2 * SIDE
    width = SIDE * (count + 1)
    ink = np.zeros((height, width), np.float32)
    left = 6.0
    for digit in digits:
        stroke = _stroke(rng, int(digit), difficulty)
        side = len(stroke)
        top = round((height - side) / 2 + rng.uniform(-1, 1) * 2 * difficulty)
        top, at = min(max(top, 0), height - side), min(round(left), width - side)
        view = ink[top : top + side, at : at + side]
        np.maximum(view, stroke, out=view)
        left += side * (0.74 if difficulty < 3 else 0.72)
    ink = ink[:, : 28 * -(-round(left + 16) // 28)]
    pixels = _paper(rng, ink, difficulty)
    others = ["".join(map(str, rng.integers(0, 10, count).tolist())) for _ in range(3)]
    reference = {"answers": [digits], "others": others}
    return Drawn((Image(pixels), Text(pick(rng, ASKS[language]))), reference)


def oracle(task: Task) -> Replies:
    """The digits."""
    return (boxed(task.reference["answers"][0]),)


def distractors(task: Task) -> list[Replies]:
    """As many others, half of them, twice as many, every digit, none."""
    gold = task.reference["answers"][0]
    shifted = "".join(str((int(digit) + 1) % 10) for digit in gold)
    half = gold[: len(gold) // 2]
    said = (shifted, half, gold + gold, "0123456789" * 3, "digits", "²" * len(gold), "", f"-{half}")
    spread = " ".join(gold + "0123456789")
    return [*((boxed(one),) for one in (*said, spread)), (boxed(gold) + boxed(shifted),)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """As many digits, any."""
    count = len(task.reference["answers"][0])
    return (boxed("".join(map(str, rng.integers(0, 10, count).tolist()))),)


def _stroke(rng: np.random.Generator, digit: int, difficulty: int) -> Mask:
    """One digit as ink, 0 ... 1: enlarged, and slanted at the higher difficulties."""
    side = int(rng.integers(26, 31)) if difficulty else 42
    grey = Pillow.fromarray(pick(rng, _hands()[digit])).resize(
        (side, side), Pillow.Resampling.BICUBIC
    )
    slant = rng.uniform(-1, 1) * (0, 0, 0.1, 0.2, 0.3)[difficulty]
    grey = grey.transform(
        grey.size,
        Pillow.Transform.AFFINE,
        (1, slant, -slant * side / 2, 0, 1, 0),
        Pillow.Resampling.BILINEAR,
    )
    return np.clip((np.asarray(grey, np.float32) / 255 - 0.2) * 1.7, 0, 1)


def _paper(rng: np.random.Generator, ink: Mask, difficulty: int) -> np.ndarray:
    """Ink on paper; ruled and stained at the higher difficulties."""
    height, width = ink.shape
    paper = np.ones((height, width, 1), np.float32) * np.array(light_ground(rng), np.float32)
    if difficulty >= 2:
        paper *= 1 + 0.015 * difficulty * smooth_noise(rng, (height, width), 6)[..., None]
        paper[8::14] *= 0.85  # ruled
    if difficulty >= 3:
        paper += rng.standard_normal((height, width, 1), np.float32) * 4 * (difficulty - 2)
    colour = np.array(PALETTE[pick(rng, INKS)][1], np.float32)
    shown = paper + (colour - paper) * ink[..., None]
    return np.clip(shown, 0, 255).astype(np.uint8)


@functools.cache
def _hands() -> tuple[tuple[np.ndarray, ...], ...]:
    """Pictures `[8, 8]` of each digit that can be read: those that look most like their own kind.

    Kept where the five nearest other pictures all show the same digit.
    """
    records = open_embedded("digits/train").records
    pictures = np.stack([np.asarray(record.image) for record in records])
    labels = np.array([record.label for record in records])
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)  # whole numbers: exact sums
    squares = (flat**2).sum(1)
    distances = squares[:, None] + squares[None] - 2 * flat @ flat.T
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :5]
    legible = (labels[nearest] == labels[:, None]).all(1)
    return tuple(tuple(pictures[legible & (labels == digit)]) for digit in range(10))


CATEGORY = Category(
    name="handwriting",
    group="ocr",
    level="element",
    benchmark="OCRBench (handwriting)",
    scale="digits in the row: 1 … 10, their slant, and what is on the paper",
    draw=draw,
    score=by_answer(text.transcription),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
