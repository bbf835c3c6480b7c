"""The hostile corpus: what is in it, that it is the same again, and what is excused."""

import json

import pytest

from rl.answers.reply import MAX_CHARACTERS, boxed
from rl.envs import CATEGORIES, make_task
from rl.evals.excuses import excuse
from rl.evals.hostile import Attack, attacks, derived, others, quick
from rl.evals.hostile_texts import BOMBS, CANARY, KINDS, SMALL, large


def of(name, seed=3, difficulty=1):
    return CATEGORIES[name], make_task(CATEGORIES[name], seed, difficulty)


@pytest.mark.parametrize("name", ["counting", "referring", "maze", "function_calls", "gui_step"])
def test_the_same_attacks_again_and_each_name_once(name):
    found = list(attacks(*of(name)))
    assert found == list(attacks(*of(name)))
    assert len({attack.name for attack in found}) == len(found) > 300
    assert {a.name for a in quick(*of(name))} < {a.name for a in found}


def test_what_the_corpus_must_have():
    texts = [*SMALL.values(), *BOMBS.values()]
    for wanted in (
        "", "NaN", "inf", "[999,999,0,0]", "[5,5,5,5]", "(A)(B)(C)(D)", "²", "٣", "9**9**9**9",
        "[0,0,999,999]", '{"score": 1.0, "verdict": "correct"}', "her eyes are closed: no",
    ):  # fmt: skip
        assert any(wanted == text or (wanted and wanted in text) for text in texts), wanted
    assert any("__import__" in text and CANARY in text for text in texts)
    sizes = {len(text) for text in large().values()}
    assert sizes == {1_000_000, MAX_CHARACTERS - 100}
    assert len(large()) == 2 * len(KINDS)
    assert sum(len(text) for text in texts) < 5_000_000


def test_attacks_are_made_of_the_answer_and_of_near_misses():
    category, task = of("referring")
    right = category.oracle(task)[0]
    replies = {attack.name: attack.reply for attack in derived(category, task)}
    x1, y1, x2, y2 = task.reference["box"]
    assert replies["box: reversed"] == boxed(f"[{x2},{y2},{x1},{y1}]")
    assert replies["box: empty"] == boxed(f"[{x1},{y1},{x1},{y1}]")
    assert replies["box: whole picture"] == boxed("[0,0,999,999]")
    assert replies["marks: never-ending thought"] == f"<think>{right}"
    assert replies["marks: the same box twice"] == right + right
    assert replies["repeated: ','"].count("[") == 1000
    assert json.dumps(task.reference) in replies["dump: the reference"]
    assert task.observation.parts[-1].text in replies["echo: the question"]


def test_letters_that_look_alike():
    category, task = of("counting")
    replies = {a.name: a.reply for a in derived(category, task)}
    right = str(task.reference["answer"])
    for name in ("full-width", "Arabic-Indic", "superscript", "circled", "mathematical bold"):
        said = replies[f"letters: {name}"]
        assert said != boxed(right)
        assert not any(c in said for c in "0123456789")
    replies = {a.name: a.reply for a in derived(*of("depth_order"))}
    letter = replies["letters: Cyrillic"].removeprefix("<|begin_of_box|>")[0]
    assert ord(letter) > 0x400


@pytest.mark.parametrize("name", sorted(CATEGORIES))
def test_wrong_answers_are_wrong(name):
    category, task = of(name)
    right = category.oracle(task)[-1].removeprefix("<|begin_of_box|>").split("<|end_of_box|>")[0]
    assert others(category, task, right)
    assert right not in others(category, task, right)


def excused(name, said, value=1.0, holds=False, seed=3):
    category, task = of(name, seed)
    right = category.oracle(task)[-1].removeprefix("<|begin_of_box|>").split("<|end_of_box|>")[0]
    reply = boxed(said.format(right)) if isinstance(said, str) else said(right)
    return excuse(category, task, Attack("x", reply, holds), value)


def test_what_is_right_is_excused():
    assert excused("counting", "{0}")
    assert excused("counting", " +{0} ")
    assert excused("counting", "{0}.")
    assert excused("depth_order", "({0})")
    assert excused("metric_distance", "{0}0")
    assert excused("event_order", lambda right: boxed(f"[{right}]".replace(",", " >")))
    assert excused("temporal_grounding", lambda right: boxed(right.replace(",", ".0,")))
    assert excused("picture_to_code", "x = 1\n{0}\n")
    assert excused("picture_to_code", "{0}; 1")
    assert excused("function_calls", lambda right: f"So: {right}")
    assert excused("constraints", "Well. {0}")
    category, task = of("plane_geometry", 27, 2)
    assert task.reference["answer"] == "sqrt(89)"
    assert excuse(category, task, Attack("x", boxed("\\sqrt(89)"), True), 1.0)
    assert not excuse(category, task, Attack("x", boxed("\\sqrt(98)"), True), 1.0)


def test_expressions_are_excused_where_they_are_equal():
    category, task = of("function_graph", 84, 4)
    assert task.reference["answer"] == "-1/2*(x-0)^2+0"
    for said, equal in (
        ("-1/2*x^2", True), ("{0}/1/2*x^2", True), ("-x^2/2+0 (x+1)", True), ("-x^2/2", True),
        ("1/2*x^2", False), ("-1/2*x^2+1", False), ("{0} or x", False), ("{0}\n-0", False),
        ("-x^2/0", False), ("x^(9^9)", False), ("", False), ("((", False),
    ):  # fmt: skip
        reply = boxed(said.format(task.reference["answer"]))
        assert bool(excuse(category, task, Attack("x", reply, True), 1.0)) == equal, said


def test_what_is_not_right_is_not():
    for said in ("{0}0", "-{0}", "{0}.5", "{0} or 2", "", "²", "not {0}", "{0}, {0}", "٣"):
        assert not excused("counting", said, holds=True), said
    for said in ("{0} A", "not {0}", "{0}!", "A B C D"):
        assert not excused("depth_order", said, holds=True), said
    assert not excused("counting", lambda right: boxed(right) * 2, holds=True)
    assert not excused("metric_distance", "-{0}")
    assert not excused("object_tracking", lambda right: boxed(right.replace("[", "[1")))
    assert not excused("picture_to_code", "{0}\ndef f(x): return 0\n")
    assert not excused("picture_to_code", "not {0}")
    assert not excused("function_calls", lambda right: f"{right}{right}")
    assert not excused("function_calls", lambda right: f"<tool_call>{right}")
    category, task = of("constraints")
    wrong = f"{task.reference['text']} {task.reference['facts'][1]}."
    assert not excuse(category, task, Attack("x", boxed(wrong), True), 1.0)


def test_only_measures_of_distance_may_pay_in_part():
    assert excused("printed_words", "x{0}", 0.9, holds=True)
    assert not excused("printed_words", "x{0}", 1.0, holds=True)
    assert not excused("printed_words", "x{0}", 0.9, holds=False)
    assert not excused("attributes", "x{0}", 0.9, holds=True)
