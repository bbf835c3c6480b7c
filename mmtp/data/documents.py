"""A document -> token ids and patches, through the chat template; for training and for prompts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.settings import choose
from mmtp.data import chat
from mmtp.data.chat import ChatSettings, Span, Token
from mmtp.data.encoded import Encoded, Visual
from mmtp.data.images import ImageSettings, Patches, cut_image, cut_video
from mmtp.data.records import CATEGORIES, Document, Image, Message, Part, Text, Video
from mmtp.data.tokenizer import OPTIONAL, Tokenizer

# What is learnt: every token of text; or only what the assistant says and how it ends, and all of a
# document without turns.
SUPERVISE = {"all": False, "assistant": True}
_CHAT = ChatSettings()


def encode(
    document: Document,
    tokenizer: Tokenizer,
    images: ImageSettings,
    supervise: str = "all",
    chat_settings: ChatSettings = _CHAT,
    max_tokens: int = 0,
) -> Encoded:
    """A training example: the conversation and `<|endoftext|>`.

    Args:
        document: what to encode.
        tokenizer: a vocabulary.
        images: sizes of pictures.
        supervise: "all", or "assistant".
        chat_settings: which template.
        max_tokens: text is cut after so many; 0 = never. A caller that counts cut documents asks
            whether the result has as many tokens as this.

    Raises:
        CorruptRecord: names the document and what cannot be used of it: an unknown category or
            role, nothing in it, nothing to learn, a picture, or more than `max_tokens` with
            pictures, which cannot be cut.
        ConfigError: another `supervise` or style.
        ValueError: the tokenizer lacks a special token that the document needs.
    """
    only_said = choose(SUPERVISE, supervise, "config.data.supervise")
    try:
        if document.category not in CATEGORIES:
            raise CorruptRecord(
                f"unknown category {document.category!r}; known: {', '.join(CATEGORIES)}"
            )
        _check_not_empty(document.messages)
        spans = chat.render(document.messages, chat_settings)
        ends_said = document.messages[-1].role in ("assistant", "")
        spans.append(Span(Token("<|endoftext|>"), ends_said))
        writer = _write(spans, tokenizer, images, chat_settings)
        return _finish(writer, document, only_said, max_tokens)
    except CorruptRecord as error:
        raise CorruptRecord(f"{document.id}: {error}") from error


def encode_prompt(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    images: ImageSettings,
    chat_settings: ChatSettings = _CHAT,
) -> Encoded:
    """A conversation up to where the assistant goes on; a plain document as far as it goes.

    Nothing is supervised. A conversation's ids are the first ones of what `encode` makes of it and
    the answer. Errors as in `encode`.
    """
    _check_not_empty(messages)
    plain = messages[0].role == ""
    spans = chat.render(messages, chat_settings, generation_prompt=not plain)
    writer = _write(spans, tokenizer, images, chat_settings)
    return Encoded(
        np.asarray(writer.tokens, np.int32),
        np.zeros(len(writer.tokens), bool),
        tuple(writer.visuals),
        CATEGORIES.index("text"),
        "prompt",
    )


def encode_next(
    before: Encoded,
    reply: Sequence[int],
    message: Message,
    tokenizer: Tokenizer,
    images: ImageSettings,
    chat_settings: ChatSettings = _CHAT,
) -> Encoded:
    """A prompt, what was said to it, and the next turn, up to where the assistant goes on.

    The reply stands there token by token as it was drawn: text that is encoded again may become
    other tokens.

    Args:
        before: of `encode_prompt` or of this function.
        reply: tokens that were drawn; a last one that is the next turn's role is not repeated.
        message: of the user or a tool.
        tokenizer, images, chat_settings: as in `encode_prompt`. Errors as there.
    """
    spans = chat.render_next(message, chat_settings)
    writer = _Writer(tokenizer, num_videos=1 + max((v.video for v in before.visuals), default=-1))
    _write_spans(writer, spans, images, chat_settings)
    added = writer.tokens[1:] if reply and reply[-1] == writer.tokens[0] else writer.tokens
    first = len(before.tokens) + len(reply) + len(added) - len(writer.tokens)
    moved = [replace(v, start=v.start + first) for v in writer.visuals]
    tokens = np.concatenate([before.tokens, np.asarray([*reply, *added], np.int32)])
    return replace(
        before,
        tokens=tokens,
        supervised=np.zeros(len(tokens), bool),
        visuals=(*before.visuals, *moved),
    )


def stop_tokens(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids at which generation ends."""
    return tuple(tokenizer.id(name) for name in chat.STOPS)


