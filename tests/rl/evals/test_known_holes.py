"""Holes that were found in public verifiers, each tried on the rule that stands in its place."""

import threading
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from rl.envs import CATEGORIES
from rl.evals.audit import draw, go_on, judge
from rl.rewards import isolate
from rl.rewards.rules import (
    boxes,
    choice,
    code_tests,
    counts,
    gui_actions,
    math_equal,
    pictures,
    points,
    relaxed,
    tables,
    text,
)
from rl.types import Rollout, VerifierFailed

BOX = {"box": [100, 100, 300, 300]}
TINY = {"box": [100, 100, 101, 101]}
CLICK = {
    "dialect": "pc",
    "actions": [{"action": {"kind": "Click", "at": [500, 500], "how": "left"}, "box": None}],
}
MANY = ",".join(f"[{x},{y}]" for x in range(5, 1000, 110) for y in range(5, 1000, 110))
SQUARE = [[[100, 100], [300, 100], [300, 300], [100, 300]]]
OPTIONS = {"answer": 1, "options": ["boat", "car", "bus", "bicycle"]}
RECT = '<rect x="10" y="10" width="20" height="20" fill="#dc1e24"/>'
SVG = {
    "code": f'<svg viewBox="0 0 56 56">{RECT}</svg>',
    "size": [56, 56],
}
PAGE = {"code": "<body><h1>Boats</h1><button>Go</button></body>", "width": 224, "language": "en"}

CASES = [
    # GLM-V's reward package
    ("2 is not 2.0", math_equal.exact, "2.0", {"answer": "2"}, 1),
    ("12 is not 12.0", relaxed.relaxed, "12.0", {"answer": "12"}, 1),
    ("OCR: both empty divides by zero", text.transcription, "", {"answers": ["a"]}, 0),
    ("a count of ² raises", counts.count, "²", {"answer": 2}, 0),
    ("actions are evaluated", gui_actions.step, "__import__('os').getpid()", CLICK, 0),
    ("actions are evaluated, in a call", gui_actions.step,
     "left_click(start_box=str([500,500]), element_info='')", CLICK, 0),
    # NeMo-RL
    ("NaN box", boxes.box, "[nan,nan,nan,nan]", BOX, 0),
    ("NaN box in JSON", boxes.box, "[NaN,NaN,NaN,NaN]", BOX, 0),
    ("infinite box", boxes.box, "[0.1,0.1,inf,inf]", BOX, 0),
    ("box reversed on both axes", boxes.box, "[300,300,100,100]", BOX, 0),
    ("box reversed on one axis", boxes.box, "[300,100,100,300]", BOX, 0),
    ("15 for 1.5", text.alias, "15", {"answers": ["1.5"]}, 0),
    ("3 for -3", text.alias, "3", {"answers": ["-3"]}, 0),
    # RefCOCO
    ("the first four numbers anywhere", boxes.box, "The box is 100, 100 to 300, 300.", BOX, 0),
    ("equal boxes of one pixel", boxes.box, "[100,100,101,101]", TINY, 1),
    ("empty box divides by zero", boxes.box, "[100,100,100,100]", BOX, 0),
    ("whole picture", boxes.box, "[0,0,999,999]", BOX, 0),
    # PointBench, Where2Place
    ("points everywhere", points.on_each, MANY, {"masks": [SQUARE]}, 0),
    ("points everywhere, for a place", points.free_place, MANY,
     {"region": SQUARE[0], "taken": []}, 0),
    # OSWorld, AndroidWorld
    ("DONE is always worth 1", gui_actions.step, "DONE()", CLICK, 0),
    ("WAIT is always worth 1", gui_actions.step, "WAIT()", CLICK, 0),
    ("FAIL is always worth 1", gui_actions.step, "FAIL()", CLICK, 0),
    # MVBench and other multiple choice
    ("nothing", choice.choice, "", OPTIONS, 0),
    ("a bracket", choice.choice, "(", OPTIONS, 0),
    ("a full stop", choice.choice, ".", OPTIONS, 0),
    ("all options", choice.choice, "(A)(B)(C)(D)", OPTIONS, 0),
    ("a letter in a sentence", choice.choice, "I would say B or C", OPTIONS, 0),
    # ChartQA
    ("0 is not 0.0", relaxed.relaxed, "0.0", {"answer": "0"}, 1),
    ("5 is not 5%", relaxed.relaxed, "5%", {"answer": "5", "units": ["%"]}, 1),
    ("2000 is near the year 2020", relaxed.relaxed, "2000", {"answer": "2020"}, 0),
    # OCRBench
    ("everything is printed", text.exact, "a b c d boat e f", {"answers": ["boat"]}, 0),
    ("everything is printed, by errors", text.transcription, "a b c d boat e f",
     {"answers": ["boat"]}, 0),
    ("everything is printed, by ANLS", text.anls, "a b c d boat e f", {"answers": ["boat"]}, 0),
    # DocVQA
    ("empty", text.anls, "", {"answers": ["boat"]}, 0),
    # math_verify
    ("3 or 4 is 4", math_equal.exact, "3 or 4", {"answer": "4"}, 0),
    ("a set has it", math_equal.exact, "\\{3, 4\\}", {"answer": "4"}, 0),
    ("x = 3 or x = 4", math_equal.exact, "x = 3 or x = 4", {"answer": "4"}, 0),
    ("a tower of powers hangs", math_equal.exact, "9**9**9**9", {"answer": "4"}, 0),
    # Design2Code, UniSVG
    ("an empty page has the colour of paper", pictures.page, "<body></body>", PAGE, 0),
    ("a blank picture is like most pictures", pictures.svg, '<svg viewBox="0 0 56 56"></svg>',
     SVG, 0),
    ("one colour is like most pictures", pictures.svg,
     '<svg viewBox="0 0 56 56"><rect width="56" height="56" fill="#ffffff"/></svg>', SVG, 0),
    # reasoning-gym pays for containment
    ("the answer among others", text.exact, "17 18 19", {"answers": ["18"]}, 0),
    # HumanEval's harness
    ("leaving with status 0", code_tests.code_tests, "import os\ndef f(x): os._exit(0)",
     {"function": "f", "tests": [[[1], 2]]}, 0),
]  # fmt: skip


