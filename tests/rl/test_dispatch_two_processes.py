"""Two processes of four devices, each with half of the samples: every device gets its part."""

import pytest

from tests.two_processes import run_both

PROGRAM = """
import sys
import jax
import numpy as np

jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))

from cogvit_jax import sharding
from mmtp.data.layout import flatten
from rl.batching import plan_rows, write
from rl.dispatch import choose_sources
from tests.rl.packed_samples import exchange, random_samples, small_layout

mesh = sharding.make_mesh(sharding.MeshSettings(data=2, fsdp=2, context=2))
everything = random_samples(0, 21)
first = 0 if jax.process_index() == 0 else 13
mine = everything[first : 13 if first == 0 else 21]
sizes = [s.size for s in everything]
plan = plan_rows(sizes, small_layout(4, context=2))
sources = choose_sources(sizes, [0] * 13 + [1] * 8, mesh)
here = {first + i: sample for i, sample in enumerate(mine)}
arrays, traffic = exchange(mesh, here, sizes, sources, plan, 4096)
whole = flatten(write(everything, plan))
checked = 0
for name, value in flatten(arrays).items():
    assert value.shape == whole[name].shape
    for shard in value.addressable_shards:
        np.testing.assert_array_equal(shard.data, whole[name][shard.index], err_msg=name)
        checked += shard.data.size > 0
assert 0 < traffic.needed < traffic.sent
print("checked", checked, flush=True)
jax.distributed.shutdown()
"""


@pytest.mark.slow  # two processes, 20 s
def test_two_processes_get_what_they_train():
    for text in run_both("-c", PROGRAM, devices=4):
        assert int(text.rsplit("checked", 1)[1].split()[0]) > 50
