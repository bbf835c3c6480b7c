"""Perception and reading: contracts, and what is special about each category."""

import numpy as np
import pytest
from PIL import Image as Pillow
from scipy import ndimage

from mmtp.data.records import Image, Text
from mmtp.data.tasks import scenes
from mmtp.data.tasks.sheet import CHARACTERS_PATH
from rl.envs import CATEGORIES, make_task, printed_words
from rl.envs.drawing import draw_habits
from rl.envs.drawing.draw_illusions import BLUE, RED
from rl.envs.drawing.photos import photographs
from rl.rewards.rules import latex
from rl.types import Action, Rollout, Turn

NAMES = (
    "attributes",
    "counting",
    "tiny_object",
    "spot_difference",
    "counterfactual",
    "illusions",
    "photo_match",
    "printed_words",
    "formulas",
    "handwriting",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("difficulty", "most"), [(0, 0.62), (4, 0.48)])
def test_the_blind_are_mostly_wrong(name, difficulty, most):
    category, scores = CATEGORIES[name], []
    for seed in range(12):
        task = make_task(category, seed, difficulty)
        for k in range(10):
            (reply,) = category.guess(task, np.random.default_rng(1000 * k + seed))
            rollout = Rollout(task, (Turn(task.observation, Action(reply)),))
            scores.append(category.score(task, rollout))
    assert np.mean(scores) < most


def pictures(task):
    return [np.asarray(part.data) for part in task.observation.parts if isinstance(part, Image)]


def question(task):
    return [part.text for part in task.observation.parts if isinstance(part, Text)][-1]


def near(pixels, colour, by=40):
    """Where a picture has a colour."""
    return np.abs(pixels.astype(int) - colour).max(-1) <= by


@pytest.mark.parametrize("difficulty", range(5))
def test_counts_of_a_colour_are_in_the_picture(difficulty):
    """Shapes of a colour are counted in the pixels, as connected regions."""
    seen = 0
    for seed in range(0, 80, 2):
        task = make_task(CATEGORIES["counting"], seed, difficulty)
        before, shapes, _ = question(task).partition(" shapes")
        if not shapes:
            continue
        colour = scenes.PALETTE[before.split()[-1]][1]
        regions, count = ndimage.label(near(pictures(task)[0], colour, 6))
        sizes = ndimage.sum_labels(np.ones_like(regions), regions, range(1, count + 1))
        assert (sizes > 20).sum() == task.reference["answer"]
        seen += 1
    assert seen > 5


def test_every_count_is_drawn():
    counts = {make_task(CATEGORIES["counting"], s, 1).reference["answer"] for s in range(60)}
    assert counts == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("difficulty", range(5))
def test_lengths_and_greys_are_what_is_said(difficulty):
    """What is compared is measured in the pixels, which must agree with the answer."""
    truths = set()
    for seed in range(40):
        task = make_task(CATEGORIES["illusions"], seed, difficulty)
        pixels, asked = pictures(task)[0], task.reference["asked"]
        if asked == "darker":
            first, second = (int(pixels[56, x, 0]) for x in (56, 168))
        else:
            first, second = (_extent(pixels, colour) for colour in (RED, BLUE))
        # Discs end between pixels.
        assert np.abs(np.subtract([first, second], task.reference["sizes"])).max() <= 1
        order = np.sign(second - first if asked == "darker" else first - second)
        right = task.reference["options"][task.reference["answer"]]
        words = {
            1: ("red", "left", "红", "左"),
            -1: ("blue", "right", "蓝", "右"),
            0: ("equal", "一样"),
        }
        assert any(word in right for word in words[int(order)])
        truths.add(int(order))
    assert truths == {-1, 0, 1}


def _extent(pixels, colour):
    """The longer side of all that has a colour."""
    rows, columns = np.nonzero(near(pixels, colour, 60))
    return max(int(np.ptp(rows)), int(np.ptp(columns))) + 1


@pytest.mark.parametrize("difficulty", range(3))
def test_pictures_differ_in_the_boxes_and_nowhere_else(difficulty):
    for seed in range(12):
        task = make_task(CATEGORIES["spot_difference"], seed, difficulty)
        one, other = pictures(task)
        changed = (one != other).any(-1)
        side = task.reference["side"]
        for x1, y1, x2, y2 in task.reference["boxes"]:
            box = [round(v * side / 1000) for v in (x1, y1, x2, y2)]
            view = changed[max(0, box[1] - 1) : box[3] + 2, max(0, box[0] - 1) : box[2] + 2]
            assert view.sum() > 15
            view[:] = False
        assert not changed.any()


