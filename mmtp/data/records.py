"""What every source of the language model yields: documents of text, pictures and videos."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

# The report's ten categories (§2.3), and plain text.
CATEGORIES = (
    "text",
    "knowledge",
    "interleaved",
    "ocr",
    "coding",
    "gui",
    "video",
    "tool_use",
    "spatial",
    "grounding",
    "academic",
)
ROLES = ("system", "user", "assistant", "observation")


@dataclass(frozen=True)
class Text:
    """A stretch of text."""

    text: str


@dataclass(frozen=True)
class Image:
    """A picture: an encoded file, or pixels `[h, w]` or `[h, w, 3]` as uint8."""

    data: bytes | np.ndarray


@dataclass(frozen=True)
class Video:
    """Frames in order, as pictures, and the second that each was shown at."""

    frames: tuple[bytes | np.ndarray, ...]
    seconds: tuple[float, ...]


Part = Text | Image | Video


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: one of ROLES.
        parts: text, pictures and videos in order.
        thinking: what an assistant thinks before it answers; "" = nothing.
    """

    role: str
    parts: tuple[Part, ...]
    thinking: str = ""


@dataclass(frozen=True)
class Document:
    """One training example.

    Example:
        Document(
            id="digits/0042",
            category="ocr",
            messages=(
                Message("user", (Image(png_bytes), Text("Which digit is this?"))),
                Message("assistant", (Text("7"),)),
            ),
            tags={"answer": "7"},
        )

    Attributes:
        id: unique within its source, stable over runs; named in logs when it cannot be used.
        category: one of CATEGORIES; losses are reported by it.
        messages: a conversation; or one message of role "" whose parts are a plain document,
            text and pictures interleaved, without a chat template.
        tags: whatever else is known, such as the expected answer, for evaluators.
    """

    id: str
    category: str
    messages: tuple[Message, ...]
    tags: Mapping[str, object] = field(default_factory=dict)
