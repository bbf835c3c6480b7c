"""Video: contracts, and that the frames show what the references say."""

import re

import numpy as np
import pytest

from mmtp.data.records import Text, Video
from mmtp.data.tasks.scenes import PALETTE
from rl import envs
from rl.envs import action_count, event_order, object_tracking, shell_game, temporal_grounding
from rl.envs.category import make_task
from rl.rewards.rules.boxes import iou

CATEGORIES = {
    module.CATEGORY.name: module.CATEGORY
    for module in (event_order, object_tracking, temporal_grounding, shell_game, action_count)
}


@pytest.mark.parametrize("name", CATEGORIES)
def test_it_is_one_of_the_gym(name):
    assert envs.CATEGORIES[name] is CATEGORIES[name]
    assert CATEGORIES[name].group == "video"


@pytest.mark.parametrize("name", CATEGORIES)
@pytest.mark.parametrize("difficulty", range(5))
def test_clips_are_short_and_their_seconds_rise(name, difficulty):
    for seed in range(3):
        video = make_task(CATEGORIES[name], seed, difficulty).observation.parts[0]
        assert isinstance(video, Video)
        assert 3 <= len(video.frames) <= 16
        assert len(video.seconds) == len(video.frames)
        assert video.seconds[0] == 0
        assert (np.diff(video.seconds) > 0).all()
        assert len({frame.shape for frame in video.frames}) == 1


def shown(task):
    """Frames as integers, and the question."""
    video, text = task.observation.parts
    assert isinstance(text, Text)
    return [frame.astype(int) for frame in video.frames], text.text


def spots(frame, colour):
    """Places (y, x) of a colour's pixels."""
    return np.argwhere(np.abs(frame - np.array(PALETTE[colour][1])).sum(axis=2) < 12)


def moment(frames, line):
    """The first frame in which what a line says has happened."""
    colour = re.match(r"The (\w+) ", line)[1]
    places = [spots(frame, colour) for frame in frames]
    there = [len(place) > 20 for place in places]
    if " appears" in line:
        return there.index(True)
    if "moves" in line:
        middle = [place.mean(axis=0) for place in places]
        return next(i for i, m in enumerate(middle) if np.abs(m - middle[0]).max() > 5)
    return there.index(False)


@pytest.mark.parametrize("seed", range(0, 24, 2))
def test_events_happen_in_the_order_of_the_reference(seed):
    task = make_task(event_order.CATEGORY, seed, seed % 5)
    frames, question = shown(task)
    moments = {m[1]: moment(frames, m[2]) for m in re.finditer(r"\((\w)\) (.*)", question)}
    in_order = sorted(moments, key=moments.__getitem__)
    assert in_order == task.reference["order"]
    assert len(set(moments.values())) == len(moments)


@pytest.mark.parametrize("seed", range(0, 20, 2))
def test_boxes_are_where_the_shape_is(seed):
    task = make_task(object_tracking.CATEGORY, seed, 0)
    frames, question = shown(task)
    colour = re.search(r"the (\w+) ", question)[1]
    for second, box in task.reference["boxes"].items():
        found = spots(frames[int(second)], colour)
        top_left, bottom_right = found.min(axis=0), found.max(axis=0) + 1
        seen = np.array([*top_left[::-1], *bottom_right[::-1]]) / 84 * 1000
        # A diamond is narrower than the square around it, a triangle's tip is thin.
        assert np.abs(seen - box).max() < 60


@pytest.mark.parametrize("seed", range(8))
def test_no_box_is_right_for_two_of_the_stops(seed):
    task = make_task(object_tracking.CATEGORY, seed, seed % 5)
    boxes = list(task.reference["boxes"].values())
    assert all(iou(a, b) < 0.3 for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("seed", range(0, 20, 2))
def test_stretches_are_those_in_which_it_is_seen(seed):
    task = make_task(temporal_grounding.CATEGORY, seed, (0, 1, 3)[seed % 3])
    frames, question = shown(task)
    if "seen" not in question:
        return
    colour = re.search(r"the (\w+) ", question)[1]
    there = np.array([0, *(len(spots(frame, colour)) > 20 for frame in frames), 0])
    step = task.reference["end"] / len(frames)
    edges = (np.flatnonzero(np.diff(there)) * step).reshape(-1, 2).tolist()
    gold = task.reference.get("intervals") or [task.reference["interval"]]
    assert edges == gold


@pytest.mark.parametrize("seed", range(10))
def test_the_ball_can_be_followed(seed):
    """Places that are empty half-way are those that change; the ball is seen at the beginning."""
    task = make_task(shell_game.CATEGORY, seed, seed % 5)
    frames, _ = shown(task)
    red = np.argwhere(np.abs(frames[0] - np.array((214, 40, 40))).sum(axis=2) < 20)
    place = int(red[:, 1].mean() // 28)
    whole = frames[1]
    for halfway in frames[2::2]:
        empty = [
            i
            for i in range(task.reference["cups"])
            if np.abs(halfway - whole)[44:62, 28 * i + 7 : 28 * i + 12].sum(axis=2).mean() > 40
        ]
        assert place >= 0
        ends = [empty[0], empty[-1]]
        place = {ends[0]: ends[1], ends[1]: ends[0]}.get(place, place)
    assert place + 1 == task.reference["answer"]


@pytest.mark.parametrize("seed", range(0, 24, 2))
def test_actions_can_be_counted(seed):
    task = make_task(action_count.CATEGORY, seed, seed % 5)
    frames, question = shown(task)
    colour = re.search(r"the (\w+) ", question)[1]
    places = [spots(frame, colour) for frame in frames]
    if "appear" in question:
        up = np.array([len(place) > 20 for place in places])
    else:
        height = np.array([place[:, 0].mean() for place in places])
        up = height < height.max() - 10
    assert not up[0]
    assert int((np.diff(up.astype(int)) == 1).sum()) == task.reference["answer"]
