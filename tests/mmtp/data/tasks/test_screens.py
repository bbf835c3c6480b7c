"""Screens and tools: clicks hit what they name, actions show, tools give what they say."""

import json
import re

import numpy as np
import pytest

from mmtp.data.records import Image, Text
from mmtp.data.tasks import draw, screens
from mmtp.data.tasks.check import overlap
from mmtp.data.tasks.example import box_on_grid
from mmtp.data.tasks.gui import _play, _step

COUNT = 40


def _forms(languages=("en", "zh")):
    rng = np.random.default_rng(0)
    return [screens.draw_form(rng, language) for language in languages for _ in range(COUNT)]


def test_elements_are_on_the_screen_apart_and_named_apart():
    for screen in _forms():
        picture = screens.render(screen)
        assert picture.shape == (screen.height, screen.width, 3)
        found = screens.boxes(screen)
        assert len({element.label for element in found}) == len(found) == len(screen.elements)
        places = [box_on_grid(corners, picture) for corners in found.values()]
        for i, place in enumerate(places):
            assert place[0] < place[2] <= 999
            assert screens.TITLE * 1000 / screen.height < place[1] < place[3] < 999
            assert all(overlap(place, other) == 0 for other in places[:i])
        for left, _, right, _ in found.values():
            assert 0 <= left < right <= screen.width


def test_every_action_shows():
    for screen in _forms():
        for element in screen.elements:
            after = screen.after_click(element)
            assert not np.array_equal(screens.render(screen), screens.render(after))
            if element.kind == "checkbox":
                assert after.after_click(element) == screen
            if element.kind == "field":
                typed = after.after_typing("XY")
                assert typed.value(element.label) == "XY"
                assert not np.array_equal(screens.render(typed), screens.render(after))


def test_a_trajectory_ends_in_its_goal():
    rng = np.random.default_rng(1)
    for screen in _forms(["en"]):
        element, button = screen.elements[0], screen.of("button")[0]
        steps = [_step(rng, screen, element, "en"), _step(rng, screen, button, "en")]
        history = _play(screen, steps)
        final = history[-1][2]
        assert history[-1][0] == "done()"
        assert final.pressed == button.label
        if element.kind == "field":
            assert final.value(element.label) == steps[0][2]
            assert [action.partition("(")[0] for action, _, _ in history[:2]] == ["click", "type"]
        else:
            assert (element.label in final.ticked) != (element.label in screen.ticked)


@pytest.mark.parametrize("task", ["gui_grounding", "gui_steps", "gui_trajectories"])
def test_boxes_are_those_of_something_drawn(task):
    """Inside of the tagged box the picture is not flat."""
    checks = set()
    for index in range(COUNT):
        document = draw(task, "train", index)
        checks.add(document.tags["check"])
        if "box" not in document.tags:
            continue
        pictures = [
            part.data for m in document.messages for part in m.parts if isinstance(part, Image)
        ]
        height, width = pictures[-1].shape[:2]
        left, top, right, bottom = document.tags["box"]
        inside = pictures[-1][
            top * height // 1000 : bottom * height // 1000,
            left * width // 1000 : right * width // 1000,
        ]
        assert inside.std() > 5
    assert checks == ({"point", "box"} if task == "gui_grounding" else {"point", "exact"})


def test_levels_form_the_hierarchy():
    tasks = ("gui_elements", "gui_states", "gui_grounding", "gui_steps", "gui_trajectories")
    levels = [draw(task, "train", 0).tags["level"] for task in tasks]
    assert levels == ["element", "element", "grounding", "single_step", "trajectory"]
    turns = {len(draw("gui_trajectories", "train", i).messages) for i in range(COUNT)}
    assert {2, 4, 6} <= turns


def _calls(document):
    texts = [p.text for m in document.messages for p in m.parts if isinstance(p, Text)]
    found = [re.fullmatch(r"<tool_call>(.*)</tool_call>", text) for text in texts]
    return [json.loads(match.group(1)) for match in found if match]


def test_tools_return_what_was_asked_for():
    for index in range(COUNT):
        document = draw("rotations", "train", index)
        pictures = [p.data for m in document.messages for p in m.parts if isinstance(p, Image)]
        if calls := _calls(document):
            turns = calls[0]["arguments"]["degrees"] // 90
            np.testing.assert_array_equal(np.rot90(pictures[0], -turns), pictures[1])
        document = draw("calculations", "train", index)
        for call in _calls(document):
            a, op, b = call["arguments"]["expression"].split()
            result = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[op]
            assert document.messages[-2].parts == (Text(str(result)),)
            assert str(result) == document.tags["answer"]


def test_a_zoom_shows_the_box():
    """Small and enlarged, the card has the same average colour; only enlarged it can be read."""
    for index in range(COUNT):
        document = draw("zoom_answers", "train", index)
        small, large = (p.data for m in document.messages for p in m.parts if isinstance(p, Image))
        left, top, right, bottom = (
            round(n * 112 / 1000) for n in _calls(document)[0]["arguments"]["box"]
        )
        inside = small[top:bottom, left:right].mean(axis=(0, 1))
        np.testing.assert_allclose(inside, large.mean(axis=(0, 1)), atol=6)
        assert large.shape == (56, 84, 3)
