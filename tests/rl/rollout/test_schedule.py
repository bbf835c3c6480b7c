"""The schedule under random settings and random orders of events."""

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvit_jax.settings import ConfigError, read
from rl.rollout import schedule_batches, schedule_json
from rl.rollout.events import Admit, Admitted, Start
from rl.rollout.replay import fold
from rl.rollout.schedule import finished, length_audit
from rl.rollout.schedule_checks import check_invariants, metrics
from rl.rollout.schedule_settings import PATH, RolloutSettings, check
from rl.rollout.schedule_state import ScheduleError, State
from tests.rl.rollout.drive import Drive


@st.composite
def rollout_settings(draw) -> RolloutSettings:
    eta, groups = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    colocated = draw(st.booleans())
    most = (eta + 1) * groups
    return RolloutSettings(
        group_size=draw(st.integers(1, 3)),
        batch_groups=groups,
        max_staleness=eta,
        concurrency=draw(st.integers(1, 10)),
        colocated=colocated,
        batches_ahead=0 if colocated else draw(st.integers(0, 1)),
        abort_count=draw(st.sampled_from([0, groups, most])) if eta else 0,
        abort_seconds=draw(st.sampled_from([0.0, 3.0])) if eta else 0.0,
        partial=draw(st.sampled_from(["continue", "restart"])),
        dynamic_sampling=draw(st.booleans()),
        oversampling=2.0,
        min_valid=1,
        max_judgings=2,
        max_attempts=2,
        reuse=draw(st.integers(0, 2)),
        num_steps=5,
    )


def play(config: RolloutSettings, seed: int, faults: bool = True, check: bool = True) -> Drive:
    """A whole run; with `faults`, the process dies and replies come in twice now and then."""
    rng = random.Random(seed)
    drive = Drive(config, lambda choices, _: rng.randrange(choices), check)
    drive.begin()
    while not finished(config, drive.state):
        if faults and rng.random() < 0.02:
            drive.kill()
        if faults and rng.random() < 0.05:
            drive.late()
        assert drive.step(), "nothing can happen any more, and the run is not finished"
    return drive


@settings(max_examples=40)
@given(rollout_settings(), st.integers(0, 2**32))
def test_any_order_of_events_ends_with_every_prompt_trained_or_dropped_once(config, seed):
    check(config)
    drive = play(config, seed)  # invariants, staleness among them, are checked after each event
    state = drive.state
    assert state.version == config.num_steps
    assert sum(state.staleness.values()) == config.num_steps * config.batch_groups
    assert max(state.staleness) <= config.max_staleness
    held = sum(not group.uses for group in state.groups.values())
    assert state.num_admitted == state.counts["trained_groups"] + state.dropped.total() + held


def test_the_runs_of_these_tests_reach_every_corner():
    """So that the properties above are not empty: all of it happens in a few runs."""
    counts, dropped, at_bound = {}, set(), 0
    for seed in range(40):
        config = dataclasses.replace(
            RolloutSettings(
                group_size=3, batch_groups=2, max_staleness=2, concurrency=7, num_steps=6
            ),
            abort_count=(0, 2)[seed % 2],
            partial=("continue", "restart")[seed // 2 % 2],
            dynamic_sampling=seed % 3 == 0,
            oversampling=1.5,
            min_valid=1 + seed % 2,
            max_judgings=2,
            max_attempts=2,
            reuse=seed % 2,
        )
        state = play(config, seed, check=False).state
        counts |= state.counts
        dropped |= set(state.dropped)
        at_bound += state.staleness[2]
    assert {"late", "late_tokens", "continued", "restarted", "aborted", "deaths", "resumes"} <= set(
        counts
    )
    assert {"judged_again", "kept_equal", "reused_groups", "left_out_samples"} <= set(counts)
    assert dropped == {"equal", "unjudged", "abstained", "lost"}
    assert at_bound > 10


def test_waiting_for_due_groups_alone_would_break_the_bound(monkeypatch):
    """With η ≥ 2 more than B groups can fall due at once; the rule must look further ahead."""

    def due_only(config, versions, formed):
        return all(version >= formed - config.max_staleness for version in versions)

    config = RolloutSettings(
        group_size=1, batch_groups=1, max_staleness=3, concurrency=8, min_valid=1, num_steps=12
    )

    def oldest() -> int:
        return max(max(play(config, seed, check=False).state.staleness) for seed in range(12))

    assert oldest() == 3
    monkeypatch.setattr(schedule_batches, "in_time", due_only)
    with pytest.raises(AssertionError):  # it is broken, or nothing can be in time any more
        assert oldest() == 3


@pytest.mark.parametrize("seed", range(3))
def test_a_run_resumes_from_its_state_at_every_event(seed):
    config = RolloutSettings(
        group_size=2, batch_groups=2, max_staleness=1, concurrency=5, min_valid=1, num_steps=3,
        abort_count=2, reuse=seed % 2, dynamic_sampling=True,
    )  # fmt: skip
    events = play(config, seed).events
    state, end = State(), schedule_json.to_json(fold(config, events))
    for place, event in enumerate(events):
        saved = schedule_json.to_json(state)
        again = schedule_json.from_json(saved)
        assert schedule_json.to_json(again) == saved
        if place % 16 == 0:
            assert schedule_json.to_json(fold(config, events[place:], again)) == end
        fold(config, [event], state)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_staleness": 0}, "too old when their turn comes .* max_staleness = 0"),
        ({"batch_groups": 2}, "config.rollout.batch_groups = 2"),
        ({"group_size": 1, "min_valid": 1}, "have 2 samples, and config.rollout.group_size = 1"),
        ({"batch_groups": 6}, ""),
        ({"max_staleness": 3}, ""),
        ({"concurrency": 1}, ""),
    ],
)
def test_settings_under_which_nothing_could_go_on_are_refused(changes, words):
    """Instead of a resumed run that waits for ever."""
    config = RolloutSettings(
        group_size=2, batch_groups=4, concurrency=64, max_staleness=1, min_valid=1
    )
    rng = random.Random(1)
    drive = Drive(config, lambda choices, _: rng.randrange(choices), check=False)
    drive.begin()
    for _ in range(4000):
        assert drive.step()
        versions = [drive.state.groups[group].version for group in drive.state.others]
        if drive.state.version > 2 and len(versions) > 4 and versions[0] < drive.state.version:
            break
    drive.settings = dataclasses.replace(config, **changes)
    if words:
        with pytest.raises(ScheduleError, match=words):
            drive.kill()
        return
    drive.kill()
    version = drive.state.version
    for _ in range(4000):
        assert drive.step()
    assert drive.state.version > version + 3


