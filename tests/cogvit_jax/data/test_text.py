"""Tokenizers: round trips, sticky eos, the user's own vocabulary and clear errors."""

import io
import pickle

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvit_jax.data.assets import TOKENIZER_PATH
from cogvit_jax.data.build_tokenizer import VOCAB_SIZE, build
from cogvit_jax.data.embedded import all_text
from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.data.text import load_tokenizer, tokenize

EMBEDDED = load_tokenizer()


def _write_hugging_face(path, special, **enable):
    tokenizers = pytest.importorskip("tokenizers")
    processor = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    processor.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    processor.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    processor.train_from_iterator(all_text(), trainer)
    if enable:
        processor.enable_truncation(3)
        processor.enable_padding(length=20, **enable)
    processor.save(str(path))
    return str(path)


def _write_sentencepiece(path, **ids):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(all_text()), model_writer=model, model_type="bpe", vocab_size=700,
        minloglevel=2, **ids,
    )  # fmt: skip
    path.write_bytes(model.getvalue())
    return str(path)


def test_embedded_vocabulary_is_rebuilt_byte_for_byte():
    assert build() == TOKENIZER_PATH.read_bytes()
    assert len(build()) <= 60_000


def test_embedded_ids_are_those_of_gemma():
    processor = EMBEDDED.processor
    ids = (EMBEDDED.pad_id, EMBEDDED.eos_id, processor.bos_id(), processor.unk_id())
    assert ids == (0, 1, 2, 3)
    assert EMBEDDED.vocab_size == VOCAB_SIZE


@pytest.mark.parametrize(
    "text",
    ["", " ", "a  b\n\tc ", "齉龘𠮷", "🦖👩🏽‍🚀", "Ünïcode", "<eos></s><pad>", "x\0y", "①Ａ"],
)
def test_embedded_round_trip_is_exact(text):
    ids = EMBEDDED.encode(text)
    assert EMBEDDED.decode(ids) == text
    assert min(ids, default=4) >= 4  # no special token, not even unknown


# Surrogates are no text; U+2581 is how SentencePiece writes a space.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"))


@settings(max_examples=200)
@given(_TEXT)
def test_embedded_round_trip_of_any_text(text):
    assert EMBEDDED.decode(EMBEDDED.encode(text)) == text


@pytest.mark.parametrize(
    "text",
    ["a woman in a yellow shirt holding an umbrella", "two dogs running on the beach at sunset"],
)
def test_ordinary_english_takes_about_a_token_per_word(text):
    assert len(EMBEDDED.encode(text)) <= 1.25 * len(text.split())


@pytest.mark.parametrize(
    "text", ["照片里有一个穿红色衬衫的女人站在桥上", "三只白色的鸭子在湖上游泳"]
)
def test_ordinary_chinese_takes_less_than_a_token_per_character(text):
    assert len(EMBEDDED.encode(text)) <= 0.9 * len(text)


def test_digits_are_split():
    assert len(EMBEDDED.encode("1234567")) >= 7


@settings(max_examples=100)
@given(_TEXT, st.integers(1, 24))
def test_tokenize_is_lower_case_with_sticky_eos_and_padding(text, length):
    row = tokenize(EMBEDDED, text, length)
    ids = EMBEDDED.encode(text.lower())
    kept = min(len(ids), length - 1)
    assert row.dtype == np.int32
    assert row.shape == (length,)
    assert row[:kept].tolist() == ids[:kept]
    assert row[kept] == EMBEDDED.eos_id
    assert np.all(row[kept + 1 :] == EMBEDDED.pad_id)
    assert EMBEDDED.decode(row) == EMBEDDED.decode(ids[:kept])


def test_tokenize_ignores_case():
    np.testing.assert_array_equal(tokenize(EMBEDDED, "A Cat", 8), tokenize(EMBEDDED, "a cat", 8))


def test_tokenize_refuses_what_it_cannot_encode():
    with pytest.raises(ValueError, match="length 0"):
        tokenize(EMBEDDED, "a", 0)
    with pytest.raises(CorruptRecord, match="surrogates"):
        tokenize(EMBEDDED, "half an emoji \ud83d", 8)


def test_users_sentencepiece_model(tmp_path):
    path = _write_sentencepiece(tmp_path / "own.model", pad_id=5, eos_id=6, bos_id=0, unk_id=1)
    tokenizer = load_tokenizer(path)
    assert (tokenizer.vocab_size, tokenizer.pad_id, tokenizer.eos_id) == (700, 5, 6)
    assert tokenize(tokenizer, "a cat", 12)[-1] == 5


def test_hugging_face_json(tmp_path):
    path = _write_hugging_face(tmp_path / "tokenizer.json", ["<pad>", "</s>"])
    tokenizer = load_tokenizer(path)
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.vocab_size) == (0, 1, 400)
    text = "一只猫 a cat 🦖 </s>"
    for processor in (tokenizer, pickle.loads(pickle.dumps(tokenizer))):
        ids = processor.encode(text)
        assert processor.decode(ids) == text
        assert not {0, 1} & set(ids)


def test_hugging_face_own_length_and_padding_do_not_interfere(tmp_path):
    # Here "[UNK]" pads, which only the padding section of the file tells.
    special = ["<eos>", "[UNK]"]
    path = _write_hugging_face(tmp_path / "a.json", special, pad_id=1, pad_token="[UNK]")
    tokenizer = load_tokenizer(path)
    assert (tokenizer.pad_id, tokenizer.eos_id) == (1, 0)
    text = "a photographer in a dark coat on a lawn"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.pad_id not in tokenizer.encode("a")


def test_tokenizers_pickle():
    copy = pickle.loads(pickle.dumps(EMBEDDED))
    assert copy.encode("手写的 seven") == EMBEDDED.encode("手写的 seven")
    assert (copy.pad_id, copy.eos_id) == (0, 1)


def test_special_tokens_must_exist(tmp_path):
    path = _write_sentencepiece(tmp_path / "t5.model", pad_id=-1, eos_id=-1)
    with pytest.raises(ValueError, match=r"t5\.model' has no pad and no eos token.*--pad_id=0"):
        load_tokenizer(path)
    path = _write_hugging_face(tmp_path / "gpt.json", ["<|endoftext|>"])
    with pytest.raises(ValueError, match=r"gpt\.json' has no pad token.*<pad>"):
        load_tokenizer(path)


@pytest.mark.parametrize("name", ["x.model", "x.json"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\0{"])
def test_corrupt_file_is_named(tmp_path, name, content):
    if name.endswith("json"):
        pytest.importorskip("tokenizers")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}' \({len(content)} bytes\).*Accepted"):
        load_tokenizer(str(tmp_path / name))


def test_truncated_model_is_named(tmp_path):
    (tmp_path / "half.model").write_bytes(TOKENIZER_PATH.read_bytes()[:30_000])
    with pytest.raises(ValueError, match=r"half\.model' \(30000 bytes\)"):
        load_tokenizer(str(tmp_path / "half.model"))


def test_missing_or_unknown_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.model' is not a file\. Accepted"):
        load_tokenizer(str(tmp_path / "none.model"))
    with pytest.raises(ValueError, match=r"vocab\.txt' has an unknown ending '\.txt'\. Accepted"):
        load_tokenizer(str(tmp_path / "vocab.txt"))
