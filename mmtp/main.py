"""Trains: python -m mmtp.main --config=configs/vlm_pretrain.py[:variant] --workdir=DIR

Any field of the config can be set from the command line: --config.mmtp.visual_input=visual. Running
the same command again continues from the newest checkpoint in the workdir.
"""

from cogvit_jax import commands, launch
from cogvit_jax.programs import EXPECTED_ERRORS
from mmtp.programs import build


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    launch.start(argv, build, EXPECTED_ERRORS)


def cli() -> None:
    """Parses flags and runs."""
    commands.run(main, required=("config", "workdir"))


if __name__ == "__main__":
    cli()
