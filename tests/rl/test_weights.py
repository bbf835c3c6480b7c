"""Published weights arrive bit for bit on any mesh."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from cogvit_jax import tree
from cogvit_jax.settings import ConfigError
from rl.weights import WeightSettings, check
from rl.weights_load import Subscriber
from rl.weights_store import folder_store, memory_store
from rl.weights_tcp import serve, tcp_store
from tests.rl.weights_runs import (
    SPECS,
    assert_equal,
    mesh,
    on,
    publish,
    publishing,
    shardings,
    values,
)


@contextlib.contextmanager
def stores(kind, tmp_path):
    """(store to publish to, store to load from)."""
    if kind == "tcp":
        memory = memory_store()
        with serve(memory) as (host, port), tcp_store(host, port) as remote:
            yield memory, remote
        return
    store = memory_store() if kind == "memory" else folder_store(tmp_path / "weights")
    yield store, store


@pytest.mark.parametrize("kind", ["memory", "folder", "tcp"])
def test_round_trip_from_eight_devices_to_one_and_back(kind, tmp_path):
    trained = on(shardings(4, 2), values(1))
    with stores(kind, tmp_path) as (store, remote):
        published = publish(store, 1, trained)
        assert published.num_bytes == sum(x.nbytes for x in jax.tree.leaves(values()))  # once each
        alone = Subscriber(remote).load(1, SingleDeviceSharding(jax.devices()[5]))
        assert_equal(alone.params, values(1))
        assert {d.id for x in jax.tree.leaves(alone.params) for d in x.devices()} == {5}
        assert alone.num_bytes == published.num_bytes
        publish(store, 2, alone.params)
        back = Subscriber(remote).load(2, shardings(4, 2))
        assert_equal(back.params, values(1))
        same = jax.tree.map(lambda a, b: a.sharding == b, back.params, shardings(4, 2))
        assert all(jax.tree.leaves(same))


MESHES = [(8, 1), (1, 8), (2, 4), (4, 2), (2, 1), (1, 1)]


@pytest.mark.parametrize("source", MESHES[:3])
def test_any_mesh_to_any_mesh(source):
    def keep(fsdp, tensor):
        # Dims that an axis does not divide are left whole.
        sizes = dict(fsdp=fsdp, tensor=tensor)

        def spec(name, x):
            fits = []
            for n, axes in zip(x.shape, (*SPECS[name], *(None,) * x.ndim), strict=False):
                names = axes if isinstance(axes, tuple) else (axes,) if axes else ()
                fits.append(
                    axes if n % np.prod([sizes[a] for a in names], dtype=int) == 0 else None
                )
            return NamedSharding(mesh(fsdp, tensor), PartitionSpec(*fits))

        return tree.map_named(spec, values())

    store = memory_store()
    publish(store, 0, on(keep(*source), values(3)))
    for target in MESHES:
        assert_equal(Subscriber(store).load(0, keep(*target)).params, values(3))
    assert_equal(Subscriber(store).load(0).params, values(3))  # numpy arrays


@settings(max_examples=25)
@given(st.integers(1, 700), st.integers(1, 2000), st.sampled_from(["", "bfloat16"]))
def test_chunks_and_windows_of_any_size(chunk_bytes, window_bytes, dtype):
    store = memory_store()
    config = WeightSettings(dtype, chunk_bytes, window_bytes=window_bytes)
    publish(store, 0, on(shardings(2, 4), values(4)), config)
    loaded = Subscriber(store).load(0, shardings(4, 2), original_dtype=True).params
    expected = values(4)
    if dtype:
        expected = jax.tree.map(
            lambda x: x if x.dtype == np.int32 else x.astype(jnp.bfloat16).astype(x.dtype), expected
        )
    assert_equal(loaded, expected)


def test_floats_travel_in_bfloat16_and_arrive_so_unless_asked_otherwise():
    store = memory_store()
    full = publish(memory_store(), 0, on(shardings(4, 2), values()))
    half = publish(store, 0, on(shardings(4, 2), values()), WeightSettings("bfloat16"))
    assert half.num_bytes < 0.6 * full.num_bytes
    loaded = Subscriber(store).load(0).params
    assert loaded["embed"].dtype == jnp.bfloat16
    assert loaded["step"].dtype == np.int32


def test_the_step_may_donate_what_was_just_published():
    store = memory_store()
    step = jax.jit(lambda t: jax.tree.map(lambda x: x * 0 + 9, t), donate_argnums=0)
    with publishing(store) as publisher:
        params = on(shardings(4, 2), values(5))
        handle = publisher.publish(0, params)
        after = step(params)
        assert params["embed"].is_deleted()
        handle.result()
    assert_equal(Subscriber(store).load(0).params, values(5))
    assert (np.asarray(after["embed"]) == 9).all()


def test_only_the_needed_chunks_are_read():
    store = memory_store()
    rows = {"w": np.arange(80 * 10, dtype=np.float32).reshape(80, 10)}
    publish(store, 0, rows, WeightSettings(chunk_bytes=400))
    read = []

    def counted(version, part, offset, size):
        read.append((offset, size))
        return store.read(version, part, offset, size)

    spied = dataclasses.replace(store, read=counted)
    target = NamedSharding(mesh(8, 1), PartitionSpec("fsdp"))
    # This process has all eight devices; one of them needs 10 rows of 40 bytes.
    one = Subscriber(spied)
    assert_equal(one.load(0, {"w": target}).params, rows)
    assert read == [(400 * i, 400) for i in range(8)]


def test_shardings_of_another_tree_are_an_error():
    store = memory_store()
    publish(store, 0, values(0))
    with pytest.raises(ValueError, match=r"published weights differ in \['block/cube'"):
        Subscriber(store).load(0, {"embed": SingleDeviceSharding(jax.devices()[0])})


@pytest.mark.parametrize(
    ("field", "value"), [("chunk_bytes", 0), ("keep", 0), ("window_bytes", 0), ("dtype", "int8")]
)
def test_settings_out_of_range_are_named(field, value):
    with pytest.raises(ConfigError, match=f"config.weights.{field} = "):
        check(WeightSettings(**{field: value}))
