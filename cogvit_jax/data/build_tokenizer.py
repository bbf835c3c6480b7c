"""Rebuilds the embedded vocabulary, byte for byte: `python -m cogvit_jax.data.build_tokenizer`.

The corpus is the captions of the embedded pictures and the bilingual word list in `assets`.
Made with sentencepiece 0.2.3.
"""

import io

import sentencepiece

from cogvit_jax.data.assets import TOKENIZER_PATH, WORDS_PATH
from cogvit_jax.data.embedded import all_text

VOCAB_SIZE = 3840
_PHRASES = {  # where a word of the list stands in a sentence
    "en": ("{}", "a {}", "the {}", "with {}"),
    "zh": ("{}", "一个{}", "有{}"),
}


def build() -> bytes:
    """Trains the byte-pair encoding and returns the serialised SentencePiece model."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        byte_fallback=True,
        character_coverage=1.0,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def corpus() -> list[str]:
    """Sentences in lower case, because captions are lowered before they are encoded."""
    words = WORDS_PATH.read_text(encoding="utf-8").split()
    phrases = (p.format(w) for w in words for p in _PHRASES["en" if w.isascii() else "zh"])
    return [text.lower() for text in (*all_text(), *phrases)]


if __name__ == "__main__":
    TOKENIZER_PATH.write_bytes(build())
    print(f"Wrote {TOKENIZER_PATH} ({TOKENIZER_PATH.stat().st_size} bytes, {VOCAB_SIZE} pieces)")
