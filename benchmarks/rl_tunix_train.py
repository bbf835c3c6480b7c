"""Seconds to a reward of 1 side by side with Tunix's GRPO: one toy task, model and optimizer.

    pip install -e '.[test,tunix]'
    python -m benchmarks.rl_tunix_train [--rounds=3] [--digits=1] [--lr=3e-3]

Ours is the program of `rl.main` as it is, from a small config (`rl_tunix_toy.config`): the event
loop, the schedule, the engine, the reward system, packing, the loss and the step. Tunix's is
`GRPOLearner` on an `RLCluster` with its own sampler (`rl_tunix_learner.py`). Equal on both sides:
the architecture (Qwen3), its 0.8M first weights, prompts batch by batch, group, batch, lengths,
AdamW and clipping, GRPO with one update per batch and no reference, float32, one process. Not
equal: random numbers of the draws; ours samples, checks and logs log-probabilities, keeps every
rollout on disk, and has a vision tower of one tiny layer in its step, which no text looks at.

Runs take turns and end with the first batch whose mean reward is 0.99. "start" is the time until
the third batch is judged: all is compiled then. Seconds of a core are those that the process was
given, and say more where others use the machine.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from benchmarks import rl_tunix_learner
from benchmarks import rl_tunix_toy as toy
from cogvit_jax import train_loop
from cogvit_jax.host_memory import keep_freed_memory
from cogvit_jax.program import Program
from rl import programs
from rl.envs import CATEGORIES
from rl.envs.category import Category
from rl.programs import rl_settings
from rl.types import Rollout, Task

GOAL = 0.99
FIRST = 3  # batches, until all is compiled; with rollouts ahead the second needs no step


class Reached(Exception):
    """Ends our run: the goal is reached, or there were enough batches."""


@dataclass
class Judged:
    """When batches were judged, and how they did.

    Attributes:
        samples: of a batch.
        rewards: mean of each batch.
        wall, core: seconds since the beginning, at each; first the beginning itself.
    """

    samples: int
    rewards: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=lambda: [time.perf_counter()])
    core: list[float] = field(default_factory=lambda: [time.process_time()])
    _some: list[float] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    def one(self, reward: float) -> None:
        """One sample; those of a batch come before any of the next."""
        with self._lock:
            self._some.append(reward)
            if len(self._some) == self.samples:
                self.batch(np.asarray(self._some))
                self._some = []

    def batch(self, rewards: np.ndarray) -> None:
        """A whole one."""
        assert len(rewards) == self.samples
        self.rewards.append(float(rewards.mean()))
        self.wall.append(time.perf_counter())
        self.core.append(time.process_time())

    @property
    def reached(self) -> bool:
        """Whether the newest batch did well."""
        return bool(self.rewards) and self.rewards[-1] >= GOAL

    def figures(self, tokens: int) -> dict[str, float]:
        """Of the run; tokens per second are of the whole loop, once all is compiled."""
        steps = len(self.rewards) - FIRST
        wall, core = (x[-1] - x[FIRST] for x in (self.wall, self.core))
        return {
            "batches": len(self.rewards),
            "last reward": self.rewards[-1],
            "start, s": self.wall[FIRST] - self.wall[0],
            "start, core s": self.core[FIRST] - self.core[0],
            "to 0.99, s": wall,
            "to 0.99, core s": core,
            "s per batch": statistics.median(np.diff(self.wall[FIRST:])),
            "core s per batch": statistics.median(np.diff(self.core[FIRST:])),
            "tokens/s": steps * self.samples * tokens / wall,
            "tokens/core s": steps * self.samples * tokens / core,
        }


def ours(program: Program, config: Any, category: Category, params: Any, folder: Path) -> Judged:
    """Our program until the goal."""
    samples = config.rollout.group_size * config.rollout.batch_groups
    judged = Judged(samples)

    def score(task: Task, rollout: Rollout) -> float:
        found = category.score(task, rollout)
        judged.one(found)
        return found

    def stop(step: int, state: Any, measured: Any) -> None:
        if judged.reached:
            raise Reached

    CATEGORIES[toy.NAME] = replace(category, score=score)
    hooks = (*program.hooks, stop)
    program = replace(program, hooks=hooks, init=lambda key: params)
    with contextlib.suppress(Reached):
        train_loop.run(program, config, str(folder), Console(file=io.StringIO()))
    return judged


def ours_async(
    program: Program, config: Any, category: Category, params: Any, folder: Path
) -> Judged:
    """Ours with rollouts of the next batch beside the step: one version behind, and corrected.

    As configs/rl.py does it; clipped to what the engine said, a token that the step before has made
    likelier would teach nothing.
    """
    config = config.copy_and_resolve_references().unlock()
    config.rollout.max_staleness = 1
    config.algorithm.update(proximal="loglinear", correction="tis")
    program = programs.build(config, workdir=str(folder))
    return ours(program, config, category, params, folder)


def theirs(program: Program, config: Any, category: Category, params: Any, folder: Path) -> Judged:
    """Tunix's learner until the goal."""
    samples = config.rollout.group_size * config.rollout.batch_groups
    judged = Judged(samples)
    found = rl_settings.read(config, None, "")
    rl_tunix_learner.run(
        config,
        found.model.decoder,
        found.encoder,
        params,
        judged.batch,
        lambda: not judged.reached,
    )
    return judged


SIDES = {"ours": ours, "ours, async": ours_async, "Tunix": theirs}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument(
        "--sides", default=";".join(SIDES), help="which, in their order; between them ;"
    )
    parser.add_argument("--digits", type=int, default=1)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    versions = {name: metadata.version(name) for name in ("jax", "flax", "google-tunix")}
    print(", ".join(f"{name} {number}" for name, number in versions.items()), flush=True)
    keep_freed_memory()
    if jax.config.jax_compilation_cache_dir is None:
        # The first round compiles, the others load what it has compiled.
        jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp())
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    init: Any = None
    told: dict[str, list[dict[str, float]]] = {name: [] for name in args.sides.split(";")}
    for seed in range(args.rounds):
        for name in told:
            with tempfile.TemporaryDirectory() as folder:
                config = toy.config(
                    Path(folder),
                    tokens=args.tokens,
                    group=args.group,
                    groups=args.groups,
                    lr=args.lr,
                    steps=args.steps,
                    seed=seed,
                    depth=args.depth,
                )
                category = toy.category(args.tokens, args.digits)
                CATEGORIES[toy.NAME] = category
                program = programs.build(config, workdir=folder)
                init = init or jax.jit(program.init)
                params = init(jax.random.key(seed))
                judged = SIDES[name](program, config, category, params, Path(folder))
            told[name].append(judged.figures(args.tokens))
            line = ", ".join(f"{key} {value:.4g}" for key, value in told[name][-1].items())
            print(f"round {seed}, {name}: {line}", flush=True)
            print("  rewards", *(f"{r:.2f}" for r in judged.rewards[::5]), flush=True)
    print(f"{'median':<18}", *(f"{name:>12}" for name in told))
    for key in next(iter(told.values()))[0]:
        values = (statistics.median(run[key] for run in runs) for runs in told.values())
        print(f"{key:<18}", *(f"{value:>12.4g}" for value in values))


if __name__ == "__main__":
    main()
