"""Looks at the tasks of the gym: lists them, draws them, lets you answer them, reports on all.

    python -m rl.gym list
    python -m rl.gym show maze                      a sheet of several seeds and difficulties
    python -m rl.gym show maze --seed 7 --difficulty 2      an episode, observation by observation
    python -m rl.gym play sokoban --language zh     answer it yourself
    python -m rl.gym report --categories maze,counting      index.html with verdicts and baselines
    python -m rl.gym demonstrate --categories maze,counting --file demos.jsonl      to fine-tune on

`python -m rl.gym COMMAND --help` tells the options of each.
"""

import sys

from rl.viewing.commands import run


def main(arguments: list[str] | None = None) -> None:
    """Entry point; `arguments` of the command line by default."""
    run(sys.argv[1:] if arguments is None else arguments, __doc__ or "")


if __name__ == "__main__":
    main()
