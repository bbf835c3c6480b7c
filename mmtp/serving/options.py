"""Flags of both `chat` and `serve`: absl wants each defined once."""

from absl import flags

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A run's folder, or one of safetensors files.")
MAX_LENGTH = flags.DEFINE_integer(
    "max_length", 0, "Most tokens of a conversation; 0 = a row of the training."
)
SPECULATIVE = flags.DEFINE_integer("speculative", 0, "Tokens drafted per step; 0 = none.")


def buckets(max_length: int) -> tuple[int, ...]:
    """Lengths that prompts are padded to: powers of two, so that few are compiled."""
    return tuple(2**i for i in range(6, 31) if 2**i < max_length)
