"""Several steps on every batch: the same arrays, one version, and no place to stop between them."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from cogvit_jax.settings import ConfigError
from tests.rl.crash_run import make_run

UPDATES, BATCHES = 3, 2


def make(folder):
    """A run of fakes that publishes into a list."""
    run, published = make_run(folder, BATCHES, staleness=0), []

    def publish(version, params):
        published.append(version)
        return params

    run._plan = dataclasses.replace(run._plan, updates=UPDATES, publish=publish)
    return run, published


def take(run, steps):
    """(number of the batch, its arrays, versions published by then) of each step."""
    taken = []
    for step in steps:
        arrays = next(run)
        taken.append((run._built.step, arrays))
        run.hook(step, SimpleNamespace(params={}), {"loss": np.zeros(())})
    return taken


def test_a_batch_is_handed_out_so_often_and_then_published(tmp_path):
    run, published = make(tmp_path)
    run.batches(None)
    try:
        run.begin(SimpleNamespace(step=0, params={}))
        first = take(run, range(1, UPDATES))
        assert published == [0]
        first += take(run, [UPDATES])
        assert published == [0, 1]
        second = take(run, range(UPDATES + 1, 2 * UPDATES + 1))
    finally:
        run.close()
    assert published == [0, 1, 2]
    assert [number for number, _ in first + second] == [0] * UPDATES + [1] * UPDATES
    assert all(arrays is first[0][1] for _, arrays in first)
    assert all(arrays is second[0][1] for _, arrays in second)
    assert first[0][1] is not second[0][1]


def test_a_resumed_run_goes_on_with_the_next_batch_and_never_in_the_middle(tmp_path):
    run, _ = make(tmp_path)
    run.batches(None)
    try:
        run.begin(SimpleNamespace(step=0, params={}))
        take(run, range(1, UPDATES + 1))
        saved = run.get_state()
    finally:
        run.close()
    run, published = make(tmp_path)
    run.batches(saved)
    try:
        with pytest.raises(ConfigError, match=r"updates = 3: .* step 4 is in the middle of a b"):
            run.begin(SimpleNamespace(step=UPDATES + 1, params={}))
        run.begin(SimpleNamespace(step=UPDATES, params={}))
        assert published == [1]
        assert [number for number, _ in take(run, range(4, 7))] == [1] * UPDATES
    finally:
        run.close()
    assert published == [1, 2]
