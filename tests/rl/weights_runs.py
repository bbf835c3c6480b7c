"""Small trees of parameters on meshes, and what publishes them."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cogvit_jax import tree
from rl.weights import Publisher, WeightSettings

SMALL = WeightSettings(chunk_bytes=100, window_bytes=300)
SPECS = {
    "embed": PartitionSpec("fsdp", None),
    "block/kernel": PartitionSpec(None, ("fsdp", "tensor")),
    "block/cube": PartitionSpec("tensor", "fsdp", None),
    "block/scale": PartitionSpec(),
    "step": PartitionSpec(),
}


def mesh(fsdp, tensor):
    devices = np.asarray(jax.devices()[: fsdp * tensor]).reshape(fsdp, tensor)
    return Mesh(devices, ("fsdp", "tensor"))


def values(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "embed": rng.normal(size=(16, 6)).astype(np.float32),
        "block": {
            "kernel": rng.normal(size=(5, 16)).astype(jnp.bfloat16),
            "cube": rng.normal(size=(4, 8, 3)).astype(np.float32),
            "scale": rng.normal(size=(7,)).astype(np.float32),
        },
        "step": np.asarray(seed, np.int32),
    }


def shardings(fsdp, tensor):
    made = mesh(fsdp, tensor)
    return tree.unflatten({name: NamedSharding(made, spec) for name, spec in SPECS.items()})


def on(placed, tree_of_values):
    return jax.tree.map(jax.device_put, tree_of_values, placed)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@contextlib.contextmanager
def publishing(store, config=SMALL):
    publisher = Publisher(store, config)
    yield publisher
    publisher.close()


def publish(store, version, params, config=SMALL):
    with publishing(store, config) as publisher:
        return publisher.publish(version, params).result()
