"""Curriculum: shares by hand, exact quotas, exact resume, and what it learns to draw."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvit_jax.settings import ConfigError, read
from rl import apportion, curriculum
from rl.curriculum import category_shares, draw, make_plan, observe, oversampling, start
from rl.curriculum_settings import CurriculumSettings
from rl.envs import CATEGORIES, make_task
from rl.level_weights import LEVEL_WEIGHTS

LEVELS = {"count": "element", "box": "grounding", "point": "grounding", "maze": "trajectory"}


def options(**fields):
    return read(CurriculumSettings, {"window": 100} | fields, "config.curriculum")


def with_rates(state, **rates):
    """All difficulties of a category have a pass rate, and were tried."""
    new = {c: rates.get(c.rpartition("/")[0], r) for c, r in state["rates"].items()}
    return state | {"rates": new, "groups": dict.fromkeys(state["groups"], 1)}


def tally(picks):
    return Counter(pick.category for pick in picks)


def test_levels_share_equally_then_categories_within():
    chosen = options(window=120)
    picks, _ = draw(chosen, start(chosen, LEVELS), 120)
    assert tally(picks) == {"count": 40, "box": 20, "point": 20, "maze": 40}
    assert len({pick.seed for pick in picks}) == 120
    languages = Counter(pick.language for pick in picks)
    assert 40 < languages["zh"] < 80
    assert [pick.category for pick in picks] != sorted(pick.category for pick in picks)


def test_learnable_cells_are_drawn_more():
    """p(1 − p): ½ is four times the floor of .25, and never or always solved have the floor."""
    chosen = options(floor=0.25, difficulties=(0, 1, 2))
    state = start(chosen, {"count": "element"})
    state["rates"] |= {"count/0": 1.0, "count/1": 0.5, "count/2": 0.0}
    assert curriculum.cell_weights(chosen, state) == {
        "count/0": 0.25,
        "count/1": 1.0,
        "count/2": 0.25,
    }
    plan = make_plan(chosen, state)
    assert abs(plan["count/1"] - 100 * 1.0 / 1.5) <= 1
    assert sum(plan.values()) == 100


def test_rates_move_by_their_moving_average():
    chosen = options(decay=0.75, prior=0.5)
    state = start(chosen, LEVELS)
    state = observe(chosen, state, "maze", 3, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    assert state["rates"]["maze/3"] == 0.75 * 0.5 + 0.25 * 0.75
    assert state["rates"]["maze/2"] == 0.5
    assert state["groups"]["maze/3"] == 1
    assert observe(chosen, state, "maze", 3, []) == state  # nothing but errors and abstentions


def test_oversampling_follows_useless_groups_up_to_its_cap():
    chosen = options(useless_decay=0.5, max_oversampling=4.0)
    state = start(chosen, LEVELS)
    assert oversampling(chosen, state) == 1.0
    state = observe(chosen, state, "maze", 0, [1.0, 1.0])
    assert oversampling(chosen, state) == 2.0
    assert observe(chosen, state, "maze", 0, [1.0])["useless"] == 0.5  # one alone tells nothing
    state = observe(chosen, state, "maze", 0, [0.5, 0.5])
    assert oversampling(chosen, state) == 4.0
    for _ in range(100):
        state = observe(chosen, state, "maze", 0, [0.0, 0.0])
    assert oversampling(chosen, state) == 4.0
    state = observe(chosen, state, "maze", 0, [0.0, 1.0])
    assert oversampling(chosen, state) == pytest.approx(2.0)


def test_levels_by_schedule():
    lines = (("element", 3.0, 0.0), ("trajectory", 0.0, 3.0))
    chosen = options(level_mode="schedule", levels=lines, level_tasks=1000)
    state = start(chosen, LEVELS)
    weights = LEVEL_WEIGHTS["schedule"]
    assert weights(chosen, state) == {"element": 0.75, "grounding": 0.25, "trajectory": 0.0}
    middle = weights(chosen, state | {"drawn": 500})
    assert middle == pytest.approx({"element": 0.375, "grounding": 0.25, "trajectory": 0.375})
    late = weights(chosen, state | {"drawn": 9999})
    assert late == {"element": 0.0, "grounding": 0.25, "trajectory": 0.75}


def test_levels_by_mastery_of_the_one_below():
    lines = (("grounding", 0.0, 1.0), ("trajectory", 0.0, 1.0))
    chosen = options(level_mode="mastery", levels=lines, mastery=(0.25, 0.75))
    state = start(chosen, LEVELS)
    weights = LEVEL_WEIGHTS["mastery"]
    assert weights(chosen, state) == {"element": 1.0, "grounding": 0.0, "trajectory": 0.0}
    half = with_rates(state, count=0.5, box=0.0, point=0.0, maze=0.0)
    assert weights(chosen, half) == pytest.approx(
        {"element": 2 / 3, "grounding": 1 / 3, "trajectory": 0.0}
    )
    done = with_rates(state, count=0.9, box=0.8, point=0.8, maze=0.0)
    assert weights(chosen, done) == pytest.approx(dict.fromkeys(half["levels"].values(), 1 / 3))


def test_quotas_hold_exactly_in_every_window():
    chosen = options(window=200, quotas=(("maze", 0.5, 1.0), ("box", 0.0, 0.05), ("*", 0.1, 1.0)))
    state = start(chosen, LEVELS)
    for _ in range(5):
        picks, state = draw(chosen, state, 200)
        counts = tally(picks)
        assert counts["maze"] == 100
        assert counts["box"] <= 10
        assert counts["point"] >= 20
        assert counts["count"] >= 20
        state = observe(chosen, state, "maze", 0, [0.0, 0.0])


def test_learning_moves_the_draws():
    """A policy that masters easy cells: what is drawn moves to the hard ones, none is forgotten."""
    chosen = options(decay=0.5, window=200, floor=0.1, seed=3)
    state = start(chosen, {"count": "element"})
    first, state = draw(chosen, state, 200)
    for _ in range(10):
        picks, state = draw(chosen, state, 200)
        for pick in picks:
            rewards = [1.0] * 8 if pick.difficulty < 3 else [1.0] * 4 + [0.0] * 4
            state = observe(chosen, state, pick.category, pick.difficulty, rewards)
    last, _ = draw(chosen, state, 200)
    before, after = (Counter(pick.difficulty for pick in picks) for picks in (first, last))
    assert all(30 <= before[d] <= 50 for d in range(5))
    assert after[3] + after[4] > 150
    assert min(after[d] for d in range(3)) >= 5
    assert 1 < oversampling(chosen, state) < 2


@settings(max_examples=20)
@given(st.integers(0, 5), st.lists(st.integers(1, 70), min_size=1, max_size=6))
def test_resumed_in_any_pieces_it_draws_the_same(seed, pieces):
    """Saved as JSON after each piece."""

    def run(pieces):
        chosen = options(seed=seed, window=64, level_mode="mastery")
        state, drawn = start(chosen, LEVELS), []
        for piece in pieces:
            picks, state = draw(chosen, json.loads(json.dumps(state)), piece)
            drawn += picks
        return drawn, json.dumps(state)

    assert run(pieces) == run([sum(pieces)]) == run([1] * sum(pieces))


def test_resumed_between_rewards_it_goes_on_the_same():
    def run(save):
        chosen = options(window=16, decay=0.7)
        state, drawn = start(chosen, LEVELS), []
        rng = np.random.default_rng(0)
        for _ in range(60):
            picks, state = draw(chosen, state, 3)
            drawn += picks
            for pick in picks:
                rewards = [float(r) for r in rng.random(4) < 0.3]
                state = observe(chosen, state, pick.category, pick.difficulty, rewards)
                state = json.loads(json.dumps(state)) if save else state
        return drawn, state

    assert run(save=True) == run(save=False)


def test_other_seeds_draw_otherwise_and_states_are_not_changed():
    chosen, other = options(), options(seed=1)
    state = start(chosen, LEVELS)
    text = json.dumps(state)
    picks = draw(chosen, state, 50)[0]
    observe(chosen, state, "maze", 0, [1.0, 0.0])
    assert json.dumps(state) == text
    assert draw(chosen, state, 50)[0] == picks
    assert draw(other, state, 50)[0] != picks
    with pytest.raises(ValueError, match="version 2"):
        draw(chosen, state | {"version": 2}, 1)


def test_every_category_can_be_drawn():
    chosen = options(window=2048)
    levels = {name: category.level for name, category in CATEGORIES.items()}
    picks, _ = draw(chosen, start(chosen, levels), 2048)
    assert set(tally(picks)) == set(CATEGORIES)
    name, seed, difficulty, language = next(p for p in picks if p.category == "attributes")
    task = make_task(CATEGORIES[name], seed, difficulty, language)
    assert (task.seed, task.difficulty, task.language) == (seed, difficulty, language)


def test_offline_estimates(tmp_path):
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"maze/4": 0.02, "count/0": 1}))
    state = start(options(offline=str(path)), LEVELS)
    assert (state["rates"]["maze/4"], state["rates"]["count/0"]) == (0.02, 1.0)
    assert state["rates"]["maze/3"] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"mase/4": 0.5}', "'maze/4'"),
        ('{"maze/4": 1.5}', "0 … 1"),
        ('{"maze/4": NaN}', "0 … 1"),
        ('{"maze/4": true}', "0 … 1"),
        ("[]", "no object"),
        ("{", "Expecting"),
    ],
)
def test_offline_files_that_are_wrong(tmp_path, text, message):
    path = tmp_path / "rates.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        start(options(offline=str(path)), LEVELS)
    with pytest.raises(ConfigError, match="No such file"):
        start(options(offline=str(tmp_path / "none")), LEVELS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"level_mode": "masterly"}, "'mastery'"),
        ({"levels": (("elemental", 1.0, 1.0),)}, "'element'"),
        ({"levels": (("element", -1.0, 1.0),)}, "0 or more"),
        ({"decay": 1.5}, "decay"),
        ({"floor": 0.0}, "floor"),
        ({"window": 0}, "window"),
        ({"max_oversampling": 0.5}, "max_oversampling"),
        ({"mastery": (0.5, 0.5)}, "rise"),
        ({"difficulties": (5,)}, "difficulties"),
        ({"quotas": (("mase", 0.1, 0.2),)}, "'maze'"),
        ({"quotas": (("maze", 0.3, 0.2),)}, "0.3 … 0.2"),
        ({"quotas": (("*", 0.3, 1.0),)}, "least shares sum to 1.2"),
        ({"quotas": (("*", 0.0, 0.2),)}, "greatest to 0.8"),
        ({"quotas": (("*", 0.0, 0.251),), "window": 3}, "make it longer"),
    ],
)
def test_settings_that_cannot_be(fields, message):
    chosen = options(**fields)
    with pytest.raises(ConfigError, match=message):
        draw(chosen, start(chosen, LEVELS), 1)


WEIGHTS = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 10), min_size=1)


@settings(max_examples=80)
@given(WEIGHTS, st.data())
def test_shares_within_quotas(weights, data):
    """They sum to 1, keep the quotas, and are in proportion where no quota binds."""
    names = sorted(weights)
    least = {n: data.draw(st.floats(0, 1 / len(names))) for n in names}
    most = {n: data.draw(st.floats(1 / len(names), 1)) for n in names}
    shares = apportion.within_quotas(weights, least, most)
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-9)
    assert all(least[n] <= shares[n] <= most[n] for n in names)
    free = [n for n in names if least[n] < shares[n] < most[n] and weights[n] > 1e-6]
    ratios = [shares[n] / weights[n] for n in free]
    if ratios:
        assert max(ratios) == pytest.approx(min(ratios), rel=1e-6)


@settings(max_examples=80)
@given(WEIGHTS, st.integers(1, 300), st.floats(0, 1, exclude_max=True))
def test_whole_numbers_sum_and_are_near(weights, total, offset):
    whole = sum(weights.values())
    if not whole:
        return
    shares = {n: w / whole for n, w in weights.items()}
    for counts in (
        apportion.largest_remainder(shares, total, {}, {}),
        apportion.systematic(shares, total, offset),
    ):
        assert sum(counts.values()) == total
        assert all(abs(counts[n] - shares[n] * total) < 1 + 1e-6 for n in shares)
        assert all(c >= 0 for c in counts.values())


def test_largest_remainder_by_hand():
    """Hamilton's method: 4.35, 3.11 and 2.54 seats of ten; the last has the largest remainder."""
    shares = {"a": 0.435, "b": 0.311, "c": 0.254}
    assert apportion.largest_remainder(shares, 10, {}, {}) == {"a": 4, "b": 3, "c": 3}
    bounded = apportion.largest_remainder(shares, 10, {"b": 4}, {"a": 3})
    assert bounded == {"a": 3, "b": 4, "c": 3}


def test_systematic_is_right_on_average():
    shares = {"a": 0.013, "b": 0.5, "c": 0.487}
    counts = [apportion.systematic(shares, 10, (i + 0.5) / 1000) for i in range(1000)]
    for name, share in shares.items():
        assert np.mean([c[name] for c in counts]) == pytest.approx(10 * share, abs=2e-3)


def test_shares_sum_to_one_whatever_the_rates():
    chosen = options(quotas=(("maze", 0.2, 0.3),))
    for rate in (0.0, 1e-9, 0.5, 1.0):
        state = with_rates(start(chosen, LEVELS), count=rate, maze=1 - rate)
        assert sum(category_shares(chosen, state).values()) == pytest.approx(1.0)
