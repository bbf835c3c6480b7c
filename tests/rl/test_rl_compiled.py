"""What the TPU compiler makes of the RL step, with two blocks in the decoder and in the tower.

Widths, mesh, loss, reference and Muon are the pod's; `benchmarks/rl_memory.py` has the whole model.
"""

import functools

import pytest

from benchmarks import rl_memory
from tests.libtpu import least_effort, skip_without_libtpu

pytestmark = [pytest.mark.slow, skip_without_libtpu]


@functools.cache
def row(plan):
    """A conversation with 32 pictures, a micro-batch of one chip."""
    config = rl_memory.make_config("images", plan, microbatches=1)
    config.vision.depth = config.decoder.depth = 2
    with least_effort():
        return rl_memory.measure(config, "v5e:4x4", "images", plan)


def test_the_vision_side_waits_on_the_host_and_is_one_pictures_on_the_chip():
    plain, offload = row("plain"), row("offload")
    # bf16 inputs of both blocks and what leaves them: 1,024 patches of width 1,024, 32 pictures.
    assert offload.host == 32 * 3 * 1024 * 1024 * 2
    assert plain.host == 0
    assert offload.temporaries < 0.55 * plain.temporaries
    assert offload.arguments == plain.arguments


@pytest.mark.parametrize(("plan", "temporaries"), [("plain", 8.88e9), ("offload", 4.60e9)])
def test_what_the_compiler_makes_of_it_stays(plan, temporaries):
    found = row(plan)
    assert found.fits
    assert found.temporaries == pytest.approx(temporaries, rel=0.05)
    assert found.collective_bytes == pytest.approx(3.5e9, rel=0.1)
