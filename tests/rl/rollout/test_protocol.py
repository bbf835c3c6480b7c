"""Random numbers of asks, and attempts that follow each other."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from mmtp.data.encoded import Encoded
from rl.rollout.protocol import Ask, Told, aborted, joined, random_words, refused, resume

PROMPT = Encoded(np.array([1, 2], np.int32), np.zeros(2, bool), (), 0, "p")
ASK = Ask("counting/2/000041#3", 1, 0, PROMPT, "counting/2/000041", max_new_tokens=9, seed=7)


def test_random_words_depend_on_run_sample_and_turn_alone():
    told = Told(ASK.sample, 1, 0, (4,), (-1.0,), (-1.5,), (3,), "abort")
    words = random_words(ASK)
    assert words == random_words(resume(ASK, told))
    assert words == random_words(dataclasses.replace(ASK, temperature=0.5, group="other"))
    others = [{"seed": 8}, {"turn": 2}, {"sample": "counting/2/000041#4"}]
    found = {random_words(dataclasses.replace(ASK, **change)) for change in others}
    assert len(found | {words}) == 4
    assert 0 <= words[0] < 2**64
    assert 0 <= words[1] < 2**32


def test_random_words_are_equal_in_every_process():
    code = (
        "from rl.rollout.protocol import *; "
        f"print(random_words(Ask({ASK.sample!r}, 1, 0, None, '', max_new_tokens=1, seed=7)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(random_words(ASK))


def test_attempts_add_up():
    assert resume(ASK, aborted(ASK)).done is None
    first = Told(ASK.sample, 1, 0, (4,), (-1.0,), (-1.5,), (3,), "abort", (1, 2, 0))
    second = resume(ASK, first)
    assert (second.attempt, second.done) == (1, first)
    new = Told(ASK.sample, 1, 1, (5, 6), (-2.0, -3.0), (-2.5, -3.5), (4, 4), "stop", (1, 2, 1))
    assert joined(second, new) == Told(
        ASK.sample,
        1,
        1,
        (4, 5, 6),
        (-1.0, -2.0, -3.0),
        (-1.5, -2.5, -3.5),
        (3, 4, 4),
        "stop",
        (2, 4, 1),
    )
    assert joined(ASK, new) == new
    ended = aborted(second)
    assert (ended.tokens, ended.attempt, ended.finish_reason) == ((4,), 1, "abort")
    told = refused(second, "too long")
    assert (told.tokens, told.finish_reason, told.error) == ((4,), "error", "too long")


def test_asks_and_what_was_told_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ASK.turn = 2  # type: ignore
