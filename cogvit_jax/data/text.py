"""Captions to token ids, with the embedded bilingual vocabulary or the user's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import tokenizers
from jaxtyping import Int, Int32

from cogvit_jax.data.assets import TOKENIZER_PATH
from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.data.text_packing import pad_texts

_ACCEPTED = (
    "Accepted: '' (the embedded bilingual vocabulary), a SentencePiece '*.model' or "
    "a Hugging Face 'tokenizer.json'."
)
_EOS_NAMES = ("<eos>", "</s>", "<|endoftext|>", "[SEP]")
_PAD_NAMES = ("<pad>", "[PAD]", "<|pad|>")


@dataclass(frozen=True)
class SentencePieceTokenizer:
    """A SentencePiece vocabulary; pickles, so that loader workers can hold it."""

    processor: sentencepiece.SentencePieceProcessor
    vocab_size: int
    pad_id: int
    eos_id: int

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without special tokens."""
        return self.processor.encode(text, add_bos=False, add_eos=False)

    def decode(self, ids: list[int] | Int[np.ndarray, "n"]) -> str:
        """The text of `ids`; special tokens leave nothing behind."""
        return self.processor.decode([int(i) for i in ids])


@dataclass(frozen=True)
class HuggingFaceTokenizer:
    """A Hugging Face fast tokenizer; pickles, so that loader workers can hold it."""

    processor: tokenizers.Tokenizer
    vocab_size: int
    pad_id: int
    eos_id: int

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without special tokens."""
        # Off after unpickling, and then a caption that spells "<eos>" would become the token.
        self.processor.encode_special_tokens = True
        return self.processor.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int] | Int[np.ndarray, "n"]) -> str:
        """The text of `ids`; special tokens leave nothing behind."""
        return self.processor.decode([int(i) for i in ids], skip_special_tokens=True)


Tokenizer = SentencePieceTokenizer | HuggingFaceTokenizer


def load_tokenizer(path: str = "") -> Tokenizer:
    """Loads a vocabulary.

    Args:
        path: "" for the embedded default; a SentencePiece `*.model`, such as Gemma's for parity
            with SigLIP 2; or a Hugging Face `tokenizer.json`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, a corrupt one, or one without a pad or eos token.
        ImportError: a `*.json` without the `tokenizers` package.
    """
    file = Path(path) if path else TOKENIZER_PATH
    if file.suffix not in (".model", ".json"):
        raise ValueError(f"Tokenizer '{path}' has an unknown ending '{file.suffix}'. {_ACCEPTED}")
    if not file.is_file():
        raise FileNotFoundError(f"Tokenizer '{path}' is not a file. {_ACCEPTED}")
    return _load_sentencepiece(file) if file.suffix == ".model" else _load_hugging_face(file)


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text as SigLIP 2 writes it: lower case, no bos, eos at the end.

    There is no Unicode normalisation beyond what the vocabulary itself does. Lower case is
    Unicode's; SigLIP 2 was trained with ASCII's, so capitals outside ASCII may differ.

    Raises:
        CorruptRecord: the text is not valid Unicode (a lone surrogate).
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CorruptRecord(f"Text {text!r} is not valid Unicode: {error.reason}.") from error
    return [*tokenizer.encode(text.lower()), tokenizer.eos_id]


def tokenize(tokenizer: Tokenizer, text: str, length: int) -> Int32[np.ndarray, "length"]:
    """The ids of `token_ids` padded to `length`; a text that is too long is cut before its eos.

    Raises:
        ValueError: `length` below 1.
        CorruptRecord: the text is not valid Unicode.
    """
    if length < 1:
        raise ValueError(f"Text length {length} leaves no room for eos. Use at least 1.")
    return pad_texts([token_ids(tokenizer, text)], length, tokenizer.pad_id)["tokens"][0]


def _load_sentencepiece(file: Path) -> SentencePieceTokenizer:
    if not (model := file.read_bytes()):
        raise _corrupt(file, "it is empty")
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise _corrupt(file, error) from error
    pad_id, eos_id = processor.pad_id(), processor.eos_id()
    _check_special(file, pad_id, eos_id, "Train it with --pad_id=0 --eos_id=1.")
    return SentencePieceTokenizer(processor, processor.get_piece_size(), pad_id, eos_id)


def _load_hugging_face(file: Path) -> HuggingFaceTokenizer:
    try:
        processor = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises a bare Exception
        raise _corrupt(file, error) from error
    pad_id = _first_known(processor, _PAD_NAMES)
    if processor.padding:
        pad_id = processor.padding["pad_id"]
    eos_id = _first_known(processor, _EOS_NAMES)
    _check_special(
        file, pad_id, eos_id, f"Add a special token out of {_PAD_NAMES} and {_EOS_NAMES}."
    )
    # A file may fix its own length and padding, which would come before ours.
    processor.no_truncation()
    processor.no_padding()
    size = 1 + max(processor.get_vocab(with_added_tokens=True).values())
    return HuggingFaceTokenizer(processor, size, pad_id, eos_id)


def _first_known(processor: Any, names: tuple[str, ...]) -> int:
    """The id of the first of `names` in the vocabulary; -1 where there is none."""
    ids = (processor.token_to_id(name) for name in names)
    return next((i for i in ids if i is not None), -1)


def _check_special(file: Path, pad_id: int, eos_id: int, remedy: str) -> None:
    missing = [name for name, i in (("pad", pad_id), ("eos", eos_id)) if i < 0]
    if missing:
        raise ValueError(f"Tokenizer '{file}' has no {' and no '.join(missing)} token. {remedy}")


def _corrupt(file: Path, reason: object) -> ValueError:
    return ValueError(
        f"Tokenizer '{file}' ({file.stat().st_size} bytes) cannot be read: {reason}. {_ACCEPTED}"
    )