@dataclass
class _Writer:
    """What is written so far."""

    tokenizer: Tokenizer
    num_videos: int = 0
    tokens: list[int] = field(default_factory=list)
    said: list[bool] = field(default_factory=list)
    visuals: list[Visual] = field(default_factory=list)

    def text(self, text: str, said: bool) -> None:
        ids = self.tokenizer.encode(text)
        self.tokens += ids
        self.said += [said] * len(ids)

    def token(self, name: str, said: bool = False) -> None:
        self.tokens.append(self.tokenizer.id(name))
        self.said.append(said)

    def visual(self, patches: Patches, video: int = -1) -> None:
        self.token("<|begin_of_image|>")
        visual = Visual(patches.patches, patches.grid, len(self.tokens), video)
        self.tokens += [self.tokenizer.id("<|image|>")] * visual.num_tokens
        self.said += [False] * visual.num_tokens
        self.visuals.append(visual)
        self.token("<|end_of_image|>")


def _write(
    spans: Sequence[Span], tokenizer: Tokenizer, images: ImageSettings, settings: ChatSettings
) -> _Writer:
    writer = _Writer(tokenizer)
    _write_spans(writer, spans, images, settings)
    return writer


def _write_spans(
    writer: _Writer, spans: Sequence[Span], images: ImageSettings, settings: ChatSettings
) -> None:
    for span in _joined(spans, writer.tokenizer):
        if isinstance(span.content, str):
            writer.text(span.content, span.said)
        elif isinstance(span.content, Token):
            writer.token(span.content.name, span.said)
        elif isinstance(span.content, Image):
            writer.visual(cut_image(span.content, images))
        else:
            writer.token("<|begin_of_video|>")
            for patches in cut_video(span.content, images):
                writer.visual(patches, writer.num_videos)
                writer.text(chat.write_seconds(patches.second, settings), False)
            writer.token("<|end_of_video|>")
            writer.num_videos += 1


def _joined(spans: Sequence[Span], tokenizer: Tokenizer) -> Iterator[Span]:
    """Neighbouring text as one, so that its tokens do not depend on how it was cut into parts.

    Not across the line between what others say and the assistant: a prompt ends there. Optional
    tokens that the vocabulary lacks are spelled.
    """
    text, said = "", False
    for span in spans:
        content = span.content
        if isinstance(content, Token) and content.name in OPTIONAL:
            content = content if content.name in tokenizer.special else content.name
        if isinstance(content, str) and (span.said == said or not text):
            text, said = text + content, span.said
            continue
        if text:
            yield Span(text, said)
        text, said = (content, span.said) if isinstance(content, str) else ("", False)
        if not isinstance(content, str):
            yield Span(content, span.said)
    if text:
        yield Span(text, said)


def _finish(writer: _Writer, document: Document, only_said: bool, max_tokens: int) -> Encoded:
    tokens = np.asarray(writer.tokens, np.int32)
    is_text = tokens != writer.tokenizer.id("<|image|>")
    supervised = np.asarray(writer.said, bool) if only_said else is_text
    if max_tokens and len(tokens) > max_tokens:
        if writer.visuals:
            raise CorruptRecord(
                f"{len(tokens)} tokens with pictures exceed {max_tokens}; raise the sequence "
                "length or lower config.images.max_patches"
            )
        tokens, supervised = tokens[:max_tokens], supervised[:max_tokens]
    if not supervised.any():
        raise CorruptRecord("nothing in it is supervised: no assistant's turn within its length")
    category = CATEGORIES.index(document.category)
    return Encoded(tokens, supervised, tuple(writer.visuals), category, document.id)


def _check_not_empty(messages: Sequence[Message]) -> None:
    if not any(_has_content(part) for message in messages for part in message.parts):
        raise CorruptRecord("the document is empty")


def _has_content(part: Part) -> bool:
    if isinstance(part, Text):
        return bool(part.text.strip())
    return not isinstance(part, Video) or bool(part.frames)
