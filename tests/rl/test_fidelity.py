"""The gate trips where pictures are lost or misplaced, and not where engines merely round."""

import math
from dataclasses import replace

import numpy as np
import pytest

from cogvit_jax import settings as configs
from cogvit_jax.settings import ConfigError
from rl.fidelity import (
    Evidence,
    FidelitySettings,
    Gate,
    ImagesLost,
    dependent_tokens,
    logprob_gap,
    measure,
    verdict,
)
from tests.rl import looking_policy as policy

SETTINGS = FidelitySettings(every=10, patience=2)
NUM = 24  # samples


def identity(said):
    return said


def evidence(engine=identity, dtype=policy.BF16, source="maze"):
    """Rollouts whose engine was shown `engine(said)`, in the numbers of `dtype`."""
    said = [policy.speak(seed) for seed in range(NUM)]
    columns = [
        [policy.logprobs(engine(one), dtype) for one in said],
        [policy.logprobs(one) for one in said],
        [policy.logprobs(policy.blank(one)) for one in said],
    ]
    lengths = [len(one) for one in columns[0]]
    sample = np.repeat(np.arange(NUM), lengths)
    return Evidence([source] * NUM, sample, *map(np.concatenate, columns))


def test_tokens_that_look_are_those_that_depend():
    """Odd ids look at no picture: what follows them is the same, to the last bit."""
    found = evidence(dtype=np.float64)
    ids = np.concatenate([policy.speak(seed).reply[:-1] for seed in range(NUM)])
    mask = dependent_tokens(found.trainer, found.blind, 0.5)
    assert not mask[ids % 2 == 1].any()
    assert mask[ids % 2 == 0].mean() > 0.5
    np.testing.assert_array_equal(found.rollout, found.trainer)


def test_a_healthy_engine_passes():
    gate = Gate(SETTINGS)
    for step in range(10, 100, 10):
        figures = gate.check(step, evidence())
    assert 0 < figures["fidelity/source/maze/gap_image_mean"] < 0.05
    assert figures["fidelity/source/maze/blind_share"] < 0.05
    assert figures["fidelity/failing_sources"] == 0
    assert all(map(math.isfinite, figures.values()))


@pytest.mark.parametrize(
    ("engine", "reasons", "said"),
    [
        (policy.blank, ["blind", "gap"], "pictures that are dropped"),
        (policy.with_rows_of_positions_swapped, ["gap"], "M-RoPE"),
        (policy.with_shifted_picture, ["gap"], "placeholders"),
    ],
)
def test_lost_pictures_stop_the_run_after_its_patience(engine, reasons, said):
    lost = evidence(engine)
    assert verdict(measure(lost, SETTINGS), SETTINGS) == reasons
    gate = Gate(SETTINGS)
    assert gate.check(10, lost)["fidelity/failing_sources"] == 1
    with pytest.raises(ImagesLost, match=rf"step 20: (?s:.*)source 'maze': (?s:.*){said}") as told:
        gate.check(20, lost)
    assert "2 checks in a row" in str(told.value)
    assert "nats" in str(told.value)


def test_one_source_is_enough_and_a_good_check_forgives():
    lost, healthy = evidence(policy.blank, source="charts"), evidence()
    both = Evidence(
        [*healthy.sources, *lost.sources],
        np.concatenate([healthy.sample, NUM + lost.sample]),
        *(
            np.concatenate([getattr(healthy, name), getattr(lost, name)])
            for name in ("rollout", "trainer", "blind")
        ),
    )
    gate = Gate(SETTINGS)
    found = gate.check(10, both)
    assert found["fidelity/source/maze/blind_share"] < 0.05
    assert found["fidelity/source/charts/blind_share"] > 0.9
    assert gate.failed == {"charts": 1, "maze": 0}
    gate.check(20, evidence(source="charts"))
    gate.check(30, both)
    with pytest.raises(ImagesLost, match="'charts'") as told:
        gate.check(40, both)
    assert "'maze'" not in str(told.value)
    exempt = Gate(replace(SETTINGS, exempt=("chart*",)))
    for step in range(4):
        exempt.check(step, both)


def test_too_few_tokens_say_nothing():
    lost = evidence(policy.blank)
    few = Gate(replace(SETTINGS, min_tokens=10**6))
    for step in range(5):
        few.check(step, lost)
    assert few.failed == {}
    text = replace(lost, blind=lost.trainer)  # nothing depends on pictures
    found = measure(text, SETTINGS)
    assert found["tokens_image"] == 0
    assert "gap_ratio" not in found
    assert verdict(found, SETTINGS) is None


def test_an_engine_that_is_wrong_everywhere_is_not_blamed_on_pictures():
    """Such as one with old weights: other checks are there for it."""
    found = evidence()
    rng = np.random.default_rng(0)
    stale = replace(found, rollout=found.trainer + 0.4 * rng.normal(size=len(found.trainer)))
    assert verdict(measure(stale, SETTINGS), SETTINGS) == []


def test_gaps_by_hand():
    mask = np.array([True, True, False, False, False])
    found = logprob_gap(np.array([-1, -2, -1, -1, -3.0]), np.array([-2, -4, -1, -1.3, -3]), mask)
    assert found["gap_image_mean"] == 1.5
    assert found["gap_image_p50"] == 1.5
    assert found["gap_text_mean"] == pytest.approx(0.1)
    assert found["gap_ratio"] == pytest.approx(15)
    assert (found["tokens_image"], found["tokens_text"]) == (2, 3)


def test_settings_and_numbers_that_cannot_be_right():
    with pytest.raises(ConfigError, match=r"config\.fidelity\.patience = 0: give at least 1"):
        Gate(FidelitySettings(patience=0))
    assert configs.read(FidelitySettings, {"every": 5}, "config.fidelity").every == 5
    assert [Gate(SETTINGS).due(step) for step in (9, 10, 20)] == [False, True, True]
    assert not Gate(FidelitySettings()).due(0)
    broken = evidence()
    with pytest.raises(ValueError, match="not finite"):
        Gate(SETTINGS).check(1, replace(broken, rollout=broken.rollout * np.nan))
