import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.settings import ConfigError
from mmtp.data.chat import ChatSettings
from mmtp.data.documents import encode, encode_prompt, stop_tokens
from mmtp.data.images import ImageSettings
from mmtp.data.records import CATEGORIES, Document, Image, Message, Text, Video
from mmtp.data.tokenizer import load_tokenizer

TOKENIZER = load_tokenizer()
SIZES = ImageSettings(min_patches=4)
PICTURE = Image(np.zeros((28, 56, 3), np.uint8))  # two placeholders
OFF = ChatSettings(thinking=False)
BOI, EOI = "<|begin_of_image|>", "<|end_of_image|>"


def document(*messages, category="ocr"):
    return Document("page/7", category, messages)


def ask(*parts):
    return Message("user", tuple(Text(p) if isinstance(p, str) else p for p in parts))


def answer(text, thinking=""):
    return Message("assistant", (Text(text),), thinking)


def spelled(tokens):
    return TOKENIZER.decode(tokens, skip_special=False)


def test_a_conversation():
    found = encode(
        document(ask(PICTURE, "Which?"), answer("7")), TOKENIZER, SIZES, "assistant", OFF
    )
    assert spelled(found.tokens) == (
        f"[gMASK]<sop><|user|>\n{BOI}<|image|><|image|>{EOI}Which?/nothink<|assistant|>\n"
        "<think></think>\n7<|endoftext|>"
    )
    assert spelled(found.tokens[found.supervised]) == "7<|endoftext|>"
    assert [(v.start, v.grid, v.video) for v in found.visuals] == [(5, (2, 4), -1)]
    assert found.visuals[0].patches.shape == (8, 588)
    assert (found.category, found.id) == (CATEGORIES.index("ocr"), "page/7")
    assert found.tokens.dtype == np.int32


def test_all_text_is_supervised_and_no_placeholder():
    found = encode(document(ask(PICTURE, "Which?"), answer("7")), TOKENIZER, SIZES)
    np.testing.assert_array_equal(found.supervised, found.tokens != TOKENIZER.id("<|image|>"))
    assert found.supervised.sum() == len(found.tokens) - 2


def test_the_end_of_every_turn_is_supervised():
    turns = (ask("a"), answer("b"), ask("c"), answer("d"))
    found = encode(document(*turns), TOKENIZER, SIZES, "assistant", OFF)
    assert spelled(found.tokens[found.supervised]) == "b<|user|>d<|endoftext|>"


@pytest.mark.parametrize("style", ["glm_ocr", "glm_4_1v"])
@pytest.mark.parametrize("thinking", [None, True, False])
@settings(max_examples=20)
@given(question=st.text(), reply=st.text().filter(str.strip))
def test_a_prompt_is_the_beginning_and_all_that_follows_is_supervised(
    style, thinking, question, reply
):
    chat_settings = ChatSettings(style, thinking)
    messages = (ask("x" + question, PICTURE), answer(reply))
    prompt = encode_prompt(messages[:1], TOKENIZER, SIZES, chat_settings)
    whole = encode(document(*messages), TOKENIZER, SIZES, "assistant", chat_settings)
    size = len(prompt.tokens)
    np.testing.assert_array_equal(whole.tokens[:size], prompt.tokens)
    np.testing.assert_array_equal(whole.supervised, np.arange(len(whole.tokens)) >= size)
    assert not prompt.supervised.any()
    assert [v.start for v in prompt.visuals] == [v.start for v in whole.visuals]


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["<|image|>", "<|user|>", "<think>", "</think>", "a", " ", "é"])))
def test_no_text_adds_a_turn_or_a_placeholder(pieces):
    words = "".join(pieces)
    found = encode(document(ask("x", words), answer("y" + words)), TOKENIZER, SIZES)
    tokens = found.tokens.tolist()
    assert [tokens.count(TOKENIZER.id(n)) for n in ("<|image|>", "<|user|>", "<think>")] == [
        0,
        1,
        1,
    ]


def test_tokens_do_not_depend_on_how_text_is_cut_into_parts():
    whole = encode(document(ask("What is this?"), answer("b")), TOKENIZER, SIZES)
    parts = encode(document(ask("Wh", "at is", " this?"), answer("b")), TOKENIZER, SIZES)
    np.testing.assert_array_equal(whole.tokens, parts.tokens)


def test_a_video():
    video = Video(tuple(np.full((28, 28, 3), v, np.uint8) for v in (1, 2)), (0.0, 2.5))
    found = encode(
        document(ask(PICTURE, video, "What?"), answer("b")), TOKENIZER, SIZES, "all", OFF
    )
    assert (
        f"<|begin_of_video|>{BOI}<|image|>{EOI}0.0 seconds{BOI}<|image|>{EOI}2.5 seconds"
        "<|end_of_video|>What?" in spelled(found.tokens)
    )
    assert [v.video for v in found.visuals] == [-1, 0, 0]
    image = TOKENIZER.id("<|image|>")
    assert all(
        (found.tokens[v.start : v.start + v.num_tokens] == image).all() for v in found.visuals
    )


@pytest.mark.parametrize("supervise", ["all", "assistant"])
def test_a_plain_document_has_no_turns_and_is_learnt_whole(supervise):
    plain = Message("", (Text("a cat "), PICTURE, Text("sat")))
    found = encode(document(plain), TOKENIZER, SIZES, supervise)
    expected = f"[gMASK]<sop>a cat {BOI}<|image|><|image|>{EOI}sat<|endoftext|>"
    assert spelled(found.tokens) == expected
    assert "a cat sat<|endoftext|>" in TOKENIZER.decode(
        found.tokens[found.supervised], False
    ).replace(BOI + EOI, "")
    prompt = encode_prompt([plain], TOKENIZER, SIZES)
    np.testing.assert_array_equal(prompt.tokens, found.tokens[:-1])


def test_long_text_is_cut_and_long_pictures_are_not():
    text = document(Message("", (Text("one two three " * 50),)))
    found = encode(text, TOKENIZER, SIZES, max_tokens=20)
    np.testing.assert_array_equal(found.tokens, encode(text, TOKENIZER, SIZES).tokens[:20])
    assert len(found.supervised) == 20
    with pytest.raises(CorruptRecord, match=r"page/7: \d+ tokens with pictures exceed 6"):
        encode(document(ask(PICTURE, "a"), answer("b")), TOKENIZER, SIZES, max_tokens=6)


def truncated_png():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Pillow.fromarray(noise).save(file, "PNG")
    return file.getvalue()[:4000]


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        (document(ask("a"), answer("b"), category="cats"), "unknown category 'cats'"),
        (document(ask(""), answer(" ")), "is empty"),
        (document(), "is empty"),
        (document(ask("a")), "no assistant's turn"),
        (document(Message("robot", (Text("a"),))), "unknown role 'robot'"),
        (document(ask(Image(b"<html>404</html>")), answer("b")), "undecodable picture"),
        (document(ask(Image(truncated_png())), answer("b")), "undecodable picture"),
        (document(ask("\ud800"), answer("b")), "not valid Unicode"),
    ],
)
def test_faults_name_the_document(broken, match):
    with pytest.raises(CorruptRecord, match=f"page/7: .*{match}"):
        encode(broken, TOKENIZER, SIZES, "assistant")


def test_unknown_supervision():
    with pytest.raises(ConfigError, match=r"config\.data\.supervise = 'answers'"):
        encode(document(ask("a")), TOKENIZER, SIZES, "answers")


def test_stops():
    assert spelled(stop_tokens(TOKENIZER)) == "<|endoftext|><|user|><|observation|>"
