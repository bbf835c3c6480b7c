"""Numbers of `config.data` that do not go together are named; shapes are those of batches."""

import numpy as np
import pytest

from cogvit_jax import settings, sharding
from cogvit_jax.settings import ConfigError
from mmtp.data.layout import DataSettings, batch_shapes, flatten, nest
from mmtp.data.packing import collate
from tests.mmtp.random_documents import make_document, make_layout, random_documents


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("groups", [0, 8])
def test_batches_have_the_declared_shapes(depth, groups):
    layout = make_layout(2, depth, microbatches=2, groups=groups, vision_rows=24)
    assert layout.groups == layout.global_groups == (groups or 4)
    batch = flatten(collate(random_documents(0, 16), layout)["arrays"])
    shapes = flatten(batch_shapes(layout))
    assert batch.keys() == shapes.keys()
    for name, (shape, dtype) in shapes.items():
        assert (batch[name].shape, batch[name].dtype) == (shape, dtype), name
        assert batch[name].flags.c_contiguous
    assert shapes["labels"] == ((layout.groups, 8 // layout.groups, 1 + depth, 32), np.int32)


def test_global_shapes_are_the_same_on_every_host():
    whole = make_layout(4, num_hosts=1)
    for host in range(2):
        layout = make_layout(4, num_hosts=2, host=host)
        assert batch_shapes(layout) == batch_shapes(whole)
        assert (layout.groups, layout.host_batch, layout.host_offset) == (2, 8, 8 * host)
        assert batch_shapes(layout, layout.groups)["tokens"][0] == (2, 2, 32)


@pytest.mark.parametrize("depth", [0, 2])
def test_batches_go_to_the_devices(make_mesh, depth):
    layout = make_layout(4, depth)
    batch = collate(random_documents(0, 16), layout)["arrays"]
    placed = sharding.put_batch(make_mesh(4), batch)
    for name, value in flatten(batch).items():
        np.testing.assert_array_equal(flatten(placed)[name], value)


def test_a_batch_of_text_alone_has_the_same_arrays():
    layout = make_layout(2)
    text = [make_document(np.random.default_rng(n), [5]) for n in range(16)]
    batch = flatten(collate(text, layout)["arrays"])
    for name, (shape, dtype) in flatten(batch_shapes(layout)).items():
        assert (batch[name].shape, batch[name].dtype) == (shape, dtype), name
    assert not batch["image/segments"].any()


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({"rows": 6}, {"num_shards": 4}, r"config.data.rows = 6 must be a multiple of the 4 gro"),
        ({"vision_rows": 6}, {"num_shards": 4}, r"config.data.vision_rows = 6 must be a mult"),
        ({"groups": 6}, {"num_shards": 4}, r"config.data.groups = 6 must be .* 4 batch shards"),
        ({"groups": -4}, {"num_shards": 4}, r"config.data.groups = -4 must be"),
        ({"groups": 4}, {"microbatches": 3}, r"times 3 \(config.train.microbatches"),
        ({"planned_groups": 3}, {"num_shards": 4}, r"planned_groups = 3 must divide the 4 groups"),
        (
            {"planned_groups": 4, "documents": 17},
            {"num_shards": 8},
            r"config.data.documents = 17 must be a multiple of 2",
        ),
        ({"documents": 15}, {"num_shards": 8, "num_hosts": 2}, r"config.data.documents = 15"),
        ({"layout": "pack"}, {}, r"config.data.layout = 'pack'.*Did you mean 'packed'"),
        ({"seq_len": 0}, {}, r"config.data.seq_len = 0 must be 1 or more"),
        ({"vision_cost": -1.0}, {}, r"config.data.vision_cost = -1.0 must be 0 or more"),
        ({"seq_len": 30}, {"context": 4}, r"config.data.seq_len = 30 must be a multiple of 8"),
        (
            {"vision_row_length": 24},
            {"context": 4},
            r"config.data.vision_row_length = 24 must be a multiple of 16",
        ),
        ({"vision_row_length": 30}, {}, r"vision_row_length = 30 must be a multiple of 4"),
    ],
)
def test_errors_name_field_value_and_remedy(fields, options, message):
    with pytest.raises(ConfigError, match=message):
        make_layout(**options, **fields)


def test_settings_are_read_from_a_section():
    section = {"train": "ocr/train", "documents": 8, "seq_len": 16, "rows": 4}
    section |= {"vision_row_length": 64, "vision_rows": 2}
    config = settings.read(DataSettings, section, "config.data")
    assert config.global_batch == 8
    with pytest.raises(
        ConfigError, match=r"config.data.seq_length is not known. Did you mean 'seq_len'"
    ):
        settings.read(DataSettings, section | {"seq_length": 3}, "config.data")


def test_nest_and_flatten_are_inverse():
    flat = {"tokens": 1, "image/patches": 2, "image/segments": 3}
    assert nest(flat) == {"tokens": 1, "image": {"patches": 2, "segments": 3}}
    assert flatten(nest(flat)) == flat
