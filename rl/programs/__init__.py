"""The programs of reinforcement learning that `config.program` can name."""

from typing import Any

from jax.sharding import Mesh

from cogvit_jax import settings
from cogvit_jax.program import Program
from rl.programs import rl

PROGRAMS = {"rl": rl.build}


def build(config: Any, mesh: Mesh | None = None, workdir: str = "") -> Program:
    """The program that `config.program` names; raises ConfigError for an unknown one.

    Args:
        config: a whole config.
        mesh: devices; None = those of this machine, as `config.mesh` says.
        workdir: of the run; "" = only shapes are wanted.
    """
    return settings.choose(PROGRAMS, config.program, "config.program")(config, mesh, workdir)
