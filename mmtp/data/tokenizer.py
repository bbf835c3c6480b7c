"""Text to token ids and back: the embedded byte-level vocabulary, or a released `tokenizer.json`.

Special tokens have GLM's names, so that one chat template serves both. Those of GLM-OCR are ids
59246 (`<|endoftext|>`) to 59281, in the order of GLM-4.5V's 151329 to 151364.
"""

import codecs
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer as Processor

from cogvit_jax.data.records import CorruptRecord
from mmtp.data.assets import TOKENIZER_PATH

# What every conversation needs; a vocabulary without one of these cannot be used.
REQUIRED = (
    "<|endoftext|>",
    "[gMASK]",
    "<sop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|image|>",
)
# What some conversations need. GLM-4.1V's vocabulary lacks those of tool calls.
OPTIONAL = (
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "<|video|>",
    "<think>",
    "</think>",
    "/nothink",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "<|begin_of_box|>",
    "<|end_of_box|>",
    "<answer>",
    "</answer>",
)


@dataclass(frozen=True)
class Tokenizer:
    """A byte-level vocabulary; pickles, so that loader workers can hold it.

    Attributes:
        processor: the `tokenizers` object.
        special: name -> id of every token that only the chat template may write.
        pieces: the bytes of each id; empty where the vocabulary has a gap.
    """

    processor: Processor
    special: Mapping[str, int]
    pieces: tuple[bytes, ...]

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return len(self.pieces)

    def __reduce__(self) -> tuple[Any, ...]:
        # Unpickled by itself, a `tokenizers` object forgets `encode_special_tokens`, and a text
        # that spells "<|user|>" would become the token.
        return from_json, (self.processor.to_str(),)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, never a special one, even where the text spells its name.

        Raises:
            CorruptRecord: the text is not valid Unicode (a lone surrogate).
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise CorruptRecord(f"text {text!r} is not valid Unicode: {error.reason}") from error
        return self.processor.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int] | Int[np.ndarray, "n"], skip_special: bool = True) -> str:
        """The text of some ids; bytes that are no UTF-8 become U+FFFD.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        decoder = StreamDecoder(self, skip_special)
        return decoder.push(*(int(i) for i in ids)) + decoder.finish()

    def id(self, name: str) -> int:
        """The id of a special token.

        Raises:
            ValueError: the vocabulary lacks it.
        """
        if name not in self.special:
            raise ValueError(
                f"the tokenizer has no special token {name!r} (it has {', '.join(self.special)}); "
                "use one that has it, or leave out what needs it"
            )
        return self.special[name]


class StreamDecoder:
    """Decodes ids as they are generated; a character may span several of them.

    What `push` and then `finish` return, one after the other, is what `decode` returns for all.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True):
        self._pieces = tokenizer.pieces
        self._skipped = frozenset(tokenizer.special.values()) if skip_special else frozenset()
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, *ids: int) -> str:
        """Takes the next ids; returns the characters that are complete now.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        size = len(self._pieces)
        if wrong := [i for i in ids if not 0 <= i < size]:
            raise ValueError(f"token id {wrong[0]} is outside of the vocabulary, 0 ... {size - 1}")
        return self._utf8.decode(b"".join(self._pieces[i] for i in ids if i not in self._skipped))

    def finish(self) -> str:
        """What is left of a character that was not completed."""
        return self._utf8.decode(b"", final=True)


def load_tokenizer(path: str = "") -> Tokenizer:
    """Loads a vocabulary.

    Args:
        path: "" for the embedded one; a `tokenizer.json`, or a folder that holds one, such as that
            of a released GLM-OCR or GLM-4.1V checkpoint.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a corrupt file, one that is not byte-level, or one without a token of REQUIRED.
    """
    file = Path(path).expanduser() if path else TOKENIZER_PATH
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"tokenizer '{path}': {file} is not a file")
    try:
        return from_json(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"tokenizer '{file}': {error}") from error


def from_json(text: str) -> Tokenizer:
    """A tokenizer from the content of a `tokenizer.json`.

    Raises:
        ValueError: not of that form, not byte-level, or without a token of REQUIRED.
    """
    content = json.loads(text)
    if not isinstance(content, dict) or '"ByteLevel"' not in json.dumps(content.get("decoder")):
        raise ValueError("its decoder is not ByteLevel; only byte-level vocabularies are read")
    # Released files mark <think> and the like as ordinary, so that a text could spell them.
    for token in content.get("added_tokens", ()):
        token["special"] = True
    try:
        processor = Processor.from_str(json.dumps(content))
    except Exception as error:  # tokenizers raises a bare Exception
        raise ValueError(f"it cannot be read: {error}") from error
    processor.encode_special_tokens = True
    # A file may fix its own length and padding.
    processor.no_truncation()
    processor.no_padding()
    special = {token["content"]: token["id"] for token in content.get("added_tokens", ())}
    if missing := [name for name in REQUIRED if name not in special]:
        raise ValueError(f"it lacks the special tokens {', '.join(missing)} of GLM's chat template")
    return Tokenizer(processor, special, _pieces(processor, special))


def _pieces(processor: Processor, special: Mapping[str, int]) -> tuple[bytes, ...]:
    vocabulary = processor.get_vocab(with_added_tokens=True)
    pieces = [b""] * (1 + max(vocabulary.values()))
    table = _byte_of_character()
    for token, i in vocabulary.items():
        pieces[i] = token.encode() if token in special else bytes(map(table.__getitem__, token))
    return tuple(pieces)


def _byte_of_character() -> dict[str, int]:
    """The alphabet of byte-level vocabularies.

    Printable bytes stand for themselves; the others, in order, are the characters from U+0100 on
    (GPT-2, Radford et al. 2019).
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(0x100 + i): byte for i, byte in enumerate(others)}
