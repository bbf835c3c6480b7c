"""What each device is sent is its part of the batch that one host would have written."""

import jax
import numpy as np
import pytest

from cogvit_jax import sharding
from mmtp.data.layout import flatten
from rl.batch_arrays import array_sharding, put_batch
from rl.batching import plan_rows, write
from rl.dispatch import choose_sources, ranks_of
from tests.rl.packed_samples import exchange, random_samples, small_layout

EXTRA = ("teacher",)
MESHES = [  # axes, bytes per round, depths of multi-token prediction
    ({"data": 8}, 1500, 0),
    ({"data": 2, "fsdp": 2, "context": 2}, 1 << 20, 2),
    ({"data": 1, "context": 4, "tensor": 2}, 1 << 20, 0),
]


def make_problem(axes, depth=0, num=20):
    mesh = sharding.make_mesh(sharding.MeshSettings(**axes))
    context = axes.get("context", 1)
    layout = small_layout(sharding.num_batch_shards(mesh), context=context, depth=depth)
    samples = random_samples(len(axes), num, extra=EXTRA)
    sizes = [s.size for s in samples]
    plan = plan_rows(sizes, layout)
    sources = choose_sources(sizes, [0] * num, mesh)
    return mesh, samples, sizes, sources, plan


@pytest.mark.parametrize(("axes", "chunk_bytes", "depth"), MESHES)
def test_every_device_gets_exactly_its_part(axes, chunk_bytes, depth):
    mesh, samples, sizes, sources, plan = make_problem(axes, depth)
    samples_here = dict(enumerate(samples))
    arrays, traffic = exchange(mesh, samples_here, sizes, sources, plan, chunk_bytes, EXTRA)
    whole = flatten(put_batch(mesh, write(samples, plan)))
    found = flatten(arrays)
    assert found.keys() == whole.keys()
    for name, expected in whole.items():
        assert found[name].sharding.is_equivalent_to(array_sharding(mesh, name), expected.ndim)
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected, err_msg=name)
    assert 0 < traffic.needed <= traffic.sent


def test_samples_are_sent_from_ranks_of_their_process_about_evenly():
    mesh, samples, sizes, sources, _ = make_problem({"data": 4, "tensor": 2}, num=60)
    assert len(ranks_of(mesh)) == 4
    assert sorted({d.id for devices in ranks_of(mesh) for d in devices}) == list(range(8))
    loads = np.zeros(4)
    for sample, source in zip(samples, sources, strict=True):
        loads[source] += sample.size.tokens + sample.size.patches
    assert loads.max() - loads.min() <= max(s.tokens + s.patches for s in sizes)


def test_the_exchange_is_an_all_to_all_of_bounded_buffers():
    mesh, samples, sizes, sources, plan = make_problem({"data": 8})
    samples = dict(enumerate(samples))
    _, small = exchange(mesh, samples, sizes, sources, plan, 1500, EXTRA)
    _, large = exchange(mesh, samples, sizes, sources, plan, 1 << 20, EXTRA)
    assert small.needed == large.needed
    assert small.buffer <= 2 * 8 * 1500 < large.buffer


def test_further_arrays_that_were_not_named_are_an_error():
    mesh, samples, sizes, sources, plan = make_problem({"data": 8})
    with pytest.raises(ValueError, match="have not the further arrays"):
        exchange(mesh, dict(enumerate(samples)), sizes, sources, plan)


def test_no_samples_at_all_give_an_empty_batch():
    mesh, *_ = make_problem({"data": 8})
    plan = plan_rows([], small_layout(8))
    arrays, traffic = exchange(mesh, {}, [], [], plan)
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(arrays | {"order": 0}))
    assert traffic.needed == 0
