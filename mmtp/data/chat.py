"""GLM's chat template: a conversation as stretches of text, special tokens, pictures and videos.

Written after what the released templates print, which tests compare with on given cases:
chat_template.jinja of zai-org/GLM-OCR and of zai-org/GLM-4.1V-9B-Thinking. Frames of a video are
written as their processors do (transformers: Glm46VProcessor, Glm4vProcessor).

Text is text: a user who writes "<|assistant|>" gets those characters, not the token. Only in the
assistant's own turns are boxes, calls of tools and answers (MARKUP) tokens where they are spelled.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.settings import choose
from mmtp.data.records import ROLES, Image, Message, Part, Text, Video

# Generation ends at these: another's turn, or the end of the document.
STOPS = ("<|endoftext|>", "<|user|>", "<|observation|>")
# What an assistant may write besides text.
MARKUP = (
    "<|begin_of_box|>",
    "<|end_of_box|>",
    "<tool_call>",
    "</tool_call>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "<answer>",
    "</answer>",
)
_MARKUP = re.compile("|".join(map(re.escape, MARKUP)))


@dataclass(frozen=True)
class ChatSettings:
    """Section `config.chat`.

    Attributes:
        style: "glm_ocr" or "glm_4_1v", key of STYLES.
        thinking: of "glm_ocr": None leaves it to the model whether it thinks before it answers, as
            True does; False tells it not to, after every question and at the start of the answer.
    """

    style: str = "glm_ocr"
    thinking: bool | None = None


@dataclass(frozen=True)
class Token:
    """A special token by name."""

    name: str


@dataclass(frozen=True)
class Span:
    """A piece of a rendered conversation.

    `said`: it is for the model to write, as the assistant, or in a document without turns.
    """

    content: str | Token | Image | Video
    said: bool = False


@dataclass(frozen=True)
class Style:
    """How a released template differs from the others.

    Attributes:
        whole_seconds: whether the time of a frame is "3" rather than "3.2 seconds".
        think_always: an answer without thoughts has empty ones, thoughts of turns before the last
            question are left out, and answers lose the space around them.
    """

    whole_seconds: bool
    think_always: bool


STYLES = {
    "glm_ocr": Style(whole_seconds=False, think_always=True),
    "glm_4_1v": Style(whole_seconds=True, think_always=False),
}


def render(
    messages: Sequence[Message], settings: ChatSettings, generation_prompt: bool = False
) -> list[Span]:
    """A conversation, or a plain document (one message of role "").

    Args:
        messages: turns in order.
        settings: which template.
        generation_prompt: opens the assistant's next turn, for the model to go on.

    Raises:
        ConfigError: another style.
        CorruptRecord: no message, an unknown role, a plain document among other messages, or a
            turn that the style has no form for.
    """
    style = choose(STYLES, settings.style, "config.chat.style")
    _check(messages, settings)
    spans = [Span(Token("[gMASK]")), Span(Token("<sop>"))]
    last_user = max((i for i, m in enumerate(messages) if m.role == "user"), default=-1)
    before = ""
    for index, message in enumerate(messages):
        if message.role == "assistant":
            spans += _assistant(message, settings, style, index > last_user, before)
        elif message.role == "observation":
            spans += _observation(message, before)
        elif message.role:
            spans += _turn(message, settings, before)
        else:
            spans += [Span(_content(part), isinstance(part, Text)) for part in message.parts]
        before = message.role
    return spans + (_opening(settings, before) if generation_prompt else [])


def render_next(message: Message, settings: ChatSettings) -> list[Span]:
    """What follows an answer that a model gave: the next turn, and the opening of the answer to it.

    The first token is the role's, which also ends the answer before it.

    Raises:
        ConfigError, CorruptRecord: as in `render`; the assistant does not follow itself.
    """
    choose(STYLES, settings.style, "config.chat.style")
    _check([message], settings)
    if message.role not in ("user", "observation"):
        raise CorruptRecord(f"{message.role!r} does not follow an answer")
    spans = (
        _observation(message, "assistant")
        if message.role == "observation"
        else _turn(message, settings, "assistant")
    )
    return spans + _opening(settings, message.role)


def _opening(settings: ChatSettings, before: str) -> list[Span]:
    """Opens the assistant's turn, for the model to go on."""
    spans = [_role("assistant", before), Span("\n")]
    if STYLES[settings.style].think_always and settings.thinking is False:
        spans += [Span(Token("<think>")), Span(Token("</think>")), Span("\n")]
    return spans


def write_seconds(second: float, settings: ChatSettings) -> str:
    """What stands behind a frame of a video."""
    whole = STYLES[settings.style].whole_seconds
    return str(int(second)) if whole else f"{second:.1f} seconds"


