"""Memory of the vision side over the number of pictures, as the TPU compiler lays it out."""

import functools

import pytest

from benchmarks import vision_memory
from cogvit_jax import topology
from tests.libtpu import least_effort, skip_without_libtpu

pytestmark = [pytest.mark.slow, skip_without_libtpu]
BLOCK_INPUT = 1024 * 1024 * 2  # bytes, bf16, of one picture


@functools.cache
def measure(plan, images):
    """Two blocks of CogViT-L and the merger, 1,024 patches a picture, on one v5e chip."""
    device = topology.devices("v5e:2x2")[0]
    with least_effort():
        return vision_memory.measure(plan, images, device, side=32, depth=2)


def test_chunks_hold_the_activations_of_one_picture():
    """A picture more adds its tokens and their gradients, not even the inputs of its blocks."""
    few, many = measure("chunks", 2), measure("chunks", 16)
    assert many.temporaries - few.temporaries < 14 * 2 * BLOCK_INPUT
    assert many.host == 0


def test_what_is_offloaded_waits_on_the_host():
    """Inputs of both blocks and what leaves them, of all pictures; the device has no part of it."""
    many = measure("offload", 16)
    assert many.host == 16 * 3 * BLOCK_INPUT
    assert many.temporaries < measure("chunks", 16).temporaries + 16 * BLOCK_INPUT
