"""Space: contracts, and that the pictures show what the references say."""

import colorsys
import itertools
import math
import re

import numpy as np
import pytest

from mmtp.data.records import Image, Text
from mmtp.data.tasks.scenes import PALETTE
from rl.answers.places3d import box_of
from rl.envs import CATEGORIES, make_task
from rl.envs.drawing.draw_world import draw
from rl.envs.drawing.world import COLOURS, Camera, Solid
from rl.rewards.rules import boxes3d


def pictures(task):
    """All pictures of a task."""
    return [np.asarray(p.data) for p in task.observation.parts if isinstance(p, Image)]


def question(task):
    """The text of a task."""
    return " ".join(p.text for p in task.observation.parts if isinstance(p, Text))


def where(pixels, colour):
    """(left, top, right, bottom) of what has the hue of a colour, lit or not, in pixels."""
    rows, columns = pixels_of(pixels, colour)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def pixels_of(pixels, colour):
    """Rows and columns of the pixels that have the hue of a colour, lit or not."""
    hues = {c: colorsys.rgb_to_hsv(*(v / 255 for v in PALETTE[c][1]))[0] for c in COLOURS}
    flat = pixels.reshape(-1, 3).astype(float) / 255
    high, low = flat.max(1), flat.min(1)
    span = np.maximum(high - low, 1e-6)
    red, green, blue = flat.T
    hue = np.where(
        high == red,
        (green - blue) / span % 6,
        np.where(high == green, (blue - red) / span + 2, (red - green) / span + 4),
    )
    off = np.stack([np.abs((hue / 6 - hues[c] + 0.5) % 1 - 0.5) for c in COLOURS])
    near = (np.array(COLOURS)[off.argmin(0)] == colour) & (span / high > 0.35)
    return np.nonzero(near.reshape(pixels.shape[:2]))


@pytest.mark.parametrize("difficulty", range(5))
def test_the_box_in_space_is_where_its_colour_is(difficulty):
    """Its corners, put through fx, cx and cy of the question, frame the colour in the picture."""
    for seed in range(0, 12, 2):
        task = make_task(CATEGORIES["box_3d"], seed, difficulty)
        said = re.search(r"fy = ([\d.]+), cx = ([\d.]+), cy = ([\d.]+)\.", question(task))
        assert said
        focal, cx, cy = map(float, said.groups())
        reference = task.reference
        box = box_of(reference["bbox_3d"], reference["label"], reference["axes"])
        assert box
        x, y, z = boxes3d.corners(box).T
        u, v = focal * x / z + cx, focal * y / z + cy
        seen = where(pictures(task)[0], box.label.split()[0])
        assert np.abs(np.array(seen) - (u.min(), v.min(), u.max(), v.max())).max() < 2.5, task.id


@pytest.mark.parametrize("difficulty", range(5))
def test_a_box_stands_on_the_floor(difficulty):
    """All four lower corners are as far below the camera as the question says."""
    for seed in range(0, 8, 2):
        task = make_task(CATEGORIES["box_3d"], seed, difficulty)
        said = re.search(r"It is ([\d.]+) m above the floor and looks (.*?)[;.]", question(task))
        assert said
        tilt = math.radians(float(re.findall(r"\d+", said[2])[0])) if "down" in said[2] else 0.0
        reference = task.reference
        box = box_of(reference["bbox_3d"], reference["label"], reference["axes"])
        assert box
        _, y, z = boxes3d.corners(box).T
        below = np.sort(y * math.cos(tilt) + z * math.sin(tilt))
        assert below[4:] == pytest.approx([float(said[1])] * 4, abs=0.01)


