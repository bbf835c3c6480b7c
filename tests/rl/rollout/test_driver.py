"""The driver where nothing comes of what is asked, and where an engine broke off at the end."""

import asyncio
import dataclasses
import time
from types import SimpleNamespace

import pytest

from mmtp.data.chat import ChatSettings
from mmtp.data.tokenizer import load_tokenizer
from rl.envs import CATEGORIES, make_task
from rl.prompts import Encoder
from rl.rollout.asking import ending
from rl.rollout.driver import Driver, Unanswered
from rl.rollout.episodes import Episode
from rl.rollout.parts import Parts
from rl.rollout.protocol import Ask, EngineDied, Told, refused
from rl.rollout.sampling import SamplingSettings
from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.schedule_state import State
from rl.rollout.tokens import Tokens
from rl.spans import Spans
from rl.types import Verdict
from tests.rl.crash_run import IMAGES, Engine

ENCODER = Encoder(load_tokenizer(""), IMAGES, ChatSettings())


class Dying(Engine):
    """Of which every ask is lost."""

    async def generate(self, ask):
        await asyncio.sleep(0)
        raise EngineDied("the machine is on fire")


class Refusing(Engine):
    """That takes no ask."""

    async def generate(self, ask):
        await asyncio.sleep(0)
        return refused(ask, "pictures are cut in another way")


async def right(rollout):
    return Verdict.of(1.0, "rule")


async def broken(rollout):
    return Verdict.error("judge", "the judge is asleep")


async def unsure(rollout):
    return Verdict("abstain", None, "judge", "who knows")


class Falling(Engine):
    """That dies when a sample's second turn is asked for the first time."""

    def __init__(self, tokenizer, version):
        super().__init__(tokenizer, version)
        self._fell = set()

    async def generate(self, ask):
        if ask.turn == 1 and ask.sample not in self._fell:
            self._fell.add(ask.sample)
            raise EngineDied("fell")
        return await super().generate(ask)


def driver_of(engine, judge, name="counting", build=None, **changes):
    """On one category; what it builds is its step, where `build` says nothing else."""
    category = CATEGORIES[name]

    def open_task(pick):
        task = make_task(category, pick["seed"], 0, "en")
        return task, ENCODER.first(task)

    async def close():
        pass

    numbers = iter(range(10**6))
    parts = Parts(
        draw=lambda num: [{"category": name, "seed": next(numbers)} for _ in range(num)],
        open=open_task,
        episode=lambda task, prompt: Episode(category, task, prompt, ENCODER, 256),
        engine=lambda version, params: engine(ENCODER.tokenizer, version),
        close=close,
        judge=judge,
        build=build or (lambda step, groups, episodes: step),
        announce=lambda step: None,
        settled=lambda group: None,
        record=lambda event: None,
    )
    settings = RolloutSettings(group_size=2, batch_groups=2, concurrency=4, **changes)
    sampling = SamplingSettings(max_new_tokens=16, max_length=256, stop=ENCODER.stop)
    clock = asyncio.get_running_loop().time
    driver = Driver(settings, sampling, 0, State(), parts, clock, Spans(clock=clock))
    driver.start(0)
    driver.offer(0, None)
    return driver


async def ends(driver, seconds=60):
    await asyncio.wait_for(driver.run(), seconds)


@pytest.mark.parametrize(
    ("engine", "judge", "reason", "problem"),
    [
        (Dying, right, "lost", "the machine is on fire"),
        (Refusing, right, "lost", "pictures are cut in another way"),
        (Engine, broken, "unjudged", "the judge is asleep"),
        (Engine, unsure, "abstained", "who knows"),
    ],
)
def test_a_run_that_nobody_answers_ends_with_the_newest_problem(engine, judge, reason, problem):
    async def run():
        driver = driver_of(engine, judge, max_unanswered=5)
        with pytest.raises(Unanswered, match=rf"last 5 groups .*\({reason}\).*{problem}"):
            await ends(driver)
        assert driver.state.num_admitted < 12

    asyncio.run(run())


