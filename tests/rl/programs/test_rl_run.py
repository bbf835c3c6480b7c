"""How a run's rollouts begin and end: refused resumes, failures, and closing that takes a while."""

import asyncio
import dataclasses
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from cogvit_jax.program import Interrupted
from rl.rollout.driver import Driver
from rl.rollout.event_log import LogError
from rl.rollout.schedule_state import ScheduleError
from tests.rl.crash_run import Engine, make_run

START = SimpleNamespace(step=0, params={})


def changed(run, change):
    """The run with other parts: `change` is given them."""
    parts_of = run._plan.parts

    def parts(saved):
        made, curriculum = parts_of(saved)
        return change(made), curriculum

    run._plan = dataclasses.replace(run._plan, parts=parts)
    return run


def closing(run, closed, before=None):
    """The run, which notes that its parts were closed, and does something before."""

    async def close():
        if before is not None:
            await before()
        closed.append(True)

    return changed(run, lambda made: dataclasses.replace(made, close=close))


def trained(run):
    """What is saved after one step of a run, which is closed."""
    batches = run.batches(None)
    try:
        run.begin(START)
        next(batches)
        run.hook(1, SimpleNamespace(params={}), {"loss": np.zeros(())})
        return batches.get_state()
    finally:
        run.close()


def test_a_resume_that_is_refused_says_why_and_closes_what_was_opened(tmp_path):
    saved, closed = trained(make_run(tmp_path, 3, 2)), []
    run = closing(make_run(tmp_path, 3, 2), closed)
    settings = dataclasses.replace(run._plan.settings, group_size=2)
    run._plan = dataclasses.replace(run._plan, settings=settings)
    run.batches(saved)
    with pytest.raises(ScheduleError, match=r"config\.rollout\.group_size = 2"):
        run.begin(SimpleNamespace(step=1, params={}))
    run.close()
    assert closed == [True]


def test_a_run_that_never_began_closes_what_was_opened(tmp_path):
    closed = []
    run = closing(make_run(tmp_path, 3, 2), closed)
    run.batches(None)
    run.close()
    assert closed == [True]


def test_closing_that_takes_a_while_is_not_cut_short(tmp_path, monkeypatch):
    """Leaving cancels the rollouts, which may be closing their parts already."""
    closed = []
    run = closing(make_run(tmp_path, 3, 2), closed, lambda: asyncio.sleep(2.0))
    monkeypatch.setattr("rl.programs.rl_run.SETTLE_SECONDS", 1.0)
    trained(run)
    assert closed == [True]


def test_what_ended_the_rollouts_is_told_though_a_signal_comes_meanwhile(tmp_path):
    """While they close their parts, which takes longer than a look at whether a signal has come."""
    failed, closed = threading.Event(), []

    class Broken(Engine):
        async def generate(self, ask):
            raise ValueError("the engine is broken")

    async def before():
        failed.set()
        await asyncio.sleep(1.0)

    run = make_run(tmp_path, 3, 2)
    run = changed(
        run, lambda made: dataclasses.replace(made, engine=lambda version, params: Broken(None, 0))
    )
    batches = closing(run, closed, before).batches(None)
    try:
        run.begin(START)
        assert failed.wait(60)
        run.interrupt()
        with pytest.raises(ValueError, match="the engine is broken"):
            next(batches)
    finally:
        run.close()
    assert closed == [True]


def test_a_signal_ends_waiting(tmp_path):
    class Silent(Engine):
        async def generate(self, ask):
            await asyncio.sleep(1000)

    run = changed(
        make_run(tmp_path, 3, 2),
        lambda made: dataclasses.replace(made, engine=lambda version, params: Silent(None, 0)),
    )
    batches = run.batches(None)
    try:
        run.begin(START)
        run.interrupt()
        with pytest.raises(Interrupted):
            next(batches)
    finally:
        run.close()


def test_what_closing_meets_does_not_hide_what_ended_the_run(tmp_path):
    async def fails():
        raise OSError("no such folder")

    class Broken(Engine):
        async def generate(self, ask):
            raise ValueError("the engine is broken")

        async def close(self):
            raise RuntimeError("it cannot be closed either")

    run = changed(
        make_run(tmp_path, 3, 2),
        lambda made: dataclasses.replace(
            made, engine=lambda version, params: Broken(None, 0), close=fails
        ),
    )
    batches = run.batches(None)
    try:
        run.begin(START)
        with pytest.raises(ValueError, match="the engine is broken"):
            next(batches)
    finally:
        run.close()


def test_a_step_that_cannot_be_noted_ends_the_run(tmp_path, monkeypatch):
    """The trainer's word comes in a callback of the loop, whose errors nobody would see."""
    run = make_run(tmp_path, 3, 0)
    report = Driver._report

    def full(self, fact):
        if type(fact).__name__ == "Trained":
            raise LogError("the log's disk is full")
        report(self, fact)

    monkeypatch.setattr(Driver, "_report", full)
    batches = run.batches(None)
    try:
        run.begin(START)
        next(batches)
        run.hook(1, SimpleNamespace(params={}), {"loss": np.zeros(())})
        with pytest.raises(LogError, match="disk is full"):
            next(batches)
    finally:
        run.close()