@pytest.mark.parametrize(("hole", "rule", "answer", "reference", "value"), CASES)
def test_holes_of_others_are_closed(hole, rule, answer, reference, value):
    assert rule(answer, reference) == value


def test_clicks_lose_their_worth_without_a_step():
    """OSWorld's reward jumps from 0.8 to 0.6 at 20 thousandths."""

    def worth(x):
        return gui_actions.step(f"left_click(start_box='[{x},500]', element_info='')", CLICK)

    values = [worth(500 + d) for d in range(60)]
    assert values[0] == 1
    assert values[-1] == 0
    assert max(a - b for a, b in pairwise(values)) < 0.03


def test_tables_of_many_cells_are_not_compared():
    """TEDS takes the cube of the nodes."""
    gold = "<table>" + "<tr><td>1</td><td>2</td></tr>" * 3 + "</table>"
    huge = "<table>" + "<tr><td>1</td><td>2</td></tr>" * 2000 + "</table>"
    started = time.thread_time()
    assert tables.teds(huge, {"html": gold}) == 0
    assert time.thread_time() - started < 0.5


def test_mathematics_works_in_every_thread():
    """`signal.alarm` does not: rewards became 0, or errors, wherever a pool of threads asked."""
    found = []
    cases = [("sin(pi/6)", "1/2"), ("1-sin(x)^2", "cos(x)^2"), ("4", "4.0")]

    def run():
        found.extend(math_equal.equivalent(said, {"answer": gold}) for said, gold in cases)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [1, 1, 1]


def test_a_verifier_that_was_killed_gives_an_error_and_no_zero():
    """Others return 0 after some tries, and the process is kept busy for ever."""
    with pytest.raises(VerifierFailed, match="killed"):
        isolate.call("builtins:pow", 3, 10**9, seconds=0.5)
    assert isolate.call("builtins:abs", -3, seconds=30.0) == 3
    category = CATEGORIES["counting"]
    task = draw(category, 0)

    def fails(task, rollout):
        raise VerifierFailed("killed after 0.5 s")

    rollout = go_on(category, Rollout(task, (), task.state), "3")
    verdict = judge(replace(category, score=fails), rollout)
    assert (verdict.kind, verdict.value) == ("error", None)
