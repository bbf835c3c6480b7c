"""Tools: contracts, saved episodes, and that no answer is right without the looking."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtp.data.records import Image
from rl.answers.calls import write_call
from rl.answers.reply import boxed
from rl.envs import CATEGORIES, make_task, zoom_search
from rl.envs.environment import judge, play
from rl.envs.parts import search_world
from rl.envs.parts.arithmetic import calculate
from rl.envs.parts.chores import CHORES

NAMES = ("zoom_search", "picture_tools", "page_search", "function_calls")
TURNS = NAMES[:3]


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize(
    "reply",
    [
        write_call("no_such_tool", {}),
        write_call("zai_crop_image", {"image": "mm://img_0", "box_2d": [0, 0, 5, 0]}),
        write_call("zai_crop_image", {"image": "file:///etc/passwd", "box_2d": [0, 0, 500, 500]}),
        write_call("zai_crop_image", {"image": "mm://img_0", "box_2d": [1, 2, 3]}),
        write_call("zai_crop_image", {"image": "mm://img_0", "box_2d": [-5, 0, 2000, 500]}),
        write_call("rotate_image", {"image": "mm://img_0", "degrees": 45}),
        write_call("rotate_image", {"image": "mm://img_99", "degrees": 90}),
        write_call("calculate", {"expression": "__import__('os').getpid()"}),
        write_call("calculate", {"expression": "9**9**9**9"}),
        write_call("zai_read_webpage", {"page": "../../etc/passwd"}),
        write_call("zai_search_web_by_image", {"image": "mm://p999"}),
        "<tool_call>",
        "<tool_call>calculate</tool_call>\n" * 20,
    ],
)
def test_an_illegal_action_changes_nothing_and_is_told(name, reply):
    category = CATEGORIES[name]
    task = make_task(category, 0, 1)
    taken = category.step(task, task.state, reply)
    assert taken.state == task.state
    assert not taken.done
    assert taken.observation.role == "observation"
    assert "Error" in taken.observation.parts[0].text


def test_a_long_query_is_no_trouble():
    task = make_task(CATEGORIES["page_search"], 0, 4)
    reply = write_call("zai_search_web_text", {"query": "born in " * 20_000})
    taken = CATEGORIES["page_search"].step(task, task.state, reply)
    assert len(taken.observation.parts[0].text) < 1000


def test_the_shown_picture_hides_the_number():
    """Two scenes that differ in the number alone look the same at first, but for a few values."""
    task = make_task(CATEGORIES["zoom_search"], 1, 0)
    scene = json.loads(json.dumps(task.reference["scene"]))
    card = scene["cards"][task.reference["target"]]
    other = {**card, "number": str(int(card["number"]) % 900 + 100)}
    changed = {**scene, "cards": [other if c == card else c for c in scene["cards"]]}
    whole = [zoom_search._whole(json.dumps(s)) for s in (scene, changed)]
    fine = np.abs(np.subtract(*(np.array(w, np.int16) for w in whole))).max()
    small = np.abs(np.subtract(*(np.array(w.reduce(zoom_search.FINE), np.int16) for w in whole)))
    assert fine > 100
    assert small.max() < 70


def test_a_crop_shows_the_number_as_fine_as_it_is():
    category = CATEGORIES["zoom_search"]
    task = make_task(category, 1, 2)
    taken = category.step(task, task.state, category.oracle(task)[0])
    picture = taken.observation.parts[0]
    assert isinstance(picture, Image)
    x, y = task.reference["scene"]["cards"][task.reference["target"]]["at"]
    whole = np.array(zoom_search._whole(json.dumps(task.reference["scene"])))
    card = whole[y : y + 64, x : x + 104]
    height, width = picture.data.shape[:2]
    assert height >= 64
    assert width >= 104
    found = any(
        np.array_equal(picture.data[i : i + 64, j : j + 104], card)
        for i in range(height - 63)
        for j in range(width - 103)
    )
    assert found


def test_crops_that_show_too_much_are_shown_coarse_and_do_not_count():
    category = CATEGORIES["zoom_search"]
    task = make_task(category, 2, 4)
    whole = write_call("zai_crop_image", {"image": "mm://img_0", "box_2d": [0, 0, 1000, 1000]})
    taken = category.step(task, task.state, whole)
    assert max(taken.observation.parts[0].data.shape) <= zoom_search.MOST
    assert category.score(task, play(category, task, (whole, category.oracle(task)[-1]))) == 0


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("difficulty", range(5))
def test_no_words_lead_from_a_company_to_its_founder(difficulty, language):
    """The hop is in the picture alone: no text has both, and no search from one finds the other."""
    task = make_task(CATEGORIES["page_search"], 3, difficulty, language)
    world = task.reference["world"]
    companies = [page for page in world.values() if page["kind"] == "company"]
    people = [page for page in world.values() if page["kind"] == "person"]
    assert len(companies) == len(people) == 4 + 2 * difficulty
    for company in companies:
        for word in company["sign"].split():
            assert word not in company["text"]
        for person in people:
            assert company["title"] not in person["text"]


def test_worlds_have_one_answer():
    """Titles, emblems, facts of a kind and signs are all different."""
    for seed in range(20):
        world = make_task(CATEGORIES["page_search"], seed, 4).reference["world"]
        for kind in ("company", "person", "town"):
            pages = [page for page in world.values() if page["kind"] == kind]
            assert len({page["title"] for page in pages}) == len(pages)
            assert len({page["fact"] for page in pages}) == len(pages)
        emblems = [tuple(p["emblem"]) for p in world.values() if "emblem" in p]
        assert len(set(emblems)) == len(emblems)


def test_the_best_match_comes_first():
    world = make_task(CATEGORIES["page_search"], 5, 3).reference["world"]
    for key, page in world.items():
        found = search_world.by_text(world, page["title"]).split("\n")
        assert any(line.startswith(key) for line in found)
        if "emblem" in page:
            assert search_world.by_emblem(world, page["emblem"]).startswith(key)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1+2*3", "7"),
        ("(1 + 2) × 3", "9"),
        ("10 ÷ 4", "2.5"),
        ("1/3", "0.333333"),
        ("-5 − -3", "-2"),
        ("2*-3", "-6"),
        ("1.5+1.5", "3"),
        ("((((1))))", "1"),
    ],
)
def test_calculator(expression, value):
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    ["", "1+", "1/0", "2**3", "(1", "1)", "a", "1e9", "9" * 21, "(" * 11 + "1" + ")" * 11, "²", "٣",
     "1+" * 100 + "1", "--" * 30 + "1", ".", "1..2", "1_000", "1//2"],
)  # fmt: skip
def test_what_the_calculator_refuses(expression):
    with pytest.raises(ValueError):  # noqa: PT011
        calculate(expression)


@settings(max_examples=150)
@given(
    st.recursive(
        st.integers(0, 99).map(lambda n: (str(n), Fraction(n))),
        lambda one: st.tuples(one, st.sampled_from("+-*"), one).map(
            lambda t: (
                f"({t[0][0]}{t[1]}{t[2][0]})",
                {"+": t[0][1] + t[2][1], "-": t[0][1] - t[2][1], "*": t[0][1] * t[2][1]}[t[1]],
            )
        ),
        max_leaves=6,
    )
)
def test_the_calculator_agrees_with_fractions(case):
    text, value = case
    assert calculate(text) == str(value)


def test_turned_pictures_are_turned_back():
    category = CATEGORIES["picture_tools"]
    for seed in range(12):
        task = make_task(category, seed, 4)
        state = task.state
        for reply in category.oracle(task)[:-2]:
            taken = category.step(task, state, reply)
            state = taken.state
            picture = taken.observation.parts[1].data
            assert picture.shape[0] == 56  # upright
            line, _, turns = state["pictures"][-1]
            assert (turns, picture.shape[1] % 28) == (0, 0), line


def test_notes_fit_their_tools():
    """What is expected satisfies the schemas; no two tools have one name."""
    names = [c.schema["function"]["name"] for c in CHORES]
    names += [c.decoy["function"]["name"] for c in CHORES]
    assert len(set(names)) == len(names)
    for difficulty in range(5):
        fitting = 0
        for seed in range(30):
            task = make_task(CATEGORIES["function_calls"], seed, difficulty)
            fitting += bool(task.reference["expected"])
            assert judge(CATEGORIES["function_calls"], _oracle(task)).value == 1.0
        assert fitting >= 20


def _oracle(task):
    category = CATEGORIES[task.category]
    return play(category, task, category.oracle(task))


@pytest.mark.parametrize("name", NAMES)
def test_the_blind_baseline_is_low(name):
    category, got = CATEGORIES[name], []
    for seed in range(40):
        task = make_task(category, seed, seed % 5)
        replies = category.guess(task, np.random.default_rng(seed))
        got.append(judge(category, play(category, task, replies)).value)
    assert np.mean(got) < 0.2


def test_answers_in_other_forms_are_wrong():
    category = CATEGORIES["page_search"]
    task = make_task(category, 0, 2)
    *looks, _ = category.oracle(task)
    gold, pages = task.reference["answer"], task.reference["pages"]
    for answer in (
        {"answer": gold, "pages": pages, "note": ""},
        {"answer": [gold], "pages": pages},
        {"answer": gold, "pages": {p: 1 for p in pages}},
        {"answer": True, "pages": pages},
        [gold, pages],
    ):
        rollout = play(category, task, (*looks, boxed(json.dumps(answer))))
        assert category.score(task, rollout) == 0
    number = boxed(json.dumps({"answer": int(gold), "pages": pages[::-1]}))
    assert category.score(task, play(category, task, (*looks, number))) == 1
