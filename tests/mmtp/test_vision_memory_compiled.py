"""What the TPU compiler lays out for the vision side's forward and backward pass."""

import pytest

from benchmarks import vision_memory
from cogvit_jax import topology
from tests.libtpu import skip_without_libtpu

pytestmark = [pytest.mark.slow, skip_without_libtpu]

SIDE, DEPTH, MANY = 16, 4, 8  # 256 patches, blocks of CogViT-L, pictures
TOKENS = SIDE**2 // 4 * vision_memory.WIDTH * 2  # bytes of a picture's tokens, bf16


def measured(plan, images):
    device = topology.devices("v5e:2x2")[0]
    return vision_memory.measure(plan, images, device, SIDE, DEPTH)


@pytest.mark.parametrize("plan", ["chunks", "offload"])
def test_memory_does_not_grow_with_the_number_of_pictures(plan):
    """A further picture may cost its tokens, which the decoder reads, twice: 0.4 MB. Any activation
    of one of its blocks that stayed would be more: the smallest, the bf16 input, is 0.5 MiB.
    """
    one, many = measured(plan, 1), measured(plan, MANY)
    assert many.temporaries - one.temporaries < (MANY - 1) * 2 * TOKENS
    waiting = DEPTH * SIDE**2 * 1024 * 2  # the bf16 inputs of all blocks, per picture
    assert many.host == 0 if plan == "chunks" else many.host >= MANY * waiting


def test_offloading_recomputes_less_than_encoding_again():
    """Per forward pass: 3 + 1 for blocks from their inputs, 3 + 2 where a chunk with
    rematerialised blocks is encoded again; the merger, once more in both, moves that a little.
    """
    flops = {plan: measured(plan, 2).flops for plan in ("remat", "offload", "chunks")}
    assert flops["offload"] == pytest.approx(flops["remat"], rel=0.05)
    assert flops["chunks"] / flops["offload"] == pytest.approx(5 / 4, rel=0.05)
