"""What the TPU compiler makes of the RL step, with two blocks in the decoder and in the tower.

Widths, mesh, loss, reference and Muon are the pod's; `benchmarks/rl_memory.py` has the whole model.
"""

import pytest

from benchmarks import rl_memory
from tests.libtpu import least_effort, skip_without_libtpu

pytestmark = [pytest.mark.slow, skip_without_libtpu]


def test_of_many_pictures_one_is_on_the_chip_and_the_others_wait_on_the_host():
    """A conversation with 32 pictures; 8.88 GB of temporaries where all stay on the chip."""
    config = rl_memory.make_config("images", "offload", microbatches=1)
    config.vision.depth = config.decoder.depth = 2
    with least_effort():
        found = rl_memory.measure(config, "v5e:4x4", "images", "offload")
    assert found.fits
    # bf16 inputs of both blocks and what leaves them: 1,024 patches of width 1,024 a picture.
    assert found.host == 32 * 3 * 1024 * 1024 * 2
    assert found.temporaries == pytest.approx(4.60e9, rel=0.05)
    assert found.collective_bytes == pytest.approx(3.66e9, rel=0.05)