def test_distances_can_be_measured_in_the_picture():
    """From the lowest pixel of each thing, through the lens that the question gives."""
    checked = 0
    for seed in range(0, 60, 2):
        task = make_task(CATEGORIES["metric_distance"], seed, 4)
        said = re.search(
            r"fy = ([\d.]+), cx = ([\d.]+), cy = ([\d.]+) \(pixels\), is ([\d.]+) m .* (\d+) degr",
            question(task),
        )
        names = re.search(r"middles of the (\w+) \w+ and the (\w+) ", question(task))
        if not names:
            continue
        assert said
        focal, cx, cy, height, degrees = map(float, said.groups())
        tilt, floor = math.radians(degrees), []
        for colour in names.groups():
            left, _, right, bottom = where(pictures(task)[0], colour)
            u, v = ((left + right) / 2 - cx) / focal, (bottom - cy) / focal
            far = height / (v * math.cos(tilt) + math.sin(tilt))
            floor.append((u * far, far * (math.cos(tilt) - v * math.sin(tilt))))
        assert math.dist(*floor) == pytest.approx(task.reference["answer"], abs=0.65), task.id
        checked += 1
    assert checked > 8


@pytest.mark.parametrize("difficulty", [0, 1, 2])
def test_what_is_near_reaches_lower_in_the_picture(difficulty):
    agreed, total = 0, 0
    for seed in range(0, 24, 2):
        task = make_task(CATEGORIES["depth_order"], seed, difficulty)
        far, pixels = task.reference["far"], pictures(task)[0]
        bottoms = {name: where(pixels, name.split()[0])[3] for name in far}
        nearest = min(far, key=far.__getitem__)
        agreed += max(bottoms, key=bottoms.__getitem__) == nearest
        total += 1
        asked = "nearest" in question(task)
        right = task.reference["options"][task.reference["answer"]]
        assert right == (min if asked else max)(far, key=far.__getitem__)
    assert agreed >= 0.8 * total


def test_the_whole_order_is_right():
    for seed in range(0, 20, 2):
        task = make_task(CATEGORIES["depth_order"], seed, 4)
        far, options = task.reference["far"], task.reference["options"]
        in_order = [[far[name] for name in option.split(" → ")] for option in options]
        assert [d == sorted(d) for d in in_order].count(True) == 1
        assert in_order[task.reference["answer"]] == sorted(in_order[task.reference["answer"]])


def test_sides_by_another_way():
    """Complex numbers: dividing by the line of sight turns it to straight ahead."""
    seen = set()
    for difficulty in range(5):
        for seed in range(0, 40, 2):
            task = make_task(CATEGORIES["spatial_relation"], seed, difficulty)
            form, places = task.reference["form"], task.reference["places"]
            at = {name: complex(z, x) for name, (x, z) in places.items()}  # real: forward
            text = question(task).split("\n")[0]
            names = [m.group() for m in re.finditer("|".join(places), text)]
            right = task.reference["options"][task.reference["answer"]]
            seen.add(form)
            if form == "camera":
                way = at[names[0]] - at[names[1]]
                sides = {"behind": way.real, "in front": -way.real}
                sides |= {"on the right": way.imag, "on the left": -way.imag}
                assert max(sides, key=sides.__getitem__) == right
            elif form == "between":
                one, other = at[names[0]], at[names[1]]
                share = {n: (p - one) / (other - one) for n, p in at.items() if n not in names}
                between = [n for n, s in share.items() if 0 < s.real < 1]
                detour = {
                    n: abs(at[n] - one) + abs(at[n] - other) - abs(one - other) for n in share
                }
                assert min(detour, key=detour.__getitem__) == right
                assert right in between
            else:
                turn = {"right by": 1j, "around": -1, "left by": -1j}
                spin = next((t for words, t in turn.items() if words in text), 1)
                way = (at[names[2]] - at[names[0]]) / ((at[names[1]] - at[names[0]]) * spin)
                front, side = ("front", "back")[way.real < 0], ("right", "left")[way.imag < 0]
                if form == "facing":
                    ahead = abs(way.real) > abs(way.imag)
                    words = {"front": "in front", "back": "behind"}
                    expected = words[front] if ahead else f"on the {side}"
                else:
                    expected = f"{front} {side}"
                assert right == expected, task.id
    assert seen == {"camera", "between", "facing", "corner", "turned"}


