"""Contact sheets of a category, and whole episodes on one sheet, as cards.

A card is what `mmtp.data.tasks.sheet` draws of a document: the observation with its pictures made
to fit, then what was said to it.
"""

from collections.abc import Sequence

import numpy as np

from cogvit_jax.data.rendering.canvas import text_width
from mmtp.data.records import Document, Image, Message, Part, Text
from mmtp.data.tasks import sheet
from mmtp.data.tasks.example import Pixels
from rl.envs.category import Category, make_task
from rl.types import Observation
from rl.viewing import pictures, texts
from rl.viewing.episodes import Episode

ROOM = sheet.WIDTH - 4  # pixels: of a picture on a card
CHARACTERS = 700  # of one text on a card
COLUMNS = 4  # cards in a row of an episode
CHINESE = "\u2e80"  # it and its punctuation begin here
MARK = 3  # characters: a text no longer than this before a picture is its caption


def contact_sheet(
    category: Category, seeds: Sequence[int], difficulties: Sequence[int], language: str = ""
) -> Pixels:
    """A row of each difficulty, a column of each seed: the question, and the oracle's answer."""
    rows = []
    for difficulty in difficulties:
        cards = []
        for seed in seeds:
            task = make_task(category, seed, difficulty, language)
            cards.append(card(task.observation, summary(category.oracle(task)), task.id))
        rows.append(_row(cards, len(seeds)))
    return np.concatenate(rows)


def episode_sheet(episode: Episode) -> Pixels:
    """Every observation and what was said to it, in reading order; the verdict is the last."""
    cards = [
        card(turn.observation, texts.answer(turn.action.text), f"turn {number}")
        for number, turn in enumerate(episode.rollout.turns, 1)
    ]
    verdict = f"{episode.rollout.ended}; {texts.told(episode.verdict)}"
    cards.append(card(episode.last, verdict, "the end"))
    columns = min(COLUMNS, len(cards))
    starts = range(0, len(cards), columns)
    return np.concatenate([_row(cards[i : i + columns], columns) for i in starts])


def card(observation: Observation, reply: str, title: str) -> Pixels:
    """What is seen, what is said to it in green, and a title in grey."""
    seen = Message(observation.role, tuple(_parts(observation.parts)))
    said = Message("assistant", (Text(_broken(reply)),))
    messages = (seen, said) if seen.parts else (said,)
    return sheet.card(Document(title, "text", messages))


def summary(replies: Sequence[str]) -> str:
    """The answers of an episode, one after the other."""
    return " -> ".join(texts.answer(reply, CHARACTERS) for reply in replies) or "(nothing)"


def caption(parts: Sequence[Part], number: int) -> str:
    """The text right before a picture if it is short, such as an option's letter; else ""."""
    if not 0 < number < len(parts) or isinstance(parts[number], Text):
        return ""
    before = parts[number - 1]
    text = before.text.strip() if isinstance(before, Text) else ""
    return text if len(text) <= MARK else ""


def _parts(parts: Sequence[Part]) -> list[Part]:
    """Texts that fit, and one picture in place of each row of pictures."""
    found: list[Part] = []
    together: list[Pixels] = []
    for number, part in enumerate(parts):
        picture = pictures.shown(part, ROOM - 2)
        if picture is not None:
            together.append(pictures.framed(picture, caption(parts, number)))
        elif isinstance(part, Text) and part.text.strip() and not caption(parts, number + 1):
            found += [*_joined(together), Text(_broken(part.text))]
            together = []
    return [*found, *_joined(together)]


def _joined(together: Sequence[Pixels]) -> list[Image]:
    return [Image(pictures.beside(together, ROOM))] if together else []


def _broken(text: str) -> str:
    """A text in lines that fit on a card. Chinese, which breaks anywhere, is left as it is."""
    lines = texts.visible(text, CHARACTERS).replace("\t", "    ").split("\n")
    return "\n".join(part for line in lines for part in _packed(line))


def _packed(line: str) -> list[str]:
    """Words of a line as long as they fit, then those of the next one, moved in alike."""
    if any(character >= CHINESE for character in line):
        return [line]
    margin = line[: len(line) - len(line.lstrip())]
    room = ROOM - 8 - 6 * len(margin)  # the sheet moves a line in by 6 pixels a space
    packed = [""]
    for word in (part for whole in line.split() for part in _halved(whole, room)):
        longer = f"{packed[-1]} {word}".strip()
        if text_width(longer, sheet.SIZE) <= room:
            packed[-1] = longer
        else:
            packed.append(word)
    return [margin + one for one in packed]


def _halved(word: str, room: float) -> list[str]:
    """A word in pieces that fit."""
    if len(word) < 2 or text_width(word, sheet.SIZE) <= room:
        return [word]
    middle = len(word) // 2
    return _halved(word[:middle], room) + _halved(word[middle:], room)


def _row(cards: Sequence[Pixels], columns: int) -> Pixels:
    """Cards side by side, with thin lines between them."""
    height = max(len(one) for one in cards) + sheet.GAP
    cells = [pictures.padded(one, height, sheet.WIDTH + sheet.GAP) for one in cards]
    row = pictures.padded(
        np.concatenate(cells, axis=1), height, columns * (sheet.WIDTH + sheet.GAP)
    )
    row[-2] = pictures.LINE
    row[:, sheet.WIDTH + sheet.GAP // 2 :: sheet.WIDTH + sheet.GAP] = pictures.LINE
    return row
