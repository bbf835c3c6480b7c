"""What a step of reinforcement learning costs on a TPU topology, without that TPU.

    python -m cogvit_jax.describe --config=configs/rl.py --topology=v5e:16x16

comes here; see `cogvit_jax.describe` for the flags, of which --quick saves most of the time: rows
of pictures of 2,048 patches are slow to compile (docs/LOG.md). `--batch` chooses among the numbers
of micro-batches that a step may have, longest first: the program is the same, but for how often its
body runs, and so is the memory but for the batch itself. `benchmarks/rl_memory.py` compares what
batches hold.
"""

from cogvit_jax import describe
from rl.programs import build


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    describe.start(argv, build)


if __name__ == "__main__":
    describe.cli(main)
