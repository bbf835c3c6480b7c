"""The programs that `config.program` can name."""

from typing import Any

from jax.sharding import Mesh

from cogvit_jax import settings
from cogvit_jax.checkpoint import CheckpointError
from cogvit_jax.data.examples import TooManyCorruptRecords
from cogvit_jax.evals.embed import Embedder
from cogvit_jax.hooks import NonFiniteLoss
from cogvit_jax.interop.files import WeightsError
from cogvit_jax.program import Program
from cogvit_jax.programs import stage1, stage2

PROGRAMS = {"stage1": stage1.build, "stage2": stage2.build}
EMBEDDERS = {"stage1": stage1.make_embedder, "stage2": stage2.make_embedder}

# What a user can mend by reading one message; everything else shows its traceback.
EXPECTED_ERRORS = (
    settings.ConfigError,
    CheckpointError,
    NonFiniteLoss,
    TooManyCorruptRecords,
    WeightsError,
    FileNotFoundError,
    PermissionError,
)


def build(config: Any, mesh: Mesh | None = None) -> Program:
    """The program that `config.program` names; raises ConfigError for an unknown one.

    Args:
        config: a whole config.
        mesh: devices; None = those of this machine, as `config.mesh` says.
    """
    return settings.choose(PROGRAMS, config.program, "config.program")(config, mesh)


def make_embedder(config: Any, mesh: Mesh) -> Embedder:
    """What turns pictures (and texts, where there is a text tower) into vectors for a config."""
    return settings.choose(EMBEDDERS, config.program, "config.program")(config, mesh)
