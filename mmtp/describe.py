"""What a training step of the language model costs on a TPU topology, without that TPU.

    python -m cogvit_jax.describe --config=configs/vlm_pretrain.py --topology=v5e:16x16

hands over to this module, which knows the language model's programs; see cogvit_jax/describe.py.
"""

from cogvit_jax import describe
from mmtp.programs import build


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    describe.start(argv, build)


if __name__ == "__main__":
    describe.cli(main)
