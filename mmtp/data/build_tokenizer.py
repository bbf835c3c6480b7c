"""Rebuilds the embedded vocabulary, byte for byte: `python -m mmtp.data.build_tokenizer`.

A byte-level byte-pair encoding of what the embedded tasks say (`mmtp.data.tasks`), with GLM's
special tokens behind it. Every decimal digit is a token of its own, so that coordinates 0 ... 999
are read and written digit by digit. Made with tokenizers 0.23.3.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from mmtp.data.assets import TOKENIZER_PATH
from mmtp.data.tasks import sample_texts
from mmtp.data.tokenizer import OPTIONAL, REQUIRED

VOCAB_SIZE = 2048
SEED, PER_TASK = 0, 100
# Words with the space before them, single digits, line breaks, other signs, other space.
SPLIT = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
# Written by `serve` and by hand-written prompts rather than by the tasks.
EXTRA = (
    "You are a helpful assistant.",
    "Describe this picture.",
    "What is in this picture?",
    "Point at it.",
)


def build(texts: Iterable[str]) -> str:
    """Trains the byte-pair encoding and returns the content of a `tokenizer.json`."""
    special = [*REQUIRED, *OPTIONAL]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Added after training: their ids are the last ones, whatever the texts are.
    tokenizer.add_special_tokens(special)
    return tokenizer.to_str()


def corpus() -> list[str]:
    """What the vocabulary is made from."""
    return [*EXTRA, *sample_texts(SEED, PER_TASK)]


if __name__ == "__main__":
    TOKENIZER_PATH.write_text(build(corpus()), "utf-8")
    print(f"Wrote {TOKENIZER_PATH} ({TOKENIZER_PATH.stat().st_size} bytes, {VOCAB_SIZE} tokens)")
