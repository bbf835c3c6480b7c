"""What is sent to a judge: the question, its pictures, the reference, and the answer, quoted."""

import base64
import hashlib
import io
import json
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image as Pillow

from mmtp.data.records import Image, Part, Text, Video
from rl.answers.reply import MAX_CHARACTERS, THINK, answer_of
from rl.rewards.judge_prompts import PROMPTS, JudgePrompt
from rl.rewards.judge_verdict import Nonces, quote
from rl.types import Json, Rollout

PNG = b"\x89PNG"


@dataclass(frozen=True)
class JudgeSettings:
    """A panel of judges.

    Attributes:
        seats: names of endpoints; one that is named twice is asked twice, with different seeds.
        vote: "majority" or "median" (see `rl.rewards.aggregate`).
        prompt: one of `rl.rewards.judge_prompts.PROMPTS`.
        reference: fields of the task's reference that are shown; all, where it has none of them.
        max_tokens, temperature: of a reply.
        max_images: pictures and frames that are shown, at most; 0 = the judge sees none.
        max_answer: characters; a longer answer is not asked about, it has 0.
        json_mode: whether the endpoint is told to reply in JSON.
    """

    seats: tuple[str, ...]
    vote: str = "majority"
    prompt: str = "equivalence"
    reference: tuple[str, ...] = ("answer", "answers")
    max_tokens: int = 1024
    temperature: float = 0.0
    max_images: int = 8
    max_answer: int = 20_000
    json_mode: bool = False


@dataclass(frozen=True)
class Case:
    """What a judge is asked about; pictures as they are, not yet encoded."""

    parts: tuple[Text | Image, ...]
    reference: str
    answer: str
    language: str
    content: bytes = b""  # hash of all that the verdict may depend on but the endpoint


def make_case(rollout: Rollout, settings: JudgeSettings) -> Case | None:
    """The case of a rollout; None where there is no one answer to judge, or one too long."""
    task, prompt = rollout.task, PROMPTS[settings.prompt]
    parts = list(task.observation.parts)
    if prompt.shows == "answer":
        answer = answer_of(rollout.reply)
    else:
        said = (turn.action.text.rpartition(THINK[1])[2].strip() for turn in rollout.turns)
        answer = "\n".join(f"{i}. {text}" for i, text in enumerate(said, 1))
        parts += rollout.turns[-1].observation.parts if len(rollout.turns) > 1 else ()
    if not answer or len(answer) > min(settings.max_answer, MAX_CHARACTERS):
        return None
    known = {k: task.reference[k] for k in settings.reference if k in task.reference}
    reference = json.dumps(known or dict(task.reference), ensure_ascii=False, sort_keys=True)
    answer = answer.encode("utf-8", "replace").decode()  # half a surrogate pair
    case = Case(_shown(parts, settings.max_images), reference, answer, task.language)
    return replace(case, content=_content(case, prompt, settings))


def make_body(
    case: Case, settings: JudgeSettings, model: str, secret_words: Nonces, seed: int
) -> bytes:
    """The request as JSON. Encoding its pictures takes time: not for the event loop."""
    prompt, words = PROMPTS[settings.prompt], secret_words._asdict()
    content: list[Json] = [
        {"type": "text", "text": part.text} if isinstance(part, Text) else _image(part)
        for part in case.parts
    ]
    end = prompt.case[case.language].format(
        reference=case.reference, answer=quote(case.answer, secret_words.mark)
    )
    body: dict[str, Json] = {
        "model": model,
        "messages": [
            {"role": "system", "content": prompt.rules[case.language].format(**words)},
            {"role": "user", "content": [*content, {"type": "text", "text": end}]},
        ],
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "seed": seed,
    }
    if settings.json_mode:
        body["response_format"] = {"type": "json_object"}
    return json.dumps(body).encode()


def num_tokens(case: Case, settings: JudgeSettings) -> int:
    """About how many tokens a request costs: text by bytes, pictures by patches of 28 pixels."""
    text = sum(len(part.text.encode()) for part in case.parts if isinstance(part, Text))
    pictures = sum(_patches(part) for part in case.parts if not isinstance(part, Text))
    written = len(case.reference.encode()) + len(case.answer.encode())
    return 300 + (text + written) // 3 + pictures + settings.max_tokens


def _shown(parts: list[Part], most: int) -> tuple[Text | Image, ...]:
    """At most so many pictures; a video becomes evenly spaced frames."""
    shown: list[Text | Image] = []
    left = most
    for part in parts:
        if isinstance(part, Text):
            shown.append(part)
            continue
        frames = part.frames if isinstance(part, Video) else (part.data,)
        places = np.linspace(0, len(frames) - 1, min(left, len(frames))).round().astype(int)
        shown += [Image(frames[i]) for i in places]
        left -= len(places)
    return tuple(shown)


def _content(case: Case, prompt: JudgePrompt, settings: JudgeSettings) -> bytes:
    digest = hashlib.blake2b(digest_size=32)
    asked = [prompt.rules[case.language], prompt.case[case.language], case.reference, case.answer]
    asked += [settings.max_tokens, settings.temperature, settings.json_mode]
    digest.update(json.dumps(asked).encode())
    for part in case.parts:
        if isinstance(part, Text):
            kind, data = "text", part.text.encode("utf-8", "replace")
        elif isinstance(part.data, bytes):
            kind, data = "file", part.data
        else:
            kind, data = f"{part.data.dtype}{part.data.shape}", part.data.tobytes()
        digest.update(f"|{kind} {len(data)}|".encode())
        digest.update(data)
    return digest.digest()


def _image(image: Image) -> Json:
    """As a `data:` URL."""
    data = image.data
    if not (isinstance(data, bytes) and data.startswith(PNG)):
        file = io.BytesIO()
        source = Pillow.open(io.BytesIO(data)) if isinstance(data, bytes) else None
        (source or Pillow.fromarray(np.asarray(data))).save(file, "PNG", compress_level=1)
        data = file.getvalue()
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def _patches(image: Image) -> int:
    if isinstance(image.data, bytes):
        return 1000
    height, width = image.data.shape[:2]
    return height * width // 28**2
