"""Held-out questions, the model's replies, and which of them are right: numbers and a picture."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from cogvit_jax import plots
from cogvit_jax.data.transforms import decode_image
from mmtp.data.records import CATEGORIES, Document, Image, Message, Text
from mmtp.data.tasks.check import bare, check, read_numbers
from mmtp.evals.heldout import spread
from mmtp.generate import Completion, Engine, Request, make_request

SPAN = 1000  # replies give places in thousandths of the picture


@dataclasses.dataclass(frozen=True)
class Question:
    """A document without its last answer.

    Attributes:
        document: with `tags` that say what is right.
        request: its prompt, to be completed greedily.
    """

    document: Document
    request: Request


def make_questions(
    documents: Sequence[Document],
    encode: Callable[[Sequence[Message]], Any],
    stop: tuple[int, ...],
    max_new_tokens: int,
) -> list[Question]:
    """Those documents that end in an answer that can be checked.

    Args:
        documents: any.
        encode: messages -> prompt, as `documents.encode_prompt`.
        stop: tokens that end a reply.
        max_new_tokens: most tokens of a reply.
    """
    found = []
    for number, document in enumerate(documents):
        if "check" not in document.tags or document.messages[-1].role != "assistant":
            continue
        category = CATEGORIES.index(document.category)
        prompt = dataclasses.replace(encode(document.messages[:-1]), category=category)
        request = make_request(number, prompt, max_new_tokens, temperature=0.0, stop=stop)
        found.append(Question(document, request))
    return found


def answers(
    engine: Callable[[Any], Engine],
    decode: Callable[[Any], str],
    questions: Sequence[Question],
    font: Path,
    num_shown: int,
    params: Any,
) -> dict[str, Any]:
    """`right` over all questions, `right/<task>`, and a picture of some of them.

    Args:
        engine: parameters -> what completes prompts.
        decode: token ids -> text in which special tokens are spelled: marks of places, calls and
            thoughts are part of an answer.
        questions: to answer.
        font: of the picture's text.
        num_shown: questions in the picture, evenly spread.
        params: of the model.
    """
    asked = [q.request for q in questions]
    completions = engine(params).generate(asked)
    replies = [decode(reply_tokens(c, r)) for c, r in zip(completions, asked, strict=True)]
    rights = [check(q.document.tags, r) for q, r in zip(questions, replies, strict=True)]
    by_task: dict[str, list[bool]] = {}
    for question, right in zip(questions, rights, strict=True):
        by_task.setdefault(str(question.document.tags["task"]), []).append(right)
    result: dict[str, Any] = {"right": float(np.mean(rights))}
    result |= {f"right/{task}": float(np.mean(found)) for task, found in sorted(by_task.items())}
    if num_shown:
        result["replies"] = panel(questions, replies, rights, font, num_shown)
    return result


def reply_tokens(completion: Completion, request: Request) -> np.ndarray:
    """A completion without the token that ended it."""
    tokens = completion.tokens
    return tokens[:-1] if len(tokens) and int(tokens[-1]) in request.stop else tokens


def panel(
    questions: Sequence[Question],
    replies: Sequence[str],
    rights: Sequence[bool],
    font: Path,
    num_shown: int,
) -> np.ndarray:
    """Pictures, questions, replies (green if right) and answers; named places are marked."""
    with_pictures = [i for i, q in enumerate(questions) if pictures_of(q.document)]
    shown = [with_pictures[i] for i in spread(len(with_pictures), num_shown)]
    pictures, captions = [], []
    for i in shown:
        document = questions[i].document
        picture = decode_image(pictures_of(document)[-1])
        pictures.append(mark(picture, replies[i], str(document.tags.get("form", "{}"))))
        # The font lacks the character that stands for bytes that are no text.
        said = " ".join(bare(replies[i]).replace("\ufffd", "?").split())
        lines = [(question_of(document), False), (f"> {said}", rights[i])]
        if not rights[i]:
            lines.append((f"is: {document.tags['answer']}", False))
        captions.append(lines)
    if not pictures:
        return np.full((64, 64, 3), 255, np.uint8)
    return plots.caption_grid(pictures, captions, font, columns=6)


def mark(picture: np.ndarray, reply: str, form: str = "{}") -> np.ndarray:
    """The picture, enlarged, with the point or box that a reply names."""
    scale = max(1, 224 // max(picture.shape[:2]))
    said = bare(reply)
    canvas = Pillow.fromarray(picture).resize(
        (picture.shape[1] * scale, picture.shape[0] * scale), Pillow.Resampling.NEAREST
    )
    draw = ImageDraw.Draw(canvas)
    for count in (4, 2):
        numbers = read_numbers(said, count, form)
        if numbers is None:
            continue
        sides = (canvas.width, canvas.height)
        places = [n * sides[i % 2] / SPAN for i, n in enumerate(numbers)]
        if count == 2:
            x, y = places
            places = [x - 5, y - 5, x + 5, y + 5]
        left, top, right, bottom = places
        if left <= right and top <= bottom:
            draw.rectangle((left, top, right, bottom), outline=(255, 0, 255), width=2)
        break
    return np.asarray(canvas)


def pictures_of(document: Document) -> list[Any]:
    """Pictures and first frames, in order."""
    parts = [part for message in document.messages for part in message.parts]
    shown = [part for part in parts if not isinstance(part, Text)]
    return [part.data if isinstance(part, Image) else part.frames[0] for part in shown]


def question_of(document: Document) -> str:
    """The text of the last turn that is not the assistant's."""
    turns = [m for m in document.messages[:-1] if m.role != "assistant"]
    texts = [p.text for p in turns[-1].parts if isinstance(p, Text)]
    return " ".join(" ".join(texts).split())
