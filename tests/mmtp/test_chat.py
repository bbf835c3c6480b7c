"""The conversation in the terminal, with a random model that has the embedded vocabulary."""

import dataclasses
import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from mmtp import chat
from tests.mmtp import tiny_vlm

OPTIONS = {"max_new_tokens": 8}


@pytest.fixture(scope="module")
def engine():
    return chat.begin(tiny_vlm.loaded(), OPTIONS, 160, num_draft=1).engine


@pytest.fixture
def conversation(engine):
    return chat.Conversation(tiny_vlm.loaded(), engine, OPTIONS)


@pytest.fixture
def picture(tmp_path):
    file = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file)
    return str(file)


def talk(conversation, *lines):
    out = io.StringIO()
    chat.talk(conversation, iter(lines), out)
    return out.getvalue().split("\n")


def test_pictures_and_turns_are_part_of_the_prompt(conversation, picture):
    talk(conversation, f"/image {picture}", f"/image {picture}", "What?", "", "And now?")
    roles = [m.role for m in conversation.messages]
    assert roles == ["user", "assistant"] * 2
    assert len(conversation.messages[0].parts) == 3
    assert [len(request.prompt.visuals) for request, _ in conversation.asked] == [2, 2]
    assert "acceptance length" in chat.report(conversation)


def test_reset_forgets_and_answers_as_at_first(conversation, picture):
    first, _, _, second, *_ = talk(
        conversation, "Hello", f"/image {picture}", "/reset", "Hello", "/quit", "not read"
    )
    assert len(conversation.asked) == 2
    assert first == second


def test_what_cannot_be_done_is_told_and_the_talk_goes_on(conversation, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    lines = talk(
        conversation,
        "/image none.png",
        "/dance",
        "long " * 300,
        f"/image {broken}",
        "What is this?",
        "/reset",
        "Hello",
    )
    assert "none.png" in lines[0]
    assert "/dance is not known" in lines[1]
    assert "max_length = 160" in lines[2]
    assert "error" in lines[4]
    assert len(conversation.asked) == 1


def test_the_command_answers_one_prompt(monkeypatch, capsys, picture):
    small = dataclasses.replace(tiny_vlm.loaded(), max_length=96)
    monkeypatch.setitem(sys.modules, "mmtp.run", SimpleNamespace(load=lambda path: small))
    given = {"checkpoint": "run", "image": [picture], "prompt": "What?", "max_tokens": 5}
    with flagsaver.flagsaver(**given):
        chat.main([])
    assert capsys.readouterr().out
    with flagsaver.flagsaver(**(given | {"image": ["none.png"]})), pytest.raises(SystemExit):
        chat.main([])


def test_flags_are_documented():
    assert all(flags.FLAGS[name].help for name in ("checkpoint", "image", "speculative"))
    assert sys.modules["mmtp.chat"].__doc__
