"""The circular pipeline schedule (arXiv:2104.04473, section 2.2; as praxis and MaxText loop it).

Layers are cut into S * R pieces; piece c is on stage c mod S and is its repeat c div S. A
microbatch goes R times round the S stages, one piece per iteration:

    iteration            0  1  2  3  4  5  6  7  8
    stage 0 (S=2, R=2)   a  b  c  d  A  B  C  D  .      small: first round, capital: second
    stage 1 (M=4)        .  a  b  c  d  A  B  C  D

So R * M + S - 1 iterations, of which each stage idles S - 1: the bubble is (S-1) / (R*M + S-1).
"""

from dataclasses import dataclass
from typing import Any

from cogvit_jax.settings import ConfigError


@dataclass(frozen=True)
class PipelineSettings:
    """`config.pipeline`, used where `config.mesh.stage` is more than 1.

    Attributes:
        microbatches: pieces of the batch that follow each other through the stages.
        repeats: times that a microbatch goes round the stages; more makes the bubble smaller and
            sends activations more often.
    """

    microbatches: int = 1
    repeats: int = 1


@dataclass(frozen=True)
class Schedule:
    """Which stage works on what, and when."""

    stages: int
    repeats: int
    microbatches: int

    @property
    def iterations(self) -> int:
        """Iterations of the pipeline, each of one piece of the layers on every stage."""
        return self.repeats * self.microbatches + self.stages - 1

    @property
    def bubble(self) -> float:
        """Share of the iterations in which a stage has nothing to do."""
        return (self.stages - 1) / self.iterations

    @property
    def wait(self) -> int:
        """Iterations that a microbatch waits before stage 0 until its next round begins."""
        return self.microbatches - self.stages if self.repeats > 1 else 0

    def work(self, stage: Any, iteration: Any) -> tuple[Any, Any, Any]:
        """(repeat, microbatch, whether there is any work), of Python or traced integers.

        Where there is none, repeat and microbatch are out of range.
        """
        number = iteration - stage
        busy = (number >= 0) & (number < self.repeats * self.microbatches)
        return number // self.microbatches, number % self.microbatches, busy


def resolve(settings: PipelineSettings, stages: int, num_layers: int) -> Schedule:
    """The schedule of a config on `stages` stages.

    Raises:
        ConfigError: stages and repeats do not divide the layers, a number is less than 1, or
            there are too few microbatches for a second round.
    """
    repeats, microbatches = settings.repeats, settings.microbatches
    for name, value in (("repeats", repeats), ("microbatches", microbatches)):
        if value < 1:
            raise ConfigError(f"config.pipeline.{name} = {value}: it must be at least 1.")
    if num_layers % (stages * repeats):
        raise ConfigError(
            f"config.mesh.stage = {stages} times config.pipeline.repeats = {repeats} does not "
            f"divide the decoder's {num_layers} layers: change either."
        )
    if repeats > 1 and microbatches < stages:
        raise ConfigError(
            f"config.pipeline.microbatches = {microbatches} with repeats = {repeats} must be at "
            f"least config.mesh.stage = {stages}: a microbatch would be needed before it is back. "
            "Raise microbatches or set repeats to 1."
        )
    return Schedule(stages, repeats, microbatches)