def test_answers_in_between_begin_the_count_anew():
    """Two prompts of three have no verdict: never three in a row."""
    judged = []

    async def judge(rollout):
        judged.append(rollout)
        return await (right if rollout.task.seed % 3 == 0 else broken)(rollout)

    async def run():
        driver = driver_of(Engine, judge, max_unanswered=12, max_staleness=0)
        running = asyncio.ensure_future(ends(driver))
        for step in range(6):
            got = asyncio.ensure_future(driver.batches.get())
            done, _ = await asyncio.wait([got, running], return_when=asyncio.FIRST_COMPLETED)
            assert got in done, running
            driver.trained(step)
            driver.offer(step + 1, None)
        running.cancel()

    asyncio.run(run())
    assert len(judged) > 24


def take(driver, num):
    """The first batches of a driver that goes on meanwhile."""

    async def run():
        made = driver()
        running = asyncio.ensure_future(ends(made))
        found = [await asyncio.wait_for(made.batches.get(), 60) for _ in range(num)]
        running.cancel()
        return found

    return asyncio.run(run())


def test_batches_come_in_the_order_of_their_steps():
    """Also where the later one is built faster."""
    seconds = iter((0.5, 0.0))

    def build(step, groups, episodes):
        time.sleep(next(seconds))
        return step

    ahead = {"batches_ahead": 1, "max_staleness": 3}
    assert take(lambda: driver_of(Engine, right, build=build, **ahead), 2) == [0, 1]


@pytest.mark.parametrize("partial", ["continue", "restart"])
def test_an_episode_whose_engine_dies_has_the_turns_that_are_trained_on(partial):
    def build(step, groups, episodes):
        return [(s, episodes[s.id], episodes[s.id].row(1.0)) for g in groups for s in g.valid]

    (rows,) = take(lambda: driver_of(Falling, right, "maze", build, partial=partial), 1)
    assert any(len(sample.turns) > 1 for sample, _, _ in rows)
    for sample, episode, row in rows:
        assert [said.tokens for said in episode.said] == sample.turns
        assert row.trained.sum() == sum(reply.num for reply in sample.turns)


def test_an_episode_ends_before_pictures_that_do_not_fit():
    category = CATEGORIES["maze"]
    task = make_task(category, 3, 0, "en")

    def few(prompt):
        return len(prompt.visuals) < 4

    async def turns(fits):
        episode = Episode(category, task, ENCODER.first(task), ENCODER, 4096, fits)
        ids = (*ENCODER.tokenizer.encode("left"), ENCODER.stop[0])
        numbers = (-1.0,) * len(ids)
        reply = Tokens.of(ids, numbers, (0,) * len(ids), numbers)
        while not await episode.take(reply, "stop"):
            assert fits(episode.prompt)
        return len(episode.said), len(episode.row(1.0).document.visuals)

    assert asyncio.run(turns(few)) == (3, 3)
    assert asyncio.run(turns(lambda prompt: True))[1] > 3


def ask(**changes):
    made = Ask("0#0", 0, 1, SimpleNamespace(tokens=()), "0", 3, 1.0, 0, 1.0, (2,), 0, None)
    return dataclasses.replace(made, **changes)


def told(*tokens):
    numbers = (-1.0,) * len(tokens)
    return Told("0#0", 0, 0, tokens, numbers, numbers, (0,) * len(tokens), "abort")


def test_what_was_broken_off_behind_its_last_word_is_not_asked_again():
    assert ending(ask()) == ""
    assert ending(ask(done=told(5, 6))) == ""
    assert ending(ask(done=told(5, 6, 7))) == "length"
    assert ending(ask(done=told(5, 2))) == "stop"
    assert ending(ask(done=told(5, 6, 2))) == "stop"