def test_states_of_another_format_are_refused():
    value = schedule_json.to_json(State())
    with pytest.raises(ScheduleError, match="format 0"):
        schedule_json.from_json(value | {"format": 0})


def test_invariants_can_fail():
    config = RolloutSettings(group_size=2, batch_groups=2, concurrency=4, min_valid=1, num_steps=2)
    for spoil, complaint in (
        (lambda s: s.groups.pop(next(iter(s.groups))), "prompts"),
        (lambda s: s.counts.update(generated=1), "tokens"),
        (lambda s: s.waiting.append((False, (0, 0))), "waiting"),
        (lambda s: s.staleness.update({9: 1}), "ages"),
    ):
        drive = Drive(config, lambda choices, _: choices - 1)
        drive.begin()
        for _ in range(4):
            drive.step()
        spoil(drive.state)
        with pytest.raises(ScheduleError, match=complaint):
            check_invariants(config, drive.state)


def test_figures_of_a_run():
    config = RolloutSettings(group_size=2, batch_groups=2, concurrency=4, min_valid=1, num_steps=4)
    state = play(config, 1).state
    figures = metrics(config, state)
    assert figures["staleness/mean"] == sum(k * n for k, n in state.staleness.items()) / 8
    assert figures["count/trained_groups"] == 8
    assert 0 <= figures["wasted"] < 1
    assert 0 < figures["occupancy"] <= 1
    assert {"wait/waiting", "wait/running", "wait/judging", "wait/ready"} <= set(figures)
    report = length_audit(state)
    assert set(report) == {"", "counting", "charts"}
    assert report[""]["num_trained"] == state.counts["trained_samples"]


def test_settings_are_checked_with_a_remedy():
    for wrong, complaint in (
        ({"partial": "contine"}, "Did you mean 'continue'"),
        ({"group_size": 0}, "group_size = 0 must be at least 1"),
        ({"min_valid": 9}, "at most group_size = 8"),
        ({"abort_count": 3}, "abort_count = 3 must be from batch_groups = 8"),
        ({"abort_seconds": 3, "max_staleness": 0}, "set it to 1 or more"),
        ({"colocated": True, "batches_ahead": 1}, "batches_ahead = 1 needs"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            check(read(RolloutSettings, wrong, PATH))
    check(RolloutSettings())


def test_a_prompt_may_be_drawn_while_weights_are_published_but_not_be_too_old():
    config = RolloutSettings(
        group_size=1, batch_groups=1, max_staleness=1, concurrency=2, min_valid=1
    )
    rng = random.Random(0)
    drive = Drive(config, lambda choices, _: rng.randrange(choices))
    drive.begin()
    for _ in range(1000):
        if drive.state.published == 2:
            break
        drive.step()
    state = schedule_json.from_json(schedule_json.to_json(drive.state))
    fold(config, [Admit(1, state.time)], state)
    number, place = state.num_admitted, len(state.others)
    oldest = state.formed + place - 1  # a + η ≥ f + ⌊i / B⌋
    with pytest.raises(ScheduleError, match="in time"):
        fold(
            config,
            [Admitted(number, "", {}, oldest - 1, state.time)],
            schedule_json.from_json(schedule_json.to_json(state)),
        )
    fold(config, [Admitted(number, "", {}, oldest, state.time)], state)
    assert state.others[-1] == number


def test_events_that_cannot_follow_are_refused():
    config = RolloutSettings(group_size=1, batch_groups=1, concurrency=1, min_valid=1)
    drive = Drive(config, lambda choices, _: 0)
    drive.begin()
    drive.step()
    drive.step()
    time = drive.state.time
    for event in (
        Start((0, 0), 0, 2, time),  # it runs already
        Start((0, 0), 0, 1, time - 1),  # time goes back
    ):
        with pytest.raises(ScheduleError):
            fold(config, [event], schedule_json.from_json(schedule_json.to_json(drive.state)))
