"""Screens: contracts, and that pictures, states and actions say the same."""

import json
from collections import Counter

import numpy as np
import pytest

from cogvit_jax.data.assets import FONT_PATH
from cogvit_jax.data.rendering.canvas import text_width
from mmtp.data.records import Image
from rl.answers import gui
from rl.answers.gui_family import Click, Drag, Finish, Go, Press, Scroll, Wait, Write
from rl.answers.reply import boxed
from rl.envs import CATEGORIES
from rl.envs.category import make_task
from rl.envs.environment import judge, play
from rl.envs.gui import screen_goals, screen_layout, screen_words, screens
from rl.envs.gui.screen_acts import act
from rl.envs.gui.screen_paint import paint
from rl.envs.gui.screen_plans import KINDS, full_screen, several_pages

EPISODES = ("gui_form", "gui_mobile", "gui_web")


def test_words_can_be_drawn():
    characters = (FONT_PATH.parent / "font_characters.txt").read_text(encoding="utf-8")
    assert screen_words.drawn() <= set(characters)


def _screens(count=12):
    rng = np.random.default_rng(5)
    for i in range(count):
        kind = ("desktop", "web", "mobile")[i % 3]
        plan = full_screen(rng, i % 4, kind) if i % 2 else several_pages(rng, i % 5, kind, True)
        yield screens.draw_screen(rng, plan, ("en", "zh")[i % 2])


def test_spots_do_not_overlap_and_labels_are_different():
    for screen in _screens(30):
        boxes = [spot.box for spot in screen_layout.spots(screen)]
        for i, a in enumerate(boxes):
            assert a[0] < a[2]
            assert a[1] < a[3]
            for b in boxes[i + 1 :]:
                across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
                assert across <= 0.01 or down <= 0.01, (a, b)
        labels = Counter(widget["label"] for widget in screens.widgets(screen))
        assert max(labels.values()) == 1


def test_every_spot_is_hit_at_its_middle_and_inside_the_picture():
    for screen in _screens(30):
        width, height = screen_layout.size(screen)
        for spot in screen_layout.spots(screen):
            assert screen_layout.hit(screen, screen_layout.middle(screen, spot.box)) == spot
            assert screen_layout.hit(screen, screen_layout.on_grid(screen, spot.box)) == spot
            assert spot.box[0] >= 0
            assert spot.box[2] <= width
            assert spot.box[3] <= height
        assert screen_layout.hit(screen, (999, 999)) is None or screen["kind"] == "mobile"


def test_texts_fit_into_their_widgets():
    for screen in _screens(30):
        for widget, box in screen_layout.places(screen)[0]:
            if widget["kind"] in ("field", "dropdown"):
                left, _, right, _ = screen_layout.control(screen, widget, box)
                shown = [widget["value"]] if widget["kind"] == "field" else widget["options"]
                assert max(text_width(text, screen["text"]) for text in shown) < right - left
            assert box[2] <= screen["size"][0]


def test_a_click_changes_the_picture_only_there():
    """The picture shows each state: a click on a check box or option changes pixels of its row."""
    for screen in _screens():
        before = paint(screen)
        for spot in screen_layout.spots(screen):
            if spot.key in ("tab", "icon"):
                continue
            widget = screens.find(screen, spot.key)
            if widget["kind"] not in ("checkbox", "switch", "radio", "list"):
                continue
            after = act(screen, Click(screen_layout.on_grid(screen, spot.box)))
            assert after is not None
            changed = (paint(after) != before).any(axis=2)
            same = widget["kind"] in ("radio", "list") and int(spot.part) == widget["value"]
            assert changed.any() != same
            rows = dict((w["id"], b) for w, b in screen_layout.places(screen)[0])
            left, top, right, bottom = rows[spot.key]
            inside = np.zeros_like(changed)
            rows_top = max(0, round(top - screen["scroll"]) - 2)
            inside[rows_top : round(bottom) + 3, max(0, round(left) - 2) : round(right) + 3] = True
            assert not (changed & ~inside).any()


def test_element_answers_agree_with_the_state():
    """The answer is read off the JSON of the screen by a second way, and that is what is drawn."""
    for seed in range(20):
        task = make_task(CATEGORIES["gui_element"], seed, seed % 5)
        options = task.reference["options"]
        assert task.reference["answers"] == [options[0]]
        assert len({option.casefold() for option in options}) == len(options)


def _one(kind, **more):
    """A screen with one widget."""
    widget = {"id": "p0w0", "kind": kind, "label": "Name", **more}
    rng = np.random.default_rng(0)
    screen = screens.draw_screen(rng, screens.Plan("desktop", [("checkbox",)], 224), "en")
    return {**screen, "pages": [{"name": "File", "widgets": [widget]}]}


def _at(screen, part=""):
    spot = next(s for s in screen_layout.spots(screen) if s.part == part)
    return screen_layout.middle(screen, spot.box)


