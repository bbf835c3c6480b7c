"""The schema that all record formats share; docs/vlm_data.md shows it to users.

    {"id": "page-17", "category": "ocr",
     "messages": [{"role": "user", "content": [{"type": "image", "image": REF},
                                               {"type": "text", "text": "Read this."}]},
                  {"role": "assistant", "content": "Hello", "thinking": "..."}],
     "tags": {"answer": "Hello"}}

A video is {"type": "video", "frames": [REF, ...], "seconds": [0.0, 0.5, ...]}. What a REF to a
picture is, is each format's own: a path, a member of a tar, or the file itself.
"""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image as Pillow

from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.settings import unknown
from mmtp.data.records import CATEGORIES, ROLES, Document, Image, Message, Part, Text, Video

_DOCUMENT = ("id", "category", "messages", "tags")
_MESSAGE = ("role", "content", "thinking")
_PARTS = {"text": ("text",), "image": ("image",), "video": ("frames", "seconds")}
_ENDINGS = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpg",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"II*\0": "tif",
    b"MM\0*": "tif",
}


@runtime_checkable
class Placed(Protocol):
    """Records that know where each one is, for reports."""

    def place(self, index: int, /) -> str: ...


def to_fields(document: Document, store: Callable[[bytes], Any]) -> dict[str, Any]:
    """A document as its format writes it.

    Args:
        document: what to write.
        store: an encoded picture -> REF. Pixels are encoded as PNG before.

    Raises:
        CorruptRecord: tags that JSON cannot hold, or text that is not valid Unicode.
    """
    fields: dict[str, Any] = {"id": document.id, "category": document.category}
    fields["messages"] = [_message_fields(message, store) for message in document.messages]
    if document.tags:
        fields["tags"] = dict(document.tags)
    check_writable(document)
    return fields


def check_writable(document: Document) -> None:
    """Raises CorruptRecord where tags are not JSON, or text is not valid Unicode."""
    try:
        texts = [document.id, document.category, *map(_texts, document.messages), document.tags]
        json.dumps(texts, ensure_ascii=False, allow_nan=False, default=_no_json).encode("utf-8")
    except (TypeError, ValueError) as error:
        raise CorruptRecord(f"{document.id!r} cannot be written: {error}") from error


def from_fields(fields: Any, load: Callable[[Any], bytes], place: str) -> Document:
    """A document from what its format read.

    Args:
        fields: of any type.
        load: REF -> the encoded picture; raises CorruptRecord, OSError, KeyError or TypeError.
        place: file and line or the like, for errors, and the id where there is none.

    Raises:
        CorruptRecord: names the place, the field, and what was expected.
    """
    try:
        _check_fields(fields, _DOCUMENT, ("category", "messages"), "the record")
        category = fields["category"]
        if category not in CATEGORIES:
            raise CorruptRecord(unknown(f"category {category!r}", str(category), CATEGORIES))
        if not isinstance(fields["messages"], list):
            raise CorruptRecord("'messages' is not a list")
        tags = fields.get("tags", {})
        if not isinstance(tags, dict):
            raise CorruptRecord(f"'tags' is a {type(tags).__name__}, not an object")
        messages = tuple(_message(message, load) for message in fields["messages"])
        return Document(_text(fields.get("id", place), "id"), category, messages, tags)
    except CorruptRecord as error:
        raise CorruptRecord(f"{place}: {error}") from error


def encoded_file(picture: bytes | np.ndarray) -> bytes:
    """An encoded picture as it is, and pixels as a PNG file."""
    if isinstance(picture, bytes):
        return picture
    file = io.BytesIO()
    Pillow.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def ending(picture: bytes) -> str:
    """The usual file ending of an encoded picture; "bin" where it is none that is known."""
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return "webp"
    return next((e for start, e in _ENDINGS.items() if picture.startswith(start)), "bin")


def _message_fields(message: Message, store: Callable[[bytes], Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role}
    fields["content"] = [_part_fields(part, store) for part in message.parts]
    if message.thinking:
        fields["thinking"] = message.thinking
    return fields


def _part_fields(part: Part, store: Callable[[bytes], Any]) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        return {"type": "image", "image": store(encoded_file(part.data))}
    frames = [store(encoded_file(frame)) for frame in part.frames]
    return {"type": "video", "frames": frames, "seconds": [float(s) for s in part.seconds]}


def _texts(message: Message) -> list[str]:
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    return [message.role, message.thinking, *texts]


def _no_json(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a tag holds {value!r} of type {type(value).__name__}, which is not JSON")


def _message(fields: Any, load: Callable[[Any], bytes]) -> Message:
    _check_fields(fields, _MESSAGE, ("role", "content"), "a message")
    role, content = fields["role"], fields["content"]
    if role not in (*ROLES, ""):
        raise CorruptRecord(unknown(f"role {role!r}", str(role), (*ROLES, "")))
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise CorruptRecord(f"'content' is a {type(content).__name__}, not a text or a list")
    parts = tuple(_part(part, load) for part in content)
    return Message(role, parts, _text(fields.get("thinking", ""), "thinking"))


def _part(fields: Any, load: Callable[[Any], bytes]) -> Part:
    kind = fields.get("type") if isinstance(fields, dict) else None
    if kind not in _PARTS:
        raise CorruptRecord(f"a part has type {kind!r}; known: {', '.join(_PARTS)}")
    _check_fields(fields, ("type", *_PARTS[kind]), _PARTS[kind], f"a part of type {kind!r}")
    if kind == "text":
        return Text(_text(fields["text"], "text"))
    if kind == "image":
        return Image(_load(load, fields["image"]))
    frames, seconds = fields["frames"], fields["seconds"]
    if not isinstance(frames, list) or not isinstance(seconds, list):
        raise CorruptRecord("'frames' and 'seconds' of a video must be lists")
    if len(frames) != len(seconds) or not all(type(s) in (int, float) for s in seconds):
        raise CorruptRecord(f"a video of {len(frames)} frames has seconds {seconds!r}")
    return Video(tuple(_load(load, frame) for frame in frames), tuple(map(float, seconds)))


def _load(load: Callable[[Any], bytes], reference: Any) -> bytes:
    try:
        return load(reference)
    except (OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, CorruptRecord):
            raise
        shown = reference if isinstance(reference, str) else type(reference).__name__
        raise CorruptRecord(f"picture {shown!r} cannot be read: {error}") from error


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise CorruptRecord(f"{name!r} is a {type(value).__name__}, not a text")
    return value


def _check_fields(fields: Any, known: tuple, required: tuple, what: str) -> None:
    if not isinstance(fields, dict):
        raise CorruptRecord(f"{what} is a {type(fields).__name__}, not an object")
    for name in fields:
        if name not in known:
            raise CorruptRecord(unknown(f"field {name!r} of {what}", str(name), known))
    if missing := [name for name in required if name not in fields]:
        raise CorruptRecord(f"{what} lacks {', '.join(missing)}")
