"""Grounding: contracts, and that the pictures show what the references say."""

import numpy as np
import pytest

from mmtp.data.records import Image, Text
from mmtp.data.tasks.scenes import COLOURS, PALETTE
from rl.answers.reply import boxed
from rl.envs import CATEGORIES, make_task
from rl.envs.drawing.draw_items import NAMES, Item, unit_outline
from rl.envs.environment import judge, play
from rl.envs.parts.refer import expressions
from rl.rewards.rules.points import in_polygon


def seen(task):
    """The pixels of the only picture."""
    return np.asarray(next(p.data for p in task.observation.parts if isinstance(p, Image)))


def question(task):
    """The text of a task."""
    return " ".join(p.text for p in task.observation.parts if isinstance(p, Text))


def box_of_colour(pixels, colour):
    """Where pixels of a colour are, in thousandths."""
    near = np.abs(pixels.astype(int) - np.array(PALETTE[colour][1])).sum(2) < 40
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    height, width = near.shape
    return [
        1000 * columns[0] / width,
        1000 * rows[0] / height,
        1000 * (columns[-1] + 1) / width,
        1000 * (rows[-1] + 1) / height,
    ]


@pytest.mark.parametrize("name", ["referring", "segmentation"])
def test_the_only_thing_of_a_colour_is_where_the_reference_says(name):
    checked = 0
    for seed in range(0, 60, 2):
        task = make_task(CATEGORIES[name], seed, 0)
        asked = [c for c in COLOURS if f"the {c} shape" in question(task)]
        if asked:
            found = box_of_colour(seen(task), asked[0])
            assert np.abs(np.array(found) - task.reference["box"]).max() < 25, task.id
            checked += 1
    assert checked > 8


@pytest.mark.parametrize("difficulty", range(5))
def test_a_detected_or_pointed_thing_is_not_the_ground(difficulty):
    for seed in range(6):
        task = make_task(CATEGORIES["pointing"], seed, difficulty)
        pixels, places = seen(task), task.reference["points"] + task.reference["others"]
        side = len(pixels)
        for x, y in places:
            pixel = pixels[int(y * side / 1000), int(x * side / 1000)].astype(int)
            assert min(np.abs(pixel - PALETTE[c][1]).sum() for c in COLOURS) < 12


def test_a_pointed_kind_has_its_colour():
    checked = 0
    for seed in range(0, 40, 2):
        task = make_task(CATEGORIES["pointing"], seed, 1)
        asked = [c for c in COLOURS if f" {c} shape" in question(task)]
        if not asked:
            continue
        pixels, side = seen(task), len(seen(task))
        for places, right in ((task.reference["points"], True), (task.reference["others"], False)):
            for x, y in places:
                pixel = pixels[int(y * side / 1000), int(x * side / 1000)].astype(int)
                assert (np.abs(pixel - PALETTE[asked[0]][1]).sum() < 12) == right
        checked += 1
    assert checked > 5


def test_a_free_place_shows_the_mat():
    for seed in range(20):
        task = make_task(CATEGORIES["free_space"], seed, seed % 3)
        pixels, (x, y) = seen(task), task.reference["example"]
        side = len(pixels)
        pixel = pixels[int(y * side / 1000), int(x * side / 1000)].astype(int)
        light = [0.38 * np.array(PALETTE[c][1]) + 0.62 * 255 for c in COLOURS]
        assert min(np.abs(pixel - colour).sum() for colour in light) < 6


def test_a_part_of_a_detection_is_paid_in_part():
    category = CATEGORIES["detection"]
    task = next(
        t
        for t in (make_task(category, s, 3) for s in range(20))
        if len(t.reference["objects"]) == 8
    )
    category_said = task.reference["objects"][:6]
    reply = boxed(str(category_said).replace("'", '"'))
    assert judge(category, play(category, task, (reply,))).value == pytest.approx(12 / 14)


def test_every_kind_covers_its_middle_and_fits_its_circle():
    for kind in NAMES:
        outline = unit_outline(kind)
        assert in_polygon((0, 0), outline)
        assert max(np.hypot(*np.array(outline).T)) <= 1.25
        reach = np.hypot(*np.array(outline).T)
        assert reach.max() > 0.9


def test_expressions_by_hand():
    items = [
        Item("circle", "red", (10, 50), 5),
        Item("circle", "blue", (50, 50), 10),
        Item("circle", "red", (90, 52), 7),
        Item("star", "green", (30, 20), 8),
    ]

    def said(form):
        return {e.of("en"): e.index for e in expressions(items, form, 100)}

    assert said("pair") == {"the blue circle": 1, "the green star": 3}
    assert said("colour") == {"the blue shape": 1, "the green shape": 3}
    assert said("kind") == {"the star": 3}
    assert said("place") == {"the leftmost circle": 0, "the rightmost circle": 2}
    assert said("size") == {"the smallest circle": 0, "the largest circle": 1}
    assert said("relation") == {
        "the circle to the left of the blue circle": 0,
        "the circle to the right of the blue circle": 2,
        "the circle to the left of the green star": 0,
    }
    assert said("order") == {
        "the second circle from the left": 1,
        "the third circle from the left": 2,
        "the second circle from the right": 1,
        "the third circle from the right": 0,
    }
    assert expressions(items, "order", 100)[0].of("zh") == "从左数第二个圆形"


def test_a_tie_is_not_asked():
    items = [Item("circle", "red", (10, 50), 5), Item("circle", "blue", (12, 90), 5.5)]
    assert [e.en for e in expressions(items, "place", 100)] == [
        "topmost circle",
        "bottommost circle",
    ]
    assert expressions(items, "size", 100) == []