def spell(spans: Sequence[Span]) -> str:
    """Spans as a released template prints them: one placeholder for a picture or video."""
    return "".join(_spelled(span.content) for span in spans)


def _check(messages: Sequence[Message], settings: ChatSettings) -> None:
    if not messages:
        raise CorruptRecord("the conversation has no messages")
    for message in messages:
        if message.role not in ROLES and message.role != "":
            raise CorruptRecord(f"unknown role {message.role!r}; roles are {', '.join(ROLES)}")
        if message.role == "" and len(messages) > 1:
            raise CorruptRecord("a message without a role stands alone, as a plain document")
        if message.thinking and message.role != "assistant":
            raise CorruptRecord(f"a message of role {message.role!r} has thoughts")
        if message.role == "observation" and settings.style == "glm_4_1v":
            raise CorruptRecord("the template glm_4_1v has no turns of tools; use glm_ocr")


def _turn(message: Message, settings: ChatSettings, before: str) -> list[Span]:
    """What the system or the user says."""
    contents = [_content(part) for part in message.parts]
    spans = [_role(message.role, before), Span("\n"), *map(Span, contents)]
    quiet = settings.thinking is False and STYLES[settings.style].think_always
    if message.role == "user" and quiet and not spell(spans).endswith("/nothink"):
        spans.append(Span(Token("/nothink")))
    return spans


def _observation(message: Message, before: str) -> list[Span]:
    """What a tool returned; several in a row share one role token."""
    contents = [_content(part) for part in message.parts]
    spans = [] if before == "observation" else [_role("observation", before)]
    spans += [Span("\n"), Span(Token("<tool_response>")), Span("\n"), *map(Span, contents)]
    spans += [Span("\n"), Span(Token("</tool_response>"))]
    # The released template ends with a line break what is text only.
    return spans + ([Span("\n")] if all(isinstance(c, str) for c in contents) else [])


def _assistant(
    message: Message, settings: ChatSettings, style: Style, recent: bool, before: str
) -> list[Span]:
    """An answer. What the generation prompt of the same settings holds is not `said`."""
    spans = [_role("assistant", before), Span("\n")]
    if not style.think_always:
        return spans + _thoughts(message.thinking) + _answer(message.parts)
    parts = _stripped(message.parts)
    thought = message.thinking.strip() if recent else ""
    if thought:
        spans += _thoughts(thought)
    else:
        # Of thoughts that are left out, one must not learn that there were none.
        said = settings.thinking is not False and not message.thinking
        spans += [Span(Token("<think>"), said), Span(Token("</think>"), said)]
        spans += [Span("\n", said)] if parts else []
    return spans + ([Span("\n", True)] if thought and parts else []) + _answer(parts)


def _thoughts(thinking: str) -> list[Span]:
    if not thinking:
        return []
    return [Span(Token("<think>"), True), Span(thinking, True), Span(Token("</think>"), True)]


def _answer(parts: Sequence[Part]) -> list[Span]:
    """Parts with MARKUP as tokens; a picture in an answer is shown to it, not said by it."""
    spans = []
    for part in parts:
        if not isinstance(part, Text):
            spans.append(Span(part))
            continue
        place = 0
        for match in _MARKUP.finditer(part.text):
            spans += [Span(part.text[place : match.start()], True), Span(Token(match[0]), True)]
            place = match.end()
        spans.append(Span(part.text[place:], True))
    return [span for span in spans if span.content != ""]


def _role(role: str, before: str) -> Span:
    """A role token; after an answer it is what ended the answer, and the assistant's to say."""
    return Span(Token(f"<|{role}|>"), before == "assistant" and role in ("user", "observation"))


def _stripped(parts: Sequence[Part]) -> list[Part]:
    """Parts without space at the start and the end, and without empty text."""
    kept = list(parts)
    while kept and isinstance(kept[0], Text) and not kept[0].text.strip():
        del kept[0]
    while kept and isinstance(kept[-1], Text) and not kept[-1].text.strip():
        del kept[-1]
    if kept and isinstance(kept[0], Text):
        kept[0] = Text(kept[0].text.lstrip())
    if kept and isinstance(kept[-1], Text):
        kept[-1] = Text(kept[-1].text.rstrip())
    return kept


def _content(part: Part) -> str | Image | Video:
    return part.text if isinstance(part, Text) else part


def _spelled(content: str | Token | Image | Video) -> str:
    if isinstance(content, Image):
        return "<|begin_of_image|><|image|><|end_of_image|>"
    if isinstance(content, Video):
        return "<|begin_of_video|><|video|><|end_of_video|>"
    return content.name if isinstance(content, Token) else content
