import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Processor

from cogvit_jax.data.records import CorruptRecord
from mmtp.data import build_tokenizer
from mmtp.data.assets import TOKENIZER_PATH
from mmtp.data.tokenizer import OPTIONAL, REQUIRED, StreamDecoder, from_json, load_tokenizer

SPELLED = "".join((*REQUIRED, *OPTIONAL)) + " a <|user|>\n<think>/nothink"


TOKENIZER = load_tokenizer()
UNPICKLED = pickle.loads(pickle.dumps(TOKENIZER))


@pytest.fixture
def tokenizer():
    return TOKENIZER


def released_like(**changes):
    """The embedded file as released ones are: <think> and the like are not marked special."""
    content = json.loads(TOKENIZER_PATH.read_text())
    for token in content["added_tokens"]:
        token["special"] = token["content"] in REQUIRED
    return json.dumps(content | changes)


@settings(max_examples=100)
@given(st.text() | st.lists(st.sampled_from([*REQUIRED, *OPTIONAL, "é", "🎉", " ", "\n"])))
def test_round_trip_without_special_tokens(text):
    text = "".join(text)
    for copy in (TOKENIZER, UNPICKLED):
        ids = copy.encode(text)
        assert copy.decode(ids) == text
        assert not set(ids) & set(copy.special.values())


def test_no_injection_from_files_that_call_think_ordinary():
    tokenizer = from_json(released_like())
    plain = Processor.from_str(released_like())
    assert set(plain.encode(SPELLED).ids) & set(tokenizer.special.values())
    for copy in (tokenizer, pickle.loads(pickle.dumps(tokenizer))):
        assert not set(copy.encode(SPELLED)) & set(copy.special.values())
        assert copy.decode(copy.encode(SPELLED)) == SPELLED


@settings(max_examples=100)
@given(st.lists(st.integers(0, 2047), max_size=30))
def test_streamed_is_decoded(ids):
    for skip in (True, False):
        stream = StreamDecoder(TOKENIZER, skip)
        pieces = [stream.push(i) for i in ids] + [stream.finish()]
        assert "".join(pieces) == TOKENIZER.decode(ids, skip)
    # Independent: the package's own decoder, which also replaces what is no UTF-8.
    assert TOKENIZER.decode(ids) == TOKENIZER.processor.decode(ids, skip_special_tokens=True)


def test_stream_waits_for_whole_characters(tokenizer):
    ids = tokenizer.encode("🎉")
    stream = StreamDecoder(tokenizer)
    assert len(ids) > 1
    assert [stream.push(i) for i in ids] == [""] * (len(ids) - 1) + ["🎉"]
    assert stream.push(ids[0]) == ""
    assert stream.finish() == "\ufffd"


def test_special_tokens_show_only_where_asked(tokenizer):
    ids = [tokenizer.id("<think>"), *tokenizer.encode("so"), tokenizer.id("<|user|>")]
    assert tokenizer.decode(ids) == "so"
    assert tokenizer.decode(ids, skip_special=False) == "<think>so<|user|>"


def test_every_digit_is_one_token(tokenizer):
    ids = tokenizer.encode("[104,999]")
    assert [tokenizer.decode([i]) for i in ids] == [*"[104,999]"]


def test_errors(tokenizer, tmp_path):
    with pytest.raises(ValueError, match=r"no special token '<\|sep\|>'"):
        tokenizer.id("<|sep|>")
    with pytest.raises(ValueError, match=r"2048 is outside of the vocabulary, 0 ... 2047"):
        tokenizer.decode([2048])
    with pytest.raises(CorruptRecord, match="not valid Unicode"):
        tokenizer.encode("\ud800")
    added = [t for t in json.loads(TOKENIZER_PATH.read_text())["added_tokens"] if t["id"] != 2024]
    with pytest.raises(ValueError, match=r"lacks the special tokens <\|user\|>"):
        from_json(released_like(added_tokens=added))
    with pytest.raises(ValueError, match="not ByteLevel"):
        from_json(released_like(decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}))
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json is not a file"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json': its decoder"):
        load_tokenizer(str(tmp_path))


def test_a_files_own_truncation_does_not_count():
    truncation = {"max_length": 2, "stride": 0, "strategy": "LongestFirst", "direction": "Right"}
    tokenizer = from_json(released_like(truncation=truncation))
    assert (
        tokenizer.decode(tokenizer.encode("one two three four five")) == "one two three four five"
    )


@pytest.mark.slow
def test_embedded_file_is_rebuilt_byte_for_byte(tokenizer):
    assert build_tokenizer.build(build_tokenizer.corpus()) == TOKENIZER_PATH.read_text("utf-8")
    assert TOKENIZER_PATH.stat().st_size < 200_000
    assert tokenizer.vocab_size == build_tokenizer.VOCAB_SIZE
