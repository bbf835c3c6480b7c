"""The programs of the language model that `config.program` can name."""

from typing import Any

from jax.sharding import Mesh

from cogvit_jax import settings
from cogvit_jax.program import Program
from mmtp.programs import vlm

PROGRAMS = {"vlm": vlm.build}


def build(config: Any, mesh: Mesh | None = None) -> Program:
    """The program that `config.program` names; raises ConfigError for an unknown one.

    Args:
        config: a whole config.
        mesh: devices; None = those of this machine, as `config.mesh` says.
    """
    return settings.choose(PROGRAMS, config.program, "config.program")(config, mesh)
