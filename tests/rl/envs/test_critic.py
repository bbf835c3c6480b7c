"""Critic: contracts, and that pictures and sentences agree."""

import re

import numpy as np
import pytest

from cogvit_jax.data.assets import FONT_PATH
from mmtp.data.records import Text
from mmtp.data.tasks import scenes
from rl.envs import CATEGORIES, make_task, wrong_step
from rl.envs.environment import judge, play
from rl.envs.parts import statements

NAMES = ("wrong_sentence", "better_answer", "wrong_step")


def test_shapes_are_inside_apart_and_of_different_sizes():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shapes, picture = statements.scene(rng, 2 + seed % 5)
        side = picture.shape[0]
        for i, shape in enumerate(shapes):
            left, top, right, bottom = shape.box
            assert min(left, top) >= 0
            assert max(right, bottom) <= side
            x, y = (round(v) for v in shape.middle)
            ink = np.array(scenes.PALETTE[shape.colour][1])
            assert np.abs(picture[y, x].astype(int) - ink).max() < 40, (seed, shape)
            for other in shapes[:i]:
                ratio = shape.radius / other.radius
                assert max(ratio, 1 / ratio) > 1.15
                apart = max(abs(a - b) for a, b in zip(shape.middle, other.middle, strict=True))
                assert apart >= shape.radius + other.radius - 1


def test_statements_are_what_they_say():
    """Read back from their words and compared with the shapes, by another way."""
    for seed in range(80):
        rng = np.random.default_rng(seed)
        shapes, _ = statements.scene(rng, 2 + seed % 5)
        found = statements.statements(rng, shapes, 30, "en")
        assert len({s.true for s in found}) == len(found)
        for statement in found:
            assert holds(statement.true, shapes), statement
            assert not holds(statement.false, shapes), statement


def holds(sentence, shapes):
    by_kind = {shape.kind: shape for shape in shapes}
    if match := re.fullmatch(r"There are (\d+) shapes\.", sentence):
        return int(match[1]) == len(shapes)
    if match := re.fullmatch(r"The (\w+) shape is a (\w+)\.", sentence):
        return any((s.colour, s.kind) == match.groups() for s in shapes)
    if match := re.fullmatch(r"The (\w+) is (\w+)\.", sentence):
        return by_kind[match[1]].colour == match[2]
    a, words, b = re.fullmatch(r"The (\w+) is (.+) the (\w+)\.", sentence).groups()
    one, other = by_kind[a], by_kind[b]
    return {
        "left of": one.box[0] + one.box[2] < other.box[0] + other.box[2],
        "above": one.box[1] + one.box[3] < other.box[1] + other.box[3],
        "larger than": one.radius > other.radius,
    }[words]


def test_the_better_answer_is_the_one_without_a_wrong_sentence():
    better = [
        make_task(CATEGORIES["better_answer"], seed, seed % 5).reference["better"]
        for seed in range(100)
    ]
    assert 30 < sum(better) < 70


@pytest.mark.parametrize("difficulty", range(5))
def test_the_wrong_step_is_the_first_that_is_wrong(difficulty):
    """Steps are computed again; a product that is right in itself must misread the list."""
    for seed in range(0, 60, 2):
        task = make_task(CATEGORIES["wrong_step"], seed, difficulty, "en")
        text = "".join(p.text for p in task.observation.parts if isinstance(p, Text))
        steps = re.findall(r"^(\d+)\. (.+)$", text, re.MULTILINE)
        assert len(steps) == task.reference["steps"]
        wrong = task.reference["answer"]
        for number, step in steps:
            left, _, right = step.rpartition(": ")[2].rpartition(" = ")
            a, sign, b = left.split(" ")
            value = {"×": int(a) * int(b), "+": int(a) + int(b), "-": int(a) - int(b)}[sign]
            if int(number) != wrong:
                assert value == int(right), (task.id, step)
            elif sign != "×":
                assert value != int(right), (task.id, step)


def test_misread_steps_differ_from_the_picture():
    rng = np.random.default_rng(0)
    items, prices, numbers = ["tea", "fish"], [3, 4], [5, 6]
    right = wrong_step._steps(rng, "en", items, prices, numbers, 100, 0)
    assert right == [
        "tea: 3 × 5 = 15", "fish: 4 × 6 = 24", "15 + 24 = 39", "Change: 100 - 39 = 61",
    ]  # fmt: skip
    for wrong in range(1, 5):
        for _ in range(10):
            steps = wrong_step._steps(rng, "en", items, prices, numbers, 100, wrong)
            assert steps[: wrong - 1] == right[: wrong - 1]
            assert steps[wrong - 1] != right[wrong - 1]


def test_drawn_words_are_in_the_font():
    characters = FONT_PATH.with_name("font_characters.txt").read_text("utf-8")
    for words in (*wrong_step.ITEMS.values(), *wrong_step.HEADS.values()):
        assert all(c in characters for word in words for c in word), words


@pytest.mark.parametrize("name", NAMES)
def test_the_blind_baseline_is_low(name):
    category, got = CATEGORIES[name], []
    for seed in range(150):
        task = make_task(category, seed, seed % 5)
        replies = category.guess(task, np.random.default_rng(seed))
        got.append(judge(category, play(category, task, replies)).value)
    assert np.mean(got) < 0.35
