"""Parameters for the engine outlive those of the step, which gives its own away."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from rl.programs.rl_engines import to_engine


@pytest.mark.parametrize("num_devices", [1, 8])
@pytest.mark.parametrize("spec", [PartitionSpec(), PartitionSpec("data")])
def test_what_the_engine_has_is_a_copy(make_mesh, num_devices, spec):
    values = np.arange(64.0).reshape(8, 8)
    given = jax.device_put(jnp.asarray(values), NamedSharding(make_mesh(num_devices), spec))
    found = to_engine(None, {"x": given})["x"]
    jax.block_until_ready(jax.jit(lambda x: x + 1, donate_argnums=0)(given))
    assert given.is_deleted()
    np.testing.assert_array_equal(found, values)
    assert len(found.sharding.device_set) == 1
