"""Do the stages of reinforcement learning overlap? A slow engine and judge beside the real step.

    python -m benchmarks.rl_overlap --steps=12

The run is that of configs/rl.py:tiny: its model, loss and optimizer, its tasks, packing, logging
and event log. Only engine and judge are made up: they wait, as machines elsewhere would make us
wait, and use no processor. The same run is made on policy, where stages follow each other, and
ahead, where they overlap: wall time per step is compared with the slowest stage and with the sum of
all. The step's time is what the trainer takes in each run, measured from the batch to its end.
"""

import argparse
import asyncio
import dataclasses
import io
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from cogvit_jax import train_loop
from configs import rl as configs
from rl.lead import ALONE
from rl.programs import rl as program
from rl.programs.rl_parts import make_plan
from rl.programs.rl_run import Run
from rl.programs.rl_settings import read
from rl.rollout.parts import Parts
from rl.rollout.protocol import Told, aborted
from rl.types import Rollout, Verdict

GROUP, GROUPS, ROWS = 8, 8, 16
LENGTH = 16  # tokens of a reply
COMPILING = 3  # steps that are left out


class SlowEngine:
    """Draws a token of every row each `seconds`; no more than ROWS replies at a time."""

    def __init__(self, version: int, seconds: float) -> None:
        self.version, self._seconds = version, seconds
        self._rows = asyncio.Semaphore(ROWS)
        self._aborted: set[Any] = set()

    async def generate(self, ask: Any) -> Told:
        """Waits for a row, then for its tokens."""
        async with self._rows:
            await asyncio.sleep(self._seconds * LENGTH)
        if ask.sample in self._aborted:
            return aborted(ask)
        numbers = (-1.0,) * LENGTH
        told = ((*range(20, 20 + LENGTH - 1), ask.stop[0]), numbers, numbers)
        return Told(ask.sample, ask.turn, ask.attempt, *told, (self.version,) * LENGTH, "stop")

    def abort(self, samples: Any) -> None:
        """Ends them when they have their tokens."""
        self._aborted |= set(samples)

    async def publish(self, version: int, params: Any) -> None:
        """When the step that makes them has ended."""
        await asyncio.to_thread(jax.block_until_ready, params)
        self.version = version

    def stats(self) -> dict[str, float]:
        """Nothing to tell."""
        return {}

    async def close(self) -> None:
        """Nothing to end."""


def make_config(staleness: int, steps: int) -> Any:
    """configs/rl.py:tiny with smaller batches, and trained on whatever the engine says."""
    config: Any = configs.get_config("tiny").unlock()
    config.algorithm.dynamic_sampling = False  # all replies are wrong
    config.fidelity.every = 0
    config.rollout.group_size = GROUP
    config.rollout.batch_groups = GROUPS
    config.rollout.max_staleness = staleness
    config.rollout.concurrency = 2 * GROUP * GROUPS if staleness else GROUP * GROUPS
    config.rollout.batches_ahead = min(staleness, 1)
    config.packing.microbatches = 8
    config.train.steps = steps
    config.train.eval_every = 0
    config.train.eval_start = False
    config.train.save_every = 0
    return config


def slow(
    make: Callable[[Any], tuple[Parts, Any]], token: float, judging: float, saved: Any
) -> tuple[Parts, Any]:
    """The parts of a run with an engine and a judge that wait."""
    parts, state = make(saved)

    async def judge(rollout: Rollout) -> Verdict:
        await asyncio.sleep(judging)
        return await parts.judge(rollout)

    def engine(version: int, params: Any) -> Any:
        return SlowEngine(version, token)

    return dataclasses.replace(parts, engine=engine, judge=judge), state


def measure(staleness: int, steps: int, token: float, judging: float) -> tuple[float, float]:
    """Seconds from step to step, and of the trainer in each; means."""
    config = make_config(staleness, steps)
    with tempfile.TemporaryDirectory() as folder:
        found = read(config, None, folder)
        layout = program.make_layout(found)
        plan = make_plan(found, layout)
        parts = partial(slow, plan.parts, token, judging)
        run = Run(dataclasses.replace(plan, parts=parts))
        trained = program.make_program(found, layout, ALONE, run)
        quiet = Console(file=io.StringIO())
        train_loop.run(dataclasses.replace(trained, evaluators={}), config, folder, quiet)
        spans = [s for s in plan.spans.last() if s.stage == "train"][COMPILING:]
    wall = (spans[-1].stop - spans[0].stop) / (len(spans) - 1)
    return wall, statistics.mean(s.seconds for s in spans)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--generate_seconds", type=float, default=5.0, help="of a batch")
    parser.add_argument("--judge_seconds", type=float, default=0.5)
    parser.add_argument("--staleness", default="0,1,2", help="comma-separated")
    options = parser.parse_args()
    # A batch is GROUP · GROUPS replies, ROWS at a time.
    token = options.generate_seconds / (GROUP * GROUPS / ROWS) / LENGTH
    table = Table(title="seconds per step (measured)")
    names = ("max_staleness", "wall", "step", "engine", "wall / slowest", "sum", "wall / sum")
    for name in names:
        table.add_column(name, justify="right")
    for staleness in map(int, options.staleness.split(",")):
        wall, step = measure(staleness, options.steps, token, options.judge_seconds)
        slowest = max(step, options.generate_seconds)
        total = step + options.generate_seconds + options.judge_seconds
        row = (wall, step, options.generate_seconds, wall / slowest, total, wall / total)
        table.add_row(str(staleness), *(f"{x:.2f}" for x in row))
    Console().print(table)


if __name__ == "__main__":
    main()
