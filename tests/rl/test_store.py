"""The store: exact round trips, and clear refusals."""

import dataclasses
import io
import json
import os
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from mmtp.data.records import Image, Text, Video
from rl.envs import CATEGORIES, make_task
from rl.envs.environment import judge, play
from rl.store import StoreError, read, remove, write
from rl.types import Action, Observation, Rollout, Task, TrainingSample, Turn, Verdict
from tests.rl.rewards import cases


def pixels(seed, shape=(20, 30, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def equal(one, other):
    """Equal to types and bits."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if type(one) is not type(other):
        return False
    if dataclasses.is_dataclass(one):
        names = [f.name for f in dataclasses.fields(one)]
        return all(equal(getattr(one, n), getattr(other, n)) for n in names)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[k], other[k]) for k in one)
    return one == other or one is other


def rollout(text="好\n\u2028<think>", **state):
    file = io.BytesIO()
    Pillow.fromarray(pixels(3)).save(file, "JPEG")
    seen = Observation(
        (
            Text("看：\ud800"),
            Image(pixels(1)),
            Image(pixels(2, (16, 17))),
            Image(file.getvalue()),
            Video((pixels(1), pixels(4)), (0.0, 0.1)),
        )
    )
    task = dataclasses.replace(
        cases.task(),
        observation=seen,
        reference={"answer": [1, 0.1, None, True, {"k": "v"}]},
        tools=({"name": "zoom"},),
    )
    action = Action(text, (5, 9), (-0.1, -1e-300), (3, 4), "length")
    return Rollout(task, (Turn(seen, action), Turn(Observation((), "observation"), action)), state)


SAMPLE = TrainingSample("t", "maze", "t#1", (5, 9), (False, True), (0, -0.7), (0, 12), 1.0, -0.1)
ITEMS = [
    rollout(board=[[1, 2], [3]]),
    cases.task(3),
    Verdict.of(1 / 3, "box", iou=0.1 + 0.2),
    Verdict.abstain("judge", "unsure"),
    Verdict.error("judge", "HTTP 503"),
    SAMPLE,
    Observation((Text(""),), "observation"),
    Rollout(cases.task(), ()),
]


def test_round_trip(tmp_path):
    write(tmp_path / "new" / "a.jsonl", ITEMS)
    back = list(read(tmp_path / "new" / "a.jsonl"))
    assert len(back) == len(ITEMS)
    for one, other in zip(ITEMS, back, strict=True):
        assert equal(one, other)
    write(tmp_path / "new" / "b.jsonl", back)
    texts = [(tmp_path / "new" / f"{n}.jsonl").read_bytes() for n in "ab"]
    assert texts[0] == texts[1]


def test_equal_pictures_are_stored_once(tmp_path):
    write(tmp_path / "a.jsonl", [rollout(), rollout(), Observation((Image(pixels(1)),))])
    assert len(list((tmp_path / "images").iterdir())) == 4  # and none is left half-written
    write(tmp_path / "b.jsonl", [Observation((Image(pixels(1).copy()),))])
    assert len(list((tmp_path / "images").iterdir())) == 4


def test_what_goes_takes_the_pictures_along_that_nothing_newer_has(tmp_path):
    first, second = (Observation((Image(pixels(a)), Image(pixels(9)))) for a in (1, 2))
    write(tmp_path / "a.jsonl", [first])
    time.sleep(0.02)  # file systems tell milliseconds apart
    write(tmp_path / "b.jsonl", [second])
    remove(tmp_path / "a.jsonl")
    assert [equal(item, second) for item in read(tmp_path / "b.jsonl")] == [True]
    assert len(list((tmp_path / "images").iterdir())) == 2
    remove(tmp_path / "b.jsonl")
    assert not list((tmp_path / "images").iterdir())


def same_verdict(folder, name):
    category = CATEGORIES[name]
    task = make_task(category, 2, 1)
    played = play(category, task, category.oracle(task))
    write(folder / "a.jsonl", [task, played])
    again, replayed = read(folder / "a.jsonl")
    assert equal(task, again)
    assert equal(played, replayed)
    assert isinstance(replayed, Rollout)
    assert judge(category, replayed).value == 1.0


def test_a_category_of_each_level_is_judged_the_same_after_a_round_trip(tmp_path):
    first = {category.level: name for name, category in reversed(CATEGORIES.items())}
    for name in first.values():
        same_verdict(tmp_path, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CATEGORIES))
def test_every_category_is_judged_the_same_after_a_round_trip(tmp_path, name):
    same_verdict(tmp_path, name)


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
JSON = st.deferred(
    lambda: PLAIN | st.lists(JSON, max_size=3) | st.dictionaries(st.text(), JSON, max_size=3)
)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.dictionaries(st.text(), JSON, max_size=3), st.text(), st.floats(0, 1))
def test_whatever_is_json_comes_back(tmp_path, state, text, value):
    items = [
        dataclasses.replace(cases.rollout(), state=state),
        Observation((Text(text),)),
        Verdict.of(value, text, x=state),
    ]
    write(tmp_path / "a.jsonl", items)
    assert all(map(equal, items, read(tmp_path / "a.jsonl")))


@pytest.mark.parametrize(
    "bad",
    [
        rollout(x=(1, 2)),
        rollout(x={1: 2}),
        rollout(x=np.float32(1)),
        rollout(x=float("nan")),
        rollout(x={"s": {3}}),
        dataclasses.replace(SAMPLE, reward=float("inf")),
        Observation((Image(np.zeros((4, 4, 4), np.uint8)),)),
        Observation((Image(np.zeros((4, 4, 3), np.float32)),)),
        Action("no item"),
    ],
)
def test_what_would_not_come_back_is_refused_and_nothing_is_replaced(tmp_path, bad):
    write(tmp_path / "a.jsonl", [SAMPLE])
    with pytest.raises(ValueError, match="item 1 cannot be stored"):
        write(tmp_path / "a.jsonl", [SAMPLE, bad])
    assert list(read(tmp_path / "a.jsonl")) == [SAMPLE]
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["a.jsonl"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    write(tmp_path / "a.jsonl", [SAMPLE])

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "a.jsonl", [SAMPLE, SAMPLE])
    assert list(read(tmp_path / "a.jsonl")) == [SAMPLE]
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def change(line, **fields):
    return json.dumps(json.loads(line) | fields)


def value(line, **fields):
    return change(line, value=json.loads(line)["value"] | fields)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda line: line[:-30], "JSON"),
        (lambda line: "", "JSON"),
        (lambda line: "null", "TypeError"),
        (lambda line: change(line, version=2), "version 2"),
        (lambda line: change(line, version="1"), "version '1'"),
        (lambda line: change(line, kind="rolout"), "rolout"),
        (lambda line: value(line, extra=1), "extra"),
        (lambda line: value(line, reward="1.0"), "is no float"),
        (lambda line: value(line, reward=True), "is no float"),
        (lambda line: value(line, tokens=5), "is no list"),
        (lambda line: value(line, tokens=["5"]), "is no int"),
        (lambda line: value(line, source=None), "is no str"),
        (lambda line: line.replace("-0.1", "NaN"), "NaN is no JSON"),
        (lambda line: line.replace("maze", "\udcff"), "utf-8"),
    ],
)
def test_damaged_lines_are_told_with_file_and_line(tmp_path, damage, message):
    path = tmp_path / "a.jsonl"
    write(path, [SAMPLE, SAMPLE, SAMPLE])
    lines = path.read_text().splitlines()
    lines[1] = damage(lines[1])
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
    items = read(path)
    assert next(items) == SAMPLE
    with pytest.raises(StoreError, match=rf"a\.jsonl:2: .*{message}"):
        next(items)


def test_a_file_that_is_cut_off_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    write(path, [SAMPLE, SAMPLE])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StoreError, match=r"a\.jsonl:2: the file is cut off"):
        list(read(path))


def test_missing_swapped_and_strange_pictures_are_told(tmp_path):
    path = tmp_path / "a.jsonl"
    write(path, [SAMPLE, Observation((Image(pixels(1)), Image(pixels(2))))])
    one, other = sorted((tmp_path / "images").iterdir())
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    with pytest.raises(StoreError, match=r"a\.jsonl:2: .*is damaged"):
        list(read(path))
    one.write_bytes(content[:-4])
    with pytest.raises(StoreError, match=r"a\.jsonl:2: .*is damaged"):
        list(read(path))
    one.unlink()
    with pytest.raises(StoreError, match=r"a\.jsonl:2: FileNotFoundError"):
        list(read(path))
    text = path.read_text().replace(one.name, "../../etc/passwd")
    path.write_text(text)
    with pytest.raises(StoreError, match="is no name of a picture"):
        list(read(path))


def test_empty_file(tmp_path):
    write(tmp_path / "a.jsonl", [])
    assert list(read(tmp_path / "a.jsonl")) == []
    assert isinstance(ITEMS[1], Task)
