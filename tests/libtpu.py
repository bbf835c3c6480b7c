"""The TPU compiler that compiled figures are pinned to; `pip install -e '.[compiled]'`."""

import contextlib
from importlib import metadata

import jax
import pytest

VERSION = "0.0.42.1"


def installed():
    try:
        return metadata.version("libtpu")
    except metadata.PackageNotFoundError:
        return "none"


skip_without_libtpu = pytest.mark.skipif(
    installed() != VERSION, reason=f"figures are libtpu {VERSION}'s, installed: {installed()}"
)

# Compiles in a quarter of the time or less: products and kernels are those of the full effort,
# memory and bytes sent within a fifth (docs/LOG.md), and the schedule is another one.
LEAST_EFFORT = -1.0
LEAST_EFFORT_ENV = {"JAX_EXEC_TIME_OPTIMIZATION_EFFORT": str(LEAST_EFFORT)}


@contextlib.contextmanager
def least_effort():
    """What is compiled inside is scheduled as it comes."""
    before = jax.config.jax_exec_time_optimization_effort
    jax.config.update("jax_exec_time_optimization_effort", LEAST_EFFORT)
    try:
        yield
    finally:
        jax.config.update("jax_exec_time_optimization_effort", before)