def test_things_have_room_for_every_count():
    """Each count gives another picture, and the usual one is never the only one."""
    for habit in draw_habits.HABITS:
        assert habit.low <= habit.usual <= habit.high
        assert habit.high - habit.low >= 3
        assert set(habit.ask) == {"en", "zh"}
    tasks = [make_task(CATEGORIES["counterfactual"], seed, 2) for seed in range(80)]
    usual = np.mean([t.reference["answer"] == t.reference["usual"] for t in tasks])
    assert 0.1 < usual < 0.4  # neither habit nor its opposite is a rule


def test_parts_are_counted_in_the_pixels():
    """Stars, marks, lamps and pips are regions of their own."""
    checked = 0
    inks = {"star_ring": (255, 220, 60), "clock": (20, 20, 24)}
    for seed in range(60):
        task = make_task(CATEGORIES["counterfactual"], seed, 4)
        ink = inks.get(task.reference["thing"])
        if ink is None:
            continue
        regions, count = ndimage.label(near(pictures(task)[0], ink, 90))
        sizes = ndimage.sum_labels(np.ones_like(regions), regions, range(1, count + 1))
        assert (sizes > 8).sum() == task.reference["answer"]
        checked += 1
    assert checked > 10


@pytest.mark.parametrize("difficulty", [0, 4])
def test_tiny_things_are_where_they_are_said_to_be(difficulty):
    for seed in range(12):
        task = make_task(CATEGORIES["tiny_object"], seed, difficulty)
        (x, y), pixels = task.reference["place"], pictures(task)[0]
        around = pixels[y - 12 : y + 12, x - 12 : x + 12]
        assert near(around, (255, 255, 255), 4).sum() > 50  # its white spot, whole
        if task.reference["asked"] != "number":
            colour = scenes.PALETTE[task.reference["colour"]][1]
            assert near(around, colour, 12).sum() > 20
            assert near(pixels, colour, 12).sum() == near(around, colour, 12).sum()
        assert len(set(task.reference["options"])) == 4


def test_crops_are_of_the_photograph():
    """The crop is found again at its place, and no option is another picture of the thing."""
    for seed in range(8):
        task = make_task(CATEGORIES["photo_match"], seed, 1)
        names, answer = task.reference["options"], task.reference["answer"]
        assert len(set(names)) == len(names)
        crop = pictures(task)[1 + answer].astype(float)
        left, top = task.reference["place"]
        found = [
            np.abs(_cut(photo, left, top, 84) - crop).mean()
            for photo in photographs()[names[answer]]
        ]
        assert min(found) < 1
        for i, other in enumerate(pictures(task)[1:]):
            assert i == answer or np.abs(other.astype(float) - crop).mean() > 8


def _cut(photo, left, top, side):
    part = Pillow.fromarray(photo[top : top + side, left : left + side])
    return np.asarray(part.resize((56, 56), Pillow.Resampling.BILINEAR), float)


def test_texts_can_be_drawn():
    """Every character is in the font, and the text does not touch the edge of the picture."""
    characters = set(CHARACTERS_PATH.read_text(encoding="utf-8"))
    assert set(printed_words.LETTERS) <= characters
    for difficulty in range(5):
        for seed in range(20):
            task = make_task(CATEGORIES["printed_words"], seed, difficulty)
            assert set(task.reference["answers"][0]) <= characters
            if difficulty < 2:
                pixels = pictures(task)[0].astype(int)
                edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
                assert np.ptp(edge, axis=0).max() == 0
                assert np.ptp(pixels, axis=(0, 1)).max() > 60


def test_formulas_are_formulas_and_print_differently():
    said = set()
    for difficulty in range(5):
        for seed in range(40):
            task = make_task(CATEGORIES["formulas"], seed, difficulty)
            canonical = latex.canonical(task.reference["answers"][0])
            assert canonical
            said.add(canonical)
    assert len(said) > 180


def test_every_digit_is_written_by_many_hands():
    from rl.envs.handwriting import _hands

    assert min(map(len, _hands())) > 80
    digits = {make_task(CATEGORIES["handwriting"], s, 0).reference["answers"][0] for s in range(80)}
    assert digits == set("0123456789")
