"""Timelines: what a picture and a trace show is what was recorded."""

import itertools
import json
import random

import pytest

from rl.spans import STAGES, Span
from rl.viewing import timeline

RUN = [
    Span("rollout", "row 0", 10, 13, "", ("a",)),
    Span("rollout", "row 0", 13, 18, "", ("b",)),
    Span("rollout", "row 10", 10, 20, "", ("c",)),
    Span("rollout", "row 2", 12, 14, "", ("d",)),
    Span("reward", "reward 0", 13.5, 14, "1", ("a",)),
    Span("reward", "reward 0", 18, 18.25, "0", ("b",)),
    Span("batch", "packer", 18.5, 19, "step 1", ("a", "b")),
    Span("train", "trainer", 19, 20, "step 1", ("a", "b")),
    Span("wait", "trainer", 10, 19),
]


def test_lanes_are_in_order_of_stages_and_numbers():
    found = timeline.lanes(random.Random(0).sample(RUN, len(RUN)))
    assert list(found) == ["row 0", "row 2", "row 10", "reward 0", "packer", "trainer"]
    assert found["row 0"] == RUN[:2]


def test_idle_shares_by_hand():
    assert timeline.window(RUN) == (10, 20)
    assert timeline.window(RUN, 4) == (16, 20)
    found = timeline.idle_shares(RUN, 10, 20)
    assert found == pytest.approx(
        {"row 0": 0.2, "row 2": 0.8, "row 10": 0, "reward 0": 0.925, "packer": 0.95, "trainer": 0.9}
    )
    assert timeline.idle_shares(RUN, 16, 20)["row 0"] == pytest.approx(0.5)
    assert timeline.busy_seconds(RUN, 16, 20) == pytest.approx(
        {"rollout": 6, "reward": 0.25, "batch": 0.5, "train": 1}
    )


def test_a_picture_has_the_spans_of_its_window():
    figure = timeline.draw(RUN, 4)
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "row 0  50% idle"
    assert len(labels) == 5  # row 2 had ended
    drawn = [
        [tuple(path.get_extents().intervalx) for path in c.get_paths()] for c in axes.collections
    ]
    assert drawn[0] == [(0, 2)]
    assert drawn[-1] == [(0, 3), (3, 4)]  # trainer: waits, trains
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "rollout", "reward", "batch", "train", "wait",
    ]  # fmt: skip


def test_too_many_lanes_are_cut_and_said(tmp_path):
    many = [Span("rollout", f"row {i}", 0, 1 + i) for i in range(100)]
    figure = timeline.draw(many)
    assert len(figure.axes[0].collections) == timeline.MOST_LANES
    assert figure.axes[0].get_title(loc="left").startswith("12 of 100 lanes")
    figure.savefig(tmp_path / "a.png")
    timeline.draw([]).savefig(tmp_path / "b.png")


def test_a_trace_is_what_perfetto_reads(tmp_path):
    timeline.write_trace(RUN, tmp_path / "trace.json")
    found = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in found if e["name"] == "thread_name"}
    complete = [e for e in found if e["ph"] == "X"]
    assert len(complete) == len(RUN)
    total = {lane: 0.0 for lane in names.values()}
    for event in complete:
        assert event["ts"] >= 0
        assert event["cat"] in STAGES
        total[names[event["tid"]]] += event["dur"] / 1e6
    wanted = {lane: sum(s.seconds for s in RUN if s.lane == lane) for lane in total}
    assert total == pytest.approx(wanted)
    for lane in names:
        own = sorted((e["ts"], e["ts"] + e["dur"]) for e in complete if e["tid"] == lane)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(own))


def test_flows_lead_from_a_sample_to_its_reward_and_its_batch():
    events = timeline.trace(RUN)["traceEvents"]
    slices = [e for e in events if e["ph"] == "X"]

    def stage(event):
        """Of the span that is open on the event's thread at its time."""
        (found,) = [
            s for s in slices
            if s["tid"] == event["tid"] and s["ts"] <= event["ts"] < s["ts"] + s["dur"]
        ]  # fmt: skip
        assert event["name"] in found["args"]["ids"]
        return found["cat"]

    flows = [e for e in events if e["ph"] in "stf"]
    assert {e["name"] for e in flows} == {"a", "b"}  # c and d have gone nowhere yet
    for name in "ab":
        own = [e for e in flows if e["name"] == name]
        assert [e["ph"] for e in own] == ["s", "t", "t", "f"]
        assert [stage(e) for e in own] == ["rollout", "reward", "batch", "train"]
        assert [e["ts"] for e in own] == sorted(e["ts"] for e in own)
        assert own[-1]["bp"] == "e"
        assert len({e["id"] for e in own}) == 1
    assert len({e["id"] for e in flows}) == 2
