"""Reinforcement learning: python -m rl.main --config=configs/rl.py[:variant] --workdir=DIR

Any field of the config can be set from the command line: --config.rollout.max_staleness=2. Running
the same command again continues from the newest checkpoint in the workdir: prompts, unfinished
episodes and the curriculum come back with the weights.
"""

from cogvit_jax import commands, launch, run_dir
from cogvit_jax.programs import EXPECTED_ERRORS
from rl.executors.keep import GivenUp
from rl.fidelity import ImagesLost
from rl.lead import LeadFailed
from rl.programs import build
from rl.rollout.driver import Unanswered
from rl.rollout.event_log import LogError
from rl.rollout.schedule_state import ScheduleError
from rl.weights_manifest import WeightsCorrupt
from rl.weights_shared import PublishingFailed


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    workdir = str(run_dir.WORKDIR.value)
    stopped = (GivenUp, ImagesLost, LeadFailed, PublishingFailed, Unanswered)
    expected = (*EXPECTED_ERRORS, *stopped, LogError, ScheduleError, WeightsCorrupt)
    launch.start(argv, lambda config: build(config, workdir=workdir), expected)


def cli() -> None:
    """Parses flags and runs."""
    commands.run(main, required=("config", "workdir"))


if __name__ == "__main__":
    cli()
