"""A batch that process 0 has, on the devices as one process would have put it."""

import json

import numpy as np
import pytest

from cogvit_jax import sharding
from cogvit_jax.settings import ConfigError
from mmtp.data.layout import flatten
from rl import delivery
from rl.balance import TOKENS
from rl.batch_arrays import array_sharding
from tests.rl.packed_samples import SETTINGS, random_samples, small_layout

MESHES = [({"data": 4, "fsdp": 2}, ()), ({"data": 2, "context": 2, "tensor": 2}, ("teacher",))]


def make(axes, way):
    mesh = sharding.make_mesh(sharding.MeshSettings(**axes))
    layout = small_layout(sharding.num_batch_shards(mesh), context=axes.get("context", 1))
    return mesh, way(mesh, layout, SETTINGS, TOKENS)


@pytest.mark.parametrize(("axes", "extra"), MESHES)
def test_both_ways_give_the_same_arrays(axes, extra):
    samples = random_samples(3, 20, extra=extra)
    mesh, within = make(axes, delivery.within)
    _, between = make(axes, delivery.between)
    alone, shared = within.pack(samples), between.pack(samples)
    assert alone.outline is None
    assert shared.figures == alone.figures
    outline = json.loads(json.dumps(shared.outline))  # as it arrives elsewhere
    expected, _ = within.put(alone.cargo, None)
    found, figures = between.put(shared.cargo, outline)
    expected, found = flatten(expected), flatten(found)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].sharding.is_equivalent_to(array_sharding(mesh, name), value.ndim)
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert 0 < figures["rl/dispatch/needed_megabytes"] < figures["rl/dispatch/sent_megabytes"]


def test_outlines_are_numbers_of_sizes_and_places_only():
    samples = random_samples(5, 30)
    _, between = make({"data": 8}, delivery.between)
    outline = between.pack(samples).outline
    assert len(json.dumps(outline)) < 100 * len(samples)


def test_a_rank_split_over_processes_is_refused(monkeypatch):
    class Split:
        def __init__(self, index):
            self.process_index = index

    monkeypatch.setattr("rl.dispatch.ranks_of", lambda mesh: [[Split(0), Split(1)]])
    with pytest.raises(ConfigError, match="on processes \\[0, 1\\]"):
        make({"data": 4, "tensor": 2}, delivery.between)
