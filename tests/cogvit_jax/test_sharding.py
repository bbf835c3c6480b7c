"""Where arrays live: the mesh, parameter rules, optimizer state, and microbatches that stay put."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from cogvit_jax import sharding
from cogvit_jax.settings import ConfigError
from cogvit_jax.sharding import MeshSettings

ALL = (".*", ())


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh(MeshSettings(data=2, fsdp=4))


@pytest.fixture(scope="module")
def params():
    return {
        "blocks": {"qkv": {"kernel": jnp.ones((3, 8, 3, 2, 5)), "bias": jnp.ones((3, 2))}},
        "table": {"embedding": jnp.ones((10, 8))},
        "scale": jnp.ones(()),
    }


def specs(mesh, rules, params):
    return jax.tree.map(lambda s: s.spec, sharding.param_shardings(mesh, rules, params))


def test_one_axis_takes_the_remaining_devices():
    shape = sharding.make_mesh(MeshSettings(data=-1, fsdp=2)).shape
    assert dict(shape) == dict.fromkeys(sharding.AXES, 1) | {"data": 4, "fsdp": 2}
    assert sharding.num_batch_shards(sharding.make_mesh(MeshSettings(data=2, tensor=4))) == 2


@pytest.fixture(scope="module")
def slices():
    """Eight devices that say they belong to two slices, as those of two TPU pods do."""
    numbered = enumerate(jax.devices())
    return [
        SimpleNamespace(id=i, slice_index=i % 2, platform="cpu", device_kind="")
        for i, _ in numbered
    ]


def test_slices_stand_along_the_dcn_axis(slices, monkeypatch):
    monkeypatch.setattr(sharding, "Mesh", lambda devices, *_, **__: devices)
    placed = sharding.make_mesh(MeshSettings(dcn=2, data=2, fsdp=2), slices)
    assert placed.shape == (2, 1, 2, 2, 1, 1)
    assert [{d.slice_index for d in part.flat} for part in placed] == [{0}, {1}]
    with pytest.raises(ConfigError, match=r"config\.mesh\.dcn = 1.*2 slices.*set it to 2"):
        sharding.make_mesh(MeshSettings(data=8), slices)


def test_a_mesh_for_whatever_is_here_knows_the_slices(slices, monkeypatch):
    here = sharding.make_mesh(MeshSettings(**sharding.data_parallel()))
    assert dict(here.shape) == dict.fromkeys(sharding.AXES, 1) | {"data": 8}
    monkeypatch.setattr(jax, "devices", lambda: slices)
    assert sharding.data_parallel()["dcn"] == 2


def test_hosts_that_are_not_told_apart_make_slices_of_consecutive_devices():
    mesh = sharding.make_mesh(MeshSettings(dcn=2, fsdp=2))
    assert [d.id for d in mesh.devices[0].flat] == [d.id for d in jax.devices()[:4]]
    assert sharding.num_batch_shards(mesh) == 8


@pytest.mark.parametrize(
    "axes",
    [
        {"data": 3},
        {"data": 16},
        {"data": -1, "fsdp": 3},
        {"data": -1, "fsdp": -1},
        {"data": 0},
        {"data": -1, "fsdp": 0},
        {"data": -4, "fsdp": -2},
    ],
)
def test_mesh_that_does_not_fit_names_sizes_devices_and_remedy(axes):
    with pytest.raises(ConfigError, match=r"config\.mesh \(dcn=.*8 devices.*set one axis to -1"):
        sharding.make_mesh(MeshSettings(**axes))


def test_first_rule_wins_and_specs_count_from_the_last_dim(mesh, params):
    rules = (
        (r"/qkv/kernel$", ("fsdp", None, None, None)),
        (r"(kernel|embedding)$", ("fsdp",)),
        ALL,
    )
    assert specs(mesh, rules, params) == {
        "blocks": {
            "qkv": {
                "kernel": PartitionSpec(None, "fsdp", None, None, None),
                "bias": PartitionSpec(None, None),
            }
        },
        "table": {"embedding": PartitionSpec(None, "fsdp")},
        "scale": PartitionSpec(),
    }


def test_fsdp_splits_memory(mesh, params):
    rules = ((r"kernel$", ("fsdp", None, None, None)), ALL)
    placed = jax.device_put(params, sharding.param_shardings(mesh, rules, params))
    kernel = placed["blocks"]["qkv"]["kernel"]
    assert {s.data.shape for s in kernel.addressable_shards} == {(3, 2, 3, 2, 5)}
    assert placed["scale"].sharding.is_fully_replicated


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (((r"embedding$", ("model",)), ALL), r"'model' is no mesh axis; axes: .*fsdp"),
        (
            ((r"embedding$", ("fsdp", None)), ALL),
            r"'fsdp' \(4 devices\) on dim 0 of table/embedding \(10, 8\).*does not divide",
        ),
        (((r"kernel$", ()),), r"config\.mesh\.rules has no rule for parameter"),
        (((r"kernal$", ()), ALL), r"'kernal\$' matches no parameter.*blocks/qkv"),
        (((r"(kernel", ()), ALL), r"is no regular expression"),
    ],
)
def test_bad_rules_name_rule_and_parameter(mesh, params, rules, message):
    with pytest.raises(ConfigError, match=message):
        sharding.param_shardings(mesh, rules, params)


def test_optimizer_state_lives_where_its_parameters_do(mesh, params):
    rules = ((r"kernel$", ("fsdp", None, None, None)), (r"embedding$", ("fsdp",)), ALL)
    shardings = sharding.param_shardings(mesh, rules, params)
    labels = {"blocks": "a", "table": "b", "scale": "a"}
    transform = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.partition({"a": optax.adam(1e-3), "b": optax.trace(0.9)}, labels),
    )
    state = jax.eval_shape(transform.init, params)
    placed = sharding.like_params(mesh, params, shardings, state)
    moments = placed[1].inner_states["a"].inner_state[0]
    trace = placed[1].inner_states["b"].inner_state.trace
    expected = PartitionSpec(None, "fsdp", None, None, None)
    for tree in (moments.mu, moments.nu):
        assert tree["blocks"]["qkv"]["kernel"].spec == expected
        assert tree["scale"].spec == PartitionSpec()
    assert trace["table"]["embedding"].spec == PartitionSpec(None, "fsdp")
    assert moments.count.spec == PartitionSpec()


def test_state_of_another_shape_is_replicated(mesh, params):
    shardings = sharding.param_shardings(mesh, ((r"embedding$", ("fsdp",)), ALL), params)
    factored = {"rows": {"table": {"embedding": jnp.ones((10,))}}}
    placed = sharding.like_params(mesh, params, shardings, factored)
    assert placed["rows"]["table"]["embedding"].spec == PartitionSpec()


def collectives(fn, batch):
    text = jax.jit(fn).lower(batch).compile().as_text()
    names = ("all-gather", "all-to-all", "collective-permute", "all-reduce")
    return {name for name in names if f" {name}(" in text}


def sum_each(parts):
    return jax.lax.map(lambda part: jnp.sum(part["x"] ** 2), parts)


def test_microbatches_stay_on_their_devices(mesh):
    batch = sharding.put_batch(mesh, {"x": np.arange(96, dtype=np.float32).reshape(32, 3)})
    # The sum over devices is the only communication; a plain reshape moves the rows.
    assert collectives(lambda b: sum_each(sharding.split_microbatches(b, 4)), batch) == {
        "all-reduce"
    }
    plain = collectives(lambda b: sum_each({"x": b["x"].reshape(4, 8, 3)}), batch)
    assert "all-gather" in plain


def test_microbatches_hold_every_row_once(mesh):
    rows = np.arange(96, dtype=np.float32).reshape(32, 3)
    batch = sharding.put_batch(mesh, {"x": rows, "id": np.arange(32)})
    parts = jax.jit(lambda b: sharding.split_microbatches(b, 4))(batch)
    ids = np.asarray(parts["id"])
    assert ids.shape == (4, 8)
    assert sorted(ids.ravel()) == list(range(32))
    np.testing.assert_array_equal(np.asarray(parts["x"]), rows[ids])


def test_microbatches_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match=r"config\.train\.microbatches = 4 .* 6 rows"):
        sharding.split_microbatches({"x": jnp.ones((6, 3))}, 4)


def test_a_batch_comes_back_to_the_host_in_order(mesh):
    rows = np.arange(32).reshape(16, 2)
    placed = sharding.put_batch(mesh, rows)
    assert len({s.device for s in placed.addressable_shards}) == 8
    np.testing.assert_array_equal(sharding.to_host(placed), rows)
