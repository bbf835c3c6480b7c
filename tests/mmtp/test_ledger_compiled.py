"""What the TPU compiler makes of the pipelined step: the claim of the report's section 2.2."""

import jax
import pytest

from benchmarks import mmtp_ledger
from cogvit_jax import topology
from mmtp import ledger
from tests.libtpu import least_effort, skip_without_libtpu

pytestmark = [pytest.mark.slow, skip_without_libtpu]


@pytest.mark.parametrize(
    ("arm", "arrays"),
    [("image_token", 1), ("image_token_frozen", 1), ("masked", 1), ("visual", 2)],
)
def test_only_one_design_moves_visual_embeddings(arm, arrays):
    """Per iteration one [b, t, d] on and its gradient back; "visual" moves a second array."""
    sizes = mmtp_ledger.SMALL
    mesh = mmtp_ledger.make_mesh(sizes, topology.devices("v5e:2x4"))
    with least_effort():
        rows, schedule = mmtp_ledger.count(sizes, mesh, arm)
    hops = ledger.hops(rows, "stage")
    assert hops["sent"] == 2 * schedule.iterations * arrays * mmtp_ledger.activation(sizes)
    assert jax.default_backend() == "cpu"
