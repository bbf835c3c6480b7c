"""Verifiers that need neither the task's reference nor a network: form, language and length."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from cogvit_jax.settings import ConfigError
from rl.answers import reply
from rl.types import Rollout, Verdict

_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")


@dataclass(frozen=True)
class LocalSettings:
    """Limits of these verifiers.

    Attributes:
        thoughts: a well-formed reply has some.
        chinese: least share of Chinese characters, among them and Latin words, for a Chinese task.
        english: greatest share of them for an English task.
        letters: characters and words together below which a language is not told.
        soft_length, hard_length: tokens of an episode up to which "length" is 1, and from which it
            is 0; a straight line between (as DAPO's overlong penalty, arXiv:2503.14476, §3.4).
    """

    thoughts: bool = True
    chinese: float = 0.6
    english: float = 0.1
    letters: int = 8
    soft_length: int = 16384
    hard_length: int = 20480


def check(settings: LocalSettings, path: str) -> None:
    """Raises ConfigError for what cannot be."""
    for name in ("chinese", "english"):
        if not 0 <= getattr(settings, name) <= 1:
            raise ConfigError(f"{path}.{name} = {getattr(settings, name)} must be 0 … 1.")
    if not 0 < settings.soft_length < settings.hard_length:
        raise ConfigError(
            f"{path}.soft_length = {settings.soft_length} must be more than 0 and less than "
            f"{path}.hard_length = {settings.hard_length}."
        )


def form(rollout: Rollout, settings: LocalSettings) -> Verdict:
    """1 where every reply is well-formed: thoughts, closed, and one answer in a box."""
    replies = [reply.parse(turn.action.text) for turn in rollout.turns]
    good = [r.well_formed and bool(r.thinking or not settings.thoughts) for r in replies]
    return Verdict.of(float(bool(good) and all(good)), "format")


def language(rollout: Rollout, settings: LocalSettings) -> Verdict:
    """1 where what is said outside of boxes is in the task's language; 0 for a mixture.

    Answers are left out (a text that is read off a picture may be in any language), and so is code
    between ``` marks. A Chinese character counts as much as a word in Latin letters.
    """
    said = " ".join(_prose(turn.action.text) for turn in rollout.turns)
    han, words = len(_HAN.findall(said)), len(_WORD.findall(said))
    if han + words < settings.letters:
        return Verdict.abstain("language", f"{han + words} words are too few to tell")
    share = han / (han + words)
    chinese = rollout.task.language == "zh"
    right = share >= settings.chinese if chinese else share <= settings.english
    return Verdict.of(float(right), "language", chinese=share)


def length(rollout: Rollout, settings: LocalSettings) -> Verdict:
    """1 down to 0 as the episode's own tokens go from `soft_length` to `hard_length`."""
    if not any(turn.action.tokens for turn in rollout.turns):
        return Verdict.abstain("length", "the replies have no tokens")
    tokens = sum(len(turn.action.tokens) for turn in rollout.turns)
    left = (settings.hard_length - tokens) / (settings.hard_length - settings.soft_length)
    return Verdict.of(min(1.0, max(0.0, left)), "length", tokens=tokens)


Local = Callable[[Rollout, LocalSettings], Verdict]
VERIFIERS: dict[str, Local] = {"format": form, "language": language, "length": length}


def _prose(text: str) -> str:
    """Thoughts and what stands around the answer."""
    text = text[: reply.MAX_CHARACTERS]
    before, opened, boxed = text.partition(reply.BOX[0])
    outside = before + " " + boxed.partition(reply.BOX[1])[2] if opened else text
    for mark in (*reply.THINK, *reply.ANSWER, *reply.BOX, *reply.ENDS):
        outside = outside.replace(mark, " ")
    return " ".join(outside.split("```")[::2])
