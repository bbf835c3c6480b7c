"""Types: what a verdict may be, and what an episode's last reply is."""

import dataclasses
import math

import pytest

from rl.types import Action, Observation, Rollout, Turn, Verdict
from tests.rl.rewards import cases


@pytest.mark.parametrize("value", [0, 0.0, 0.5, 1, 1.0])
def test_values_are_floats_from_0_to_1(value):
    verdict = Verdict.of(value, "box", iou=0.5)
    assert (verdict.kind, verdict.value, verdict.details) == ("value", float(value), {"iou": 0.5})
    assert type(verdict.value) is float


@pytest.mark.parametrize("value", [-0.001, 1.001, 40.0, math.nan, math.inf, -math.inf])
def test_other_numbers_are_no_rewards(value):
    with pytest.raises(ValueError, match="a reward is a number from 0 to 1"):
        Verdict.of(value, "box")


def test_abstentions_and_errors_have_no_value():
    for make, kind in ((Verdict.abstain, "abstain"), (Verdict.error, "error")):
        verdict = make("box", "why")
        assert (verdict.kind, verdict.value, verdict.reason) == (kind, None, "why")


def test_the_reply_is_what_was_said_last():
    rollout = cases.rollout("4")
    assert rollout.reply == "<|begin_of_box|>4<|end_of_box|>"
    assert Rollout(cases.task(), ()).reply == ""
    later = Turn(Observation(()), Action("5"))
    assert dataclasses.replace(rollout, turns=(*rollout.turns, later)).reply == "5"


def test_nothing_can_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        cases.task().id = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Verdict.of(1.0, "box").value = 0.0
