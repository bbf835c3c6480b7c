"""Flags of both `chat` and `serve`: absl wants each defined once."""

import dataclasses
from typing import Any

from absl import flags

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A run's folder, or one of safetensors files.")
MAX_LENGTH = flags.DEFINE_integer(
    "max_length", 0, "Most tokens of a conversation; 0 = a row of the training."
)
SPECULATIVE = flags.DEFINE_integer("speculative", 0, "Tokens drafted per step; 0 = none.")

THINKING = flags.DEFINE_bool(
    "thinking", None, "Whether the model thinks before it answers; unset = as it was trained."
)


def with_thinking(loaded: Any, thinking: bool | None) -> Any:
    """A `mmtp.run.Loaded` whose prompts allow thoughts (True) or not; None = as it was trained."""
    if thinking is None:
        return loaded
    return dataclasses.replace(loaded, chat=dataclasses.replace(loaded.chat, thinking=thinking))


def buckets(max_length: int) -> tuple[int, ...]:
    """Lengths that prompts are padded to: powers of two, so that few are compiled."""
    return tuple(2**i for i in range(6, 31) if 2**i < max_length)
