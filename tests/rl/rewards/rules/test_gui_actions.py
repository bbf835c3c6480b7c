"""Step rewards of actions: numbers by hand, no steps in the distance, and nothing for nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers import gui
from rl.answers.gui_family import (
    Answer,
    Click,
    Drag,
    Finish,
    Press,
    Scroll,
    Wait,
    Write,
    to_json,
)
from rl.rewards.rules import gui_actions as rules

BOX = (100, 100, 200, 200)


def _reference(dialect, action, box=None):
    return {"dialect": dialect, "actions": [{"action": to_json(action), "box": box}]}


@pytest.mark.parametrize(
    ("d", "value"), [(0, 1), (10, 0.9), (20, 0.8), (35, 0.4), (50, 0), (500, 0), (math.inf, 0)]
)
def test_distance_by_hand(d, value):
    assert rules.near(d) == pytest.approx(value)


def test_distance_has_no_step():
    d = np.arange(0, 60, 0.01)
    values = np.array([rules.near(float(x)) for x in d])
    assert np.abs(np.diff(values)).max() < 0.001
    assert (np.diff(values) <= 0).all()


def test_texts_by_hand():
    assert rules.longest_common("", "") == 1
    assert rules.longest_common("abcd", "abxd") == 0.75
    assert rules.typed("", "") == 1
    assert rules.typed("", "abc") == 0
    # edit 1 - 2/8; pairs: 4 in common, 8 in the union by hand -> .45 + .4 * 4/10
    assert rules.typed("555-0142", "555-0178") == pytest.approx(0.6 * 0.75 + 0.4 * 5 / 9)
    assert rules.typed("abab" * 50, "abab") < 0.1  # saying it again and again
    assert rules.typed("a", "ab") == pytest.approx(0.6 * 0.5)


def test_android_world_by_hand():
    rule = rules.android_world
    assert rule(Click(BOX), Click(BOX)) == 1
    assert rule(Click((100, 100, 200, 180)), Click(BOX)) == pytest.approx(0.8)
    assert rule(Click((100, 100, 200, 149)), Click(BOX)) == 0
    assert rule(Click((0, 0, 999, 999)), Click(BOX)) == 0
    assert rule(Click(BOX, "long"), Click(BOX)) == 0
    assert rule(Write("Anna", BOX, True), Write("Anna", BOX, False)) == 0
    assert rule(Write("", BOX), Write("Anna", BOX)) == 0
    assert rule(Scroll("down"), Scroll("up")) == 0
    assert rule(Scroll("down", BOX), Scroll("down")) == 0
    assert rule(Wait(), Wait()) == 0
    assert rule(Finish(True), Click(BOX)) == 0
    assert rule(Finish(False), Finish(True)) == 0
    assert rule(Finish(True), Finish(True)) == 1


def test_os_world_by_hand():
    rule = rules.os_world
    assert rule(Click((150, 150)), Click((150, 150)), BOX) == 1
    assert rule(Click((160, 150)), Click((150, 150)), BOX) == pytest.approx(0.9)
    assert rule(Click((199, 101)), Click((150, 150)), BOX) == 0.8
    assert rule(Click((201, 150)), Click((150, 150)), BOX) == 0
    assert rule(Click((185, 150)), Click((150, 150))) == pytest.approx(0.4)
    assert rule(Click((150, 150), "right"), Click((150, 150)), BOX) == 0
    drag = Drag((0, 0), (100, 100))
    assert rule(drag, drag) == 1
    assert rule(Drag((0, 10), (100, 120)), drag) == pytest.approx(math.sqrt(0.9 * 0.8))
    assert rule(Drag((0, 0), (900, 100)), drag) == 0
    assert rule(Write("Anna"), Write("Anna")) == 1
    assert rule(Write("Anne"), Write("Anna")) == 0
    assert rule(Press("ctrl+a"), Press("ctrl+a")) == 1
    assert rule(Press("ctrl+c"), Press("ctrl+a")) == 0
    assert rule(Wait(), Wait()) == rule(Finish(True), Wait()) == rule(Finish(True), drag) == 0


def test_web_voyager_by_hand():
    rule = rules.web_voyager
    assert rule(Click((3,)), Click((3,))) == 1
    assert rule(Click((4,)), Click((3,))) == 0
    assert rule(Write("tea", (3,), True), Click((3,))) == 0
    assert rule(Write("green tea", (3,), True), Write("green te", (3,), True)) == pytest.approx(
        8 / 9
    )
    assert rule(Write("", (3,), True), Write("tea", (3,), True)) == 0
    assert rule(Answer("42"), Answer("42")) == 1
    assert rule(Answer("4"), Answer("42")) == 0
    assert rule(Wait(), Wait()) == 0


def test_best_of_several():
    several = {
        "dialect": "web",
        "actions": [{"action": to_json(Click((n,))), "box": None} for n in (3, 5)],
    }
    assert rules.step("Click [5]", several) == 1
    assert rules.step("Click [4]", several) == 0


@pytest.mark.parametrize("dialect", gui.DIALECTS)
@pytest.mark.parametrize(
    "answer",
    [
        "",
        "DONE()",
        "WAIT()",
        "Wait",
        '{"action_type": "wait"}',
        '{"action_type": "status", "goal_status": "complete"}',
        "__import__('os').getpid()",
        "left_click(start_box='[nan,nan]')",
        "left_click(start_box='[0,0,999,999]', element_info='')",
        "left_click(start_box='[150,150]', element_info='') DONE()",
        '{"action_type": "click", "box_2d": [[0, 0, 999, 999]]}',
        '{"action_type": "click", "box_2d": [[200, 200, 100, 100]]}',
        "Click [1] Click [2] Click [3]",
        "[" * 3000,
        "9" * 1_000_000,
    ],
)
def test_attacks(dialect, answer):
    wanted = {"mobile": Click(BOX), "pc": Click((150, 150)), "web": Click((3,))}[dialect]
    assert rules.step(answer, _reference(dialect, wanted, list(BOX))) == 0


@pytest.mark.parametrize("dialect", gui.DIALECTS)
def test_never_raises(dialect):
    wanted = {"mobile": Write("x", BOX), "pc": Write("x"), "web": Write("x", (3,), True)}[dialect]

    @settings(max_examples=60, database=None)
    @given(st.one_of(st.text(), st.text(max_size=5).map(lambda t: gui_text(dialect, t))))
    def check(answer):
        assert 0 <= rules.step(answer, _reference(dialect, wanted)) <= 1

    check()


def gui_text(dialect, text):
    forms = {
        "mobile": '{"action_type": "input_text", "text": "%s", "box_2d": [[100,100,200,200]]}',
        "pc": "type(content='%s')",
        "web": "Type [3]; [%s]",
    }
    return forms[dialect] % text
