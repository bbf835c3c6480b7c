"""A reply: thoughts, then an answer between the marks of a box.

GLM-V's grammar: `<think>…</think>`, then `<answer>…</answer>` (4.1V) or nothing around the answer
(4.5V and later), and in it one `<|begin_of_box|>…<|end_of_box|>` around whatever the final answer
is. A reply without any box is its own answer, so that a model that has not learned the marks can be
told right from wrong; whether the marks are demanded is for `rl.rewards` to say (`well_formed`).
"""

from dataclasses import dataclass

BOX = ("<|begin_of_box|>", "<|end_of_box|>")
THINK = ("<think>", "</think>")
ANSWER = ("<answer>", "</answer>")
ENDS = ("<|user|>", "<|observation|>", "<|endoftext|>")  # what generation stops at
MAX_CHARACTERS = 200_000  # behind the thoughts; more than that is no answer


@dataclass(frozen=True)
class Reply:
    """A reply, taken apart.

    Attributes:
        thinking: "" = none.
        answer: what is in the box, else all that follows the thoughts; None where there is no one
            answer: several boxes, marks that do not match, or no end of the thoughts.
        boxed: whether the answer was in a box.
    """

    thinking: str
    answer: str | None
    boxed: bool

    @property
    def well_formed(self) -> bool:
        """Whether it has one answer, in a box."""
        return self.boxed and self.answer is not None


def parse(text: str) -> Reply:
    """Takes a reply apart; never raises."""
    thinking, said = _split_thoughts(_without_end(text))
    if said is None or len(said) > MAX_CHARACTERS or any(mark in said for mark in THINK):
        return Reply(thinking, None, False)
    said = _without(said, ANSWER)
    if said is None:
        return Reply(thinking, None, False)
    if not any(mark in said for mark in BOX):
        return Reply(thinking, said.strip(), False)
    _, _, behind = said.partition(BOX[0])
    inside, closed, _ = behind.partition(BOX[1])
    one = bool(closed) and all(said.count(mark) == 1 for mark in BOX)
    return Reply(thinking, inside.strip() if one else None, one)


def answer_of(text: str) -> str | None:
    """The answer of a reply, or None."""
    return parse(text).answer


def boxed(answer: object) -> str:
    """An answer as a reply that consists of it."""
    return f"{BOX[0]}{answer}{BOX[1]}"


def _without_end(text: str) -> str:
    """Without the token that ended it."""
    said = text.rstrip()
    ends = [end for end in ENDS if said.endswith(end)]
    return said.removesuffix(ends[0]) if ends else said


def _split_thoughts(text: str) -> tuple[str, str | None]:
    """Thoughts and the rest; a prompt may have opened the thoughts already."""
    opened = text.lstrip().startswith(THINK[0])
    before, closed, after = text.partition(THINK[1])
    if not closed:
        return (text, None) if opened else ("", text)
    thinking = before.lstrip().removeprefix(THINK[0])
    return (thinking.strip(), None if THINK[0] in thinking else after)


def _without(text: str, marks: tuple[str, str]) -> str | None:
    """What is between the marks, all of it where there are none; None where they do not match."""
    counts = tuple(text.count(mark) for mark in marks)
    if counts == (0, 0):
        return text
    said = text.strip()
    whole = said.startswith(marks[0]) and said.endswith(marks[1])
    return said[len(marks[0]) : -len(marks[1])] if counts == (1, 1) and whole else None
