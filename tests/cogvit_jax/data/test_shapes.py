"""Shapes told from a config alone are those of the batches that come."""

import dataclasses

import jax
import pytest

from cogvit_jax import sharding
from cogvit_jax.data.layout import DataSettings
from cogvit_jax.data.pipeline import pair_batches
from cogvit_jax.data.shapes import batch_shapes
from cogvit_jax.settings import ConfigError
from configs.stage2 import get_config

PATCH = 4
SETTINGS = DataSettings(
    train="embedded:photos/train",
    global_batch=16,
    text_length=8,
    lengths=(4, 9),
    row_length=13,
    text_row_length=10,
    text_budget=5,
    num_workers=0,
)


@pytest.mark.parametrize("text_layout", ["padded", "packed"])
@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize(("num_devices", "microbatches"), [(1, 1), (2, 4), (8, 2)])
def test_shapes_are_those_of_real_batches(
    make_mesh, layout, text_layout, num_devices, microbatches
):
    mesh = make_mesh(num_devices)
    config = dataclasses.replace(SETTINGS, layout=layout, text_layout=text_layout)
    told = batch_shapes(config, mesh, PATCH, microbatches)
    batches = pair_batches(config, mesh, PATCH, 0, None, microbatches=microbatches)
    met = set()
    for _ in range(8):
        batch = next(batches)
        shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), t) for t in (batch, *told)]
        index = shapes[1:].index(shapes[0])
        met.add(index)
        jax.tree.map(assert_same_place, batch, told[index])
        sharding.split_microbatches((batch["image"], batch["image_ids"]), microbatches)
    batches.close()
    assert met == set(range(len(told)))
    lengths = [x["image"]["segments"].shape[-1] for x in told]
    assert lengths == ([13] if layout == "packed" else [9, 4])


def assert_same_place(found, expected):
    assert found.sharding.is_equivalent_to(expected.sharding, found.ndim)


@pytest.mark.parametrize("microbatches", [1, 4])
def test_pod_batch_has_its_tokens_per_chip(make_mesh, microbatches):
    config = get_config().data
    fields = {f.name: config[f.name] for f in dataclasses.fields(DataSettings)}
    # An eighth of a pod of 256 chips is 2,048 images of 8 devices.
    data = DataSettings(**fields | {"global_batch": 2048})
    (shapes,) = batch_shapes(data, make_mesh(8), 14, microbatches)
    assert shapes["image"]["patches"].shape == (8 * microbatches, 64 // microbatches, 1024, 588)
    assert shapes["text"]["tokens"].shape == (8, 23, 512)
    assert shapes["image_ids"].shape == (8 * microbatches, 256 // microbatches)
    assert shapes["text_ids"].shape == (2048,)


def test_what_batches_refuse_is_refused_here(make_mesh):
    with pytest.raises(ConfigError, match=r"not divisible.*2 batch shards.*microbatches = 3"):
        batch_shapes(SETTINGS, make_mesh(2), PATCH, 3)
