"""Read printed words: level and clean at first, then turned, faint, noisy and longer."""

import numpy as np
from jaxtyping import Float
from PIL import Image as Pillow

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import (
    COLOURS,
    WHITE,
    mix,
    new_sheet,
    pick,
    smooth_noise,
    text_width,
    wrap,
)
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.rewards.rules import text
from rl.types import Task

ASKS = {
    "en": (
        "What is written here? Answer with the text only, on one line.",
        "Read the text. Write it on one line and nothing else.",
    ),
    "zh": ("图里写着什么？只写出文字，写成一行。", "请读出文字，写在一行里，不要写别的。"),
}
SIZES = (20, 20, 18, 17, 16)  # pixels of the letters
TURNS = (0, 8, 25, 45, 180)  # degrees at most
LETTERS = "ACDEFGHJKLMNPRTUVWXY34679"  # none that looks like another
ROOM = 260  # pixels of a line


def draw(context: Draw) -> Drawn:
    """A word, a title or a code, or a sentence on several lines."""
    rng, difficulty, language = context
    said = _said(rng, difficulty, language)
    size = SIZES[difficulty]
    lines = wrap(said, size, ROOM)
    width = max(text_width(line, 2 * size) / 2 for line in lines)
    sheet = new_sheet((round(width) + 5, round(1.4 * size * len(lines)) + 4), (0, 0, 0), 2)
    for i, line in enumerate(lines):
        sheet.text((2, 2 + 1.4 * size * (i + 0.5)), line, size, WHITE, "lm")
    ink = _turned(sheet.pixels()[..., 0], rng.uniform(-1, 1) * TURNS[difficulty])
    pixels = _printed(rng, ink, difficulty)
    others = [_said(rng, difficulty, language) for _ in range(4)]
    reference = {"answers": [said], "others": others}
    return Drawn((Image(pixels), Text(pick(rng, ASKS[language]))), reference)


def oracle(task: Task) -> Replies:
    """The text."""
    return (boxed(task.reference["answers"][0]),)


def distractors(task: Task) -> list[Replies]:
    """Other texts, backwards, half, twice, with everything else around it, and nothing."""
    gold = task.reference["answers"][0]
    junk = "".join(map(chr, range(33, 127)))
    said = [*task.reference["others"], gold[::-1], gold[: len(gold) // 2], f"{gold} {gold}"]
    said += [junk + gold + junk, " ".join((gold, *task.reference["others"])), "text", ".", "", " "]
    wrong = [one for one in said if text.transcription(one, task.reference) == 0]
    return [*((boxed(one),) for one in wrong), (boxed(gold) + boxed(gold),)]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A text of the same kind."""
    return (boxed(pick(rng, task.reference["others"])),)


def _said(rng: np.random.Generator, difficulty: int, language: str) -> str:
    """What is printed."""
    if difficulty == 0:
        table = pick(rng, (texts.BUTTONS, texts.MENU, texts.GOODS))
        return pick(rng, [word for word in table[language] if len(word) <= 8])
    code = "".join(LETTERS[i] for i in rng.integers(0, len(LETTERS), 4 + 2 * difficulty))
    if difficulty <= 2:
        tables = (texts.TITLES, texts.ITEMS) if difficulty == 1 else (texts.TITLES, texts.MESSAGES)
        return code if rng.random() < 0.4 else pick(rng, pick(rng, tables)[language])
    sentences = [texts.sentence(rng, language) for _ in range(difficulty - 2)]
    joint = " " if language == "en" else ""
    return joint.join([*sentences, code] if rng.random() < 0.4 else sentences)


def _turned(ink: np.ndarray, degrees: float) -> Float[np.ndarray, "h w"]:
    """Ink 0 ... 1, turned, on a sheet whose sides are multiples of 28 with a margin."""
    turned = Pillow.fromarray(ink)
    if degrees:
        turned = turned.rotate(degrees, Pillow.Resampling.BICUBIC, expand=True)
    size = [28 * -(-(side + 8) // 28) for side in turned.size]
    page = Pillow.new("L", (size[0], size[1]))
    page.paste(turned, ((size[0] - turned.width) // 2, (size[1] - turned.height) // 2))
    return np.asarray(page, np.float32) / 255


def _printed(rng: np.random.Generator, ink: np.ndarray, difficulty: int) -> np.ndarray:
    """Ink on a ground: fainter, stained and noisy at the higher difficulties."""
    dark = pick(rng, COLOURS)[2]
    light = mix(WHITE, pick(rng, COLOURS)[2], float(pick(rng, (0, 0.08, 0.16))))
    faint = mix(dark, light, 0.08 * difficulty)
    front, back = (faint, light) if rng.random() < 0.7 else (light, faint)
    ground = np.ones((*ink.shape, 1), np.float32) * np.array(back, np.float32)
    shown = ground + (np.array(front, np.float32) - ground) * ink[..., None]
    if difficulty >= 2:
        shown += 4 * difficulty * smooth_noise(rng, ink.shape, 5)[..., None]
        shown += rng.standard_normal((*ink.shape, 1), np.float32) * 5 * (difficulty - 1)
    return np.clip(shown, 0, 255).astype(np.uint8)


CATEGORY = Category(
    name="printed_words",
    group="ocr",
    level="element",
    benchmark="OCRBench (text recognition)",
    scale="from a level word to faint, noisy sentences turned by up to 180 degrees",
    draw=draw,
    score=by_answer(text.transcription),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