@pytest.mark.parametrize("difficulty", range(5))
def test_each_view_shows_its_things_in_order_from_left_to_right(difficulty):
    for seed in range(3):
        task = make_task(CATEGORIES["viewpoint"], seed, difficulty)
        views = task.reference["views"]
        assert len(pictures(task)) == len(views)
        for view, pixels in zip(views, pictures(task), strict=True):
            across = {}
            for colour, (x, z) in view["places"].items():
                turned = complex(x, z) * complex(
                    math.cos(math.radians(-view["turn"])), math.sin(math.radians(-view["turn"]))
                )
                across[colour] = turned.real / (7.5 + turned.imag)
            seen = {colour: np.median(pixels_of(pixels, colour)[1]) for colour in across}
            for one, other in itertools.permutations(across, 2):
                if across[one] < across[other] - 0.12:
                    assert seen[one] < seen[other], (task.id, one, other)


@pytest.mark.parametrize("difficulty", range(5))
def test_only_the_right_view_has_the_first_one_s_places_and_the_right_turn(difficulty):
    for seed in range(10):
        task = make_task(CATEGORIES["viewpoint"], seed, difficulty)
        first, *others = task.reference["views"]
        right = [
            i
            for i, view in enumerate(others)
            if view["places"] == first["places"] and view["turn"] == task.reference["turn"]
        ]
        assert right == [task.reference["answer"]]


@pytest.mark.parametrize("difficulty", range(5))
def test_walking_the_route_as_it_is_written_ends_at_the_answer(difficulty):
    headings = [(0, -1), (1, 0), (0, 1), (-1, 0)]
    for seed in range(0, 20, 2):
        task = make_task(CATEGORIES["route_map"], seed, difficulty)
        (x, y), heading = task.reference["start"], task.reference["heading"]
        for step in re.findall(r"on for \d|turn \w+", question(task)):
            if step.startswith("turn"):
                heading = (heading + (1 if "right" in step else 3)) % 4
            else:
                x += headings[heading][0] * int(step[-1])
                y += headings[heading][1] * int(step[-1])
        right = task.reference["options"][task.reference["answer"]]
        assert task.reference["places"][right] == [x, y]
        pixel = pictures(task)[0][56 * y + 28, 56 * x + 28].astype(int)
        assert np.abs(pixel - PALETTE[right.split()[0]][1]).sum() < 10
        places = list(map(tuple, task.reference["places"].values()))
        assert len(set(places)) == 4


def test_what_is_in_front_is_drawn_over_what_is_behind():
    """A long box beside the camera is farther by its middle, and yet covers what is behind it."""
    camera = Camera((200, 150), 200, (100, 75), 1.5, 0.2)
    near, far = ("red", (0.0, 3.0)), ("blue", (0.0, 6.0))
    solids = [Solid("box", colour, at, (0.8, 0.8, 0.8)) for colour, at in (near, far)]
    one, other = draw(camera, solids), draw(camera, solids[::-1])
    assert (one == other).all()
    u, v = camera.project(np.array([[0.0, -0.7, 3.0 - 0.4]]))[0]
    assert np.abs(one[int(v), int(u)].astype(int) - PALETTE["red"][1]).sum() < 200
    long = Solid("box", "green", (0.0, 7.0), (9.0, 1.0, 0.5), 1.2)
    small = Solid("box", "pink", (3.0, 3.0), (0.4, 0.4, 0.4))
    assert (draw(camera, [long, small]) == draw(camera, [small, long])).all()


def test_a_camera_by_hand():
    camera = Camera((200, 100), 100, (100, 50), 2.0)
    assert camera.project(np.array([[1.0, 0.0, 4.0]])) == [(125.0, 100.0)]
    turned = Camera((200, 100), 100, (100, 50), 2.0, 0.0, (4.0, 0.0), -math.pi / 2)
    assert turned.seen(np.array([[0.0, -1.0, 1.0]]))[0] == pytest.approx([1.0, 1.0, 4.0])
    down = Camera((200, 100), 100, (100, 50), 2.0, math.pi / 2)
    assert down.seen(np.array([[0.5, 0.0, 0.0]]))[0] == pytest.approx([0.5, 0.0, 2.0])
