"""Do the stages of reinforcement learning overlap? A slow engine and judge beside a real step.

    python benchmarks/rl_overlap.py --steps=12

The engine and the judge wait, as machines elsewhere would make us wait; packing, the training step
and everything between are real. The same run is made on policy, where stages follow each other, and
one version ahead, where they overlap: wall time per step is compared with the slowest stage alone
and with the sum of all.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from mmtp.data.chat import ChatSettings
from mmtp.data.images import ImageSettings
from mmtp.data.tokenizer import load_tokenizer
from rl.envs import CATEGORIES
from rl.envs.environment import judge
from rl.programs.rl_run import Plan, Run
from rl.programs.rl_tasks import task_of
from rl.prompts import Encoder
from rl.rollout.driver import Parts
from rl.rollout.episodes import Episode
from rl.rollout.event_log import EventLog
from rl.rollout.protocol import Told, aborted
from rl.rollout.sampling import SamplingSettings
from rl.rollout.schedule_settings import RolloutSettings
from rl.spans import Spans

GROUP, GROUPS, ROWS = 4, 8, 16
LENGTH = 16  # tokens of a reply


class SlowEngine:
    """Draws a token of every row each `seconds`; no more than ROWS replies at a time."""

    def __init__(self, version, seconds):
        self.version, self._seconds = version, seconds
        self._rows = asyncio.Semaphore(ROWS)
        self._aborted = set()

    async def generate(self, ask):
        """Waits for a row, then for its tokens."""
        async with self._rows:
            await asyncio.sleep(self._seconds * LENGTH)
        if ask.sample in self._aborted:
            return aborted(ask)
        numbers = (-1.0,) * LENGTH
        told = ((*range(20, 20 + LENGTH - 1), ask.stop[0]), numbers, numbers)
        return Told(ask.sample, ask.turn, ask.attempt, *told, (self.version,) * LENGTH, "stop")

    def abort(self, samples):
        """Ends them when they have their tokens."""
        self._aborted |= set(samples)

    async def publish(self, version, params):
        """At once."""
        self.version = version

    def stats(self):
        """Nothing to tell."""
        return {}

    async def close(self):
        """Nothing to end."""


@jax.jit
def train_step(weights, repeats):
    """Matrix products, so many times."""

    def body(_, x):
        return jnp.tanh(x @ weights)

    return jax.lax.fori_loop(0, repeats, body, weights)


def make_run(folder, staleness, steps, token_seconds, judge_seconds):
    """A run whose engine and judge wait."""
    encoder = Encoder(
        load_tokenizer(""),
        ImageSettings(patch_size=14, min_patches=4, max_patches=96),
        ChatSettings(),
    )
    drawn = iter(range(10**6))

    async def slow_judge(rollout):
        await asyncio.sleep(judge_seconds)
        return await asyncio.to_thread(judge, CATEGORIES[rollout.task.category], rollout)

    async def close():
        """Nothing to end."""

    def build(step, groups, episodes):
        rows = [episodes[s.id].row(1.0) for g in groups for s in g.valid]
        tokens = np.stack([r.document.tokens[-LENGTH:] for r in rows])
        return SimpleNamespace(step=step, arrays={"tokens": tokens}, ids=(), figures={})

    def open_task(pick):
        task = task_of(pick)
        return task, encoder.first(task)

    def parts(saved):
        del saved
        made = Parts(
            draw=lambda n: [
                {"category": "counting", "seed": next(drawn), "difficulty": 0, "language": "en"}
                for _ in range(n)
            ],
            open=open_task,
            episode=lambda task, prompt: Episode(
                CATEGORIES[task.category], task, prompt, encoder, 256
            ),
            engine=lambda version, params: SlowEngine(version, token_seconds),
            close=close,
            judge=slow_judge,
            build=build,
            announce=lambda step: None,
            settled=lambda group: None,
            record=lambda event: None,
        )
        return made, dict

    settings = RolloutSettings(
        group_size=GROUP,
        batch_groups=GROUPS,
        max_staleness=staleness,
        concurrency=2 * ROWS if staleness else GROUP * GROUPS,
        batches_ahead=min(staleness, 1),
        num_steps=steps,
    )
    return Run(
        Plan(
            settings=settings,
            sampling=SamplingSettings(LENGTH, 256, stop=encoder.stop),
            seed=0,
            parts=parts,
            log=lambda num: EventLog.open(folder / "events.jsonl"),
            put=lambda arrays: arrays,
            score=lambda params, batch: None,
            recompute=False,
            residents=lambda params: {},
            inspect=lambda built, params, arrays: {},
            publish=lambda version, params: params,
            spans=Spans(),
            figures=dict,
        )
    )


def seconds_per_step(staleness, steps, token_seconds, judge_seconds, repeats, weights):
    """Wall time of a step, the first two left out."""
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), staleness, steps, token_seconds, judge_seconds)
        batches = run.batches(None)
        try:
            run.begin(SimpleNamespace(step=0, params={}))
            for step in range(1, steps + 1):
                if step == 3:
                    began = time.perf_counter()
                next(batches)
                out = train_step(weights, repeats)
                jax.block_until_ready(out)
                run.hook(step, SimpleNamespace(params={}), {"loss": out[0, 0]})
            return (time.perf_counter() - began) / (steps - 2)
        finally:
            run.close()


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--train_seconds", type=float, default=1.0)
    parser.add_argument("--generate_seconds", type=float, default=1.5, help="of a batch")
    parser.add_argument("--judge_seconds", type=float, default=0.2)
    options = parser.parse_args()
    weights = jax.random.normal(jax.random.key(0), (512, 512)) / 23
    jax.block_until_ready(train_step(weights, 100))
    began = time.perf_counter()
    jax.block_until_ready(train_step(weights, 100))
    repeats = int(100 * options.train_seconds / (time.perf_counter() - began))
    began = time.perf_counter()
    jax.block_until_ready(train_step(weights, repeats))
    train = time.perf_counter() - began
    # A batch is GROUP · GROUPS replies, ROWS at a time.
    token_seconds = options.generate_seconds / (GROUP * GROUPS / ROWS) / LENGTH
    table = Table(title="seconds per step (measured)")
    for name in ("max_staleness", "wall", "slowest stage", "wall / slowest", "sum", "wall / sum"):
        table.add_column(name, justify="right")
    slowest = max(train, options.generate_seconds)
    total = train + options.generate_seconds + options.judge_seconds
    for staleness in (0, 1, 2):
        wall = seconds_per_step(
            staleness, options.steps, token_seconds, options.judge_seconds, repeats, weights
        )
        row = (staleness, wall, slowest, wall / slowest, total, wall / total)
        table.add_row(*(str(x) if isinstance(x, int) else f"{x:.2f}" for x in row))
    Console().print(table)


if __name__ == "__main__":
    main()