def test_typing_into_a_field():
    screen = _one("field", value="old")
    assert act(screen, Write("x")) is None  # nothing has the focus
    focused = act(screen, Click(_at(screen)))
    assert screens.find(act(focused, Write("new")), "p0w0")["value"] == "oldnew"
    marked = act(focused, Press("ctrl+a"))
    assert screens.find(act(marked, Write("new")), "p0w0")["value"] == "new"
    assert screens.find(act(marked, Press("delete")), "p0w0")["value"] == ""
    assert screens.find(act(focused, Press("backspace")), "p0w0")["value"] == "ol"
    assert screens.find(act(screen, Write("n", (1,), True)), "p0w0")["value"] == "n"
    assert len(screens.find(act(focused, Write("y" * 4000)), "p0w0")["value"]) == 200
    assert screens.find(screen, "p0w0")["value"] == "old"  # `act` changes nothing in place


def test_drop_down_opens_and_closes():
    screen = _one("dropdown", options=["a", "b", "c"], value=0)
    opened = act(screen, Click(_at(screen)))
    assert opened["open"] == "p0w0"
    chosen = act(opened, Click(_at(opened, "2")))
    assert (chosen["open"], screens.find(chosen, "p0w0")["value"]) == ("", 2)
    closed = act(opened, Click((5, 5)))
    assert (closed["open"], screens.find(closed, "p0w0")["value"]) == ("", 0)
    assert act(opened, Go("back"))["open"] == ""


def test_slider_and_stepper():
    screen = _one("slider", value=3)
    assert screens.find(act(screen, Click(_at(screen, "7"))), "p0w0")["value"] == 7
    dragged = act(screen, Drag(_at(screen, "3"), _at(screen, "10")))
    assert screens.find(dragged, "p0w0")["value"] == 10
    assert act(screen, Drag(_at(screen, "5"), _at(screen, "10"))) is None  # not its knob
    screen = _one("stepper", value=9)
    assert screens.find(act(screen, Click(_at(screen, "+"))), "p0w0")["value"] == 9
    assert screens.find(act(screen, Click(_at(screen, "-"))), "p0w0")["value"] == 8


def test_what_is_not_possible():
    screen = _one("checkbox", on=False)
    for action in (
        Click((999, 999)),
        Click((99,)),
        Click((0,)),
        Click(_at(screen), "right"),
        Scroll("down"),
        Go("back"),
        Go("Clock"),
        Press("ctrl+a"),
        Write("x", _at(screen)),
    ):
        assert act(screen, action) is None, action
    assert act(screen, Wait()) == screen


@pytest.mark.parametrize("dialect", gui.DIALECTS)
def test_each_change_is_made_and_no_other(dialect):
    kind = {"pc": "desktop", "mobile": "mobile", "web": "web"}[dialect]
    rng = np.random.default_rng(1)
    for i in range(8):
        screen = screens.draw_screen(rng, several_pages(rng, i % 5, kind, False), "en")
        for change in screen_goals.choose(rng, screen, 99, KINDS):
            path = screen_goals.solve(screen, [change], dialect)
            after = path[-1][1]
            assert screens.values(after) == screen_goals.wanted(screen, [change])
            assert screens.values(after) != screens.values(screen)


@pytest.mark.parametrize("name", EPISODES)
def test_the_end_alone_scores_nothing(name):
    category = CATEGORIES[name]
    for seed in range(10):
        task = make_task(category, seed, seed % 5)
        dialect = task.reference["dialect"]
        ends = [gui.write(Wait(), dialect)] * 3
        if dialect != "web":
            ends.append(gui.write(Finish(True), dialect))
        for end in ends:
            assert judge(category, play(category, task, (boxed(end),))).value == 0
        waited = play(category, task, (boxed(gui.write(Wait(), dialect)),) * 99)
        assert waited.ended == "turns"
        assert judge(category, waited).value == 0


@pytest.mark.parametrize("name", EPISODES)
def test_illegal_actions_leave_the_state_and_cost_a_turn(name):
    category = CATEGORIES[name]
    task = make_task(category, 4, 2)
    rollout = play(category, task, (boxed("click everything"), *category.oracle(task)))
    assert judge(category, rollout).value == 1
    assert len(rollout.turns) == len(category.oracle(task)) + 1
    step = category.step(task, task.state, "nonsense")
    assert step.state == task.state
    assert any(isinstance(part, Image) for part in step.observation.parts)
    assert json.loads(json.dumps(step.state)) == step.state


def test_oracles_end_in_time():
    for name in EPISODES:
        category = CATEGORIES[name]
        for seed in range(30):
            assert len(category.oracle(make_task(category, seed, 4))) < category.max_turns * 0.8


def test_next_states_all_look_different():
    for seed in range(25):
        task = make_task(CATEGORIES["gui_next_state"], seed, seed % 5)
        seen = [p.data.tobytes() for p in task.observation.parts if isinstance(p, Image)]
        assert len(set(seen[1:])) == 4
