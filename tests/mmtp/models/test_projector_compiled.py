"""Memory of the vision side over the number of pictures, as the TPU compiler lays it out."""

import functools

import pytest

from benchmarks import vision_memory
from cogvit_jax import topology
from tests.libtpu import skip_without_libtpu

pytestmark = [pytest.mark.slow, skip_without_libtpu]


@functools.cache
def measure(plan, images):
    """Two blocks of CogViT-L and the merger, 256 patches a picture, on one v5e chip."""
    device = topology.devices("v5e:2x2")[0]
    return vision_memory.measure(plan, images, device, side=16, depth=2)


@pytest.mark.parametrize("plan", ["chunks", "offload"])
def test_chunks_hold_the_activations_of_one_picture(plan):
    """Eight times the pictures add less than one picture's activations without chunks."""
    few, many, bare = measure(plan, 2), measure(plan, 16), measure("remat", 16)
    one = (bare.temporaries - measure("remat", 2).temporaries) / 14
    assert (many.temporaries - few.temporaries) / 14 < 0.35 * one


def test_all_at_once_grows_with_the_pictures():
    few, many = measure("none", 2), measure("none", 16)
    assert many.temporaries > 4 * few.temporaries


def test_what_is_offloaded_waits_on_the_host():
    few, many = measure("offload", 2), measure("offload", 16)
    # A block's input [256, 1024], two bytes or more a number, of two blocks and each picture.
    assert many.host == 8 * few.host
    assert many.host >= 16 * 2 * 256 * 1024 * 2
    assert measure("chunks", 16).host == 0
