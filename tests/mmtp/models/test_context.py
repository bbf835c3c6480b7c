"""Context parallelism: split rows give one device's attention, in any layout."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cogvit_jax.settings import ConfigError
from cogvit_jax.sharding import BATCH_AXES
from mmtp.models import attend, blockwise, context
from mmtp.models.blockwise import Places

ROWS, TOKENS, HEADS, KEY_HEADS, DIM = 2, 64, 4, 2, 8


def dense(q, k, v, places):
    """The oracle: every logit at once, key heads repeated."""
    repeat = q.shape[2] // k.shape[2]
    k, v = (jnp.repeat(x, repeat, axis=2) for x in (k, v))
    logits = jnp.einsum("bthk,bshk->bhts", q, k) / q.shape[-1] ** 0.5
    same = places.segments[:, :, None] == places.segments[:, None]
    seen = same & (places.order[:, None] <= places.order[:, :, None])
    if places.usable is not None:
        itself = places.order[:, None] == places.order[:, :, None]
        seen &= places.usable[:, None] | itself
    weights = jax.nn.softmax(jnp.where(seen[:, None], logits, -jnp.inf), axis=-1)
    return jnp.einsum("bhts,bshk->bthk", weights, v)


def make(seed=0, *, usable=True, rows=ROWS):
    """Packed rows: documents of random length, padding behind; some keys not usable."""
    rng = np.random.default_rng(seed)
    q, k, v, g = (
        rng.normal(size=(rows, TOKENS, heads, DIM)).astype(np.float32)
        for heads in (HEADS, KEY_HEADS, KEY_HEADS, HEADS)
    )
    segments = np.zeros((rows, TOKENS), np.int32)
    for row in segments:
        ends = np.sort(rng.choice(np.arange(4, TOKENS - 4), 3, replace=False))
        row[: ends[-1]] = 1 + np.searchsorted(ends, np.arange(ends[-1]), side="right")
    order = np.tile(np.arange(TOKENS, dtype=np.int32), (rows, 1))
    mask = rng.random((rows, TOKENS)) < 0.7 if usable else None
    return jax.tree.map(jnp.asarray, ((q, k, v, g), Places(segments, order, mask)))


def layout(name, ranks):
    """Places in the row in the order in which the devices hold them."""
    chunks = np.arange(TOKENS).reshape(2 * ranks, -1)
    if name == "zigzag":
        pairs = [(i, 2 * ranks - 1 - i) for i in range(ranks)]
        return chunks[np.array(pairs).reshape(-1)].reshape(-1)
    if name == "random":
        return np.random.default_rng(7).permutation(TOKENS)
    return chunks.reshape(-1)


def reorder(tree, index):
    return jax.tree.map(lambda x: x[:, index], tree)


def value_and_grads(attend, arrays, places):
    q, k, v, g = arrays
    out, pull = jax.vjp(lambda q, k, v: attend(q, k, v, places), q, k, v)
    return out, *pull(g)


def check(found, expected, index=None):
    for x, y in zip(found, expected, strict=True):
        y = y if index is None else y[:, index]
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize(
    ("block_size", "usable"),
    [
        (24, True),
        (64, False),
        pytest.param(24, False, marks=pytest.mark.slow),
        pytest.param(64, True, marks=pytest.mark.slow),
    ],
)
def test_blocks_equal_all_at_once(usable, block_size):
    arrays, places = make(1, usable=usable)
    with jax.default_matmul_precision("highest"):
        expected = value_and_grads(dense, arrays, places)

        def attend(*args):
            return context.local(*args, block_size=block_size)

        check(value_and_grads(attend, arrays, places), expected)


SLOW = [
    ({"context": 2, "tensor": 2, "data": 2}, "zigzag", "gathered"),
    ({"context": 4, "fsdp": 2}, "zigzag", "ring"),
    ({"context": 4, "fsdp": 2}, "random", "gathered"),
    ({"context": 4, "fsdp": 2}, "random", "ring"),
    ({"context": 8}, "zigzag", "gathered"),
    ({"context": 8}, "zigzag", "ring"),
]


@pytest.mark.parametrize(
    ("axes", "arrangement", "method"),
    [
        ({"context": 4, "fsdp": 2}, "zigzag", "gathered"),
        ({"context": 2, "tensor": 2, "data": 2}, "zigzag", "ring"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW),
    ],
)
def test_split_rows_equal_one_device(make_mesh, axes, arrangement, method):
    mesh = make_mesh(8, **({"data": 1} | axes))
    arrays, places = make(2)
    index = layout(arrangement, mesh.shape["context"])
    with jax.default_matmul_precision("highest"):
        expected = value_and_grads(dense, arrays, places)
        attend = context.over_mesh(context.METHODS[method])

        @jax.jit
        def step(arrays, places):
            with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # as train_step does
                return value_and_grads(attend, arrays, places)

        put = NamedSharding(mesh, PartitionSpec(BATCH_AXES, "context"))
        moved = jax.device_put(reorder((arrays, places), index), put)
        check(step(*moved), expected, index)


@pytest.mark.parametrize("usable", [False, True])
def test_one_rule_of_visibility(usable):
    """Blocks and the decoder's own attention see the same keys."""
    _, places = make(3, usable=usable)
    inputs = attend.Inputs((jnp.zeros(()), jnp.zeros(())), *places)
    expected = attend.visible(inputs, inputs)[:, 0]
    np.testing.assert_array_equal(blockwise.visible(places, places), expected)


def test_the_future_is_not_computed():
    """NaN in a block that nobody sees: were it computed, 0 * NaN would show it."""
    (q, k, v, g), places = make(4)
    places = places._replace(segments=jnp.ones_like(places.segments))
    late = places.order >= TOKENS // 2
    k = jnp.where(late[..., None, None], jnp.nan, k)

    def attend(q, k, v, places):
        return context.local(q, k, v, places, block_size=TOKENS // 4)

    g = jnp.where(late[..., None, None], 0, g)
    for x in value_and_grads(attend, (q, k, v, g), places)[:2]:  # output, gradient of queries
        assert np.isfinite(x[:, : TOKENS // 2]).all()


def test_memory_of_the_ring(make_mesh):
    """Compiled temporaries of value and gradient hold no logits of a device's whole part."""
    mesh, tokens = make_mesh(8, data=1, context=8), 8192
    spec = PartitionSpec(None, "context")
    ring = jax.shard_map(
        partial(context.ring, block_size=128), mesh=mesh, in_specs=spec, out_specs=spec,
        check_vma=False,
    )  # fmt: skip
    put = NamedSharding(mesh, spec)
    q = jax.ShapeDtypeStruct((1, tokens, 1, DIM), jnp.float32, sharding=put)
    index = jax.ShapeDtypeStruct((1, tokens), jnp.int32, sharding=put)

    def loss(q, k, v, places):
        return ring(q, k, v, places).sum()

    gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
    compiled = gradient.lower(q, q, q, Places(index, index)).compile()
    logits = 4 * (tokens // 8) ** 2  # f32, one head, one pair of devices
    assert compiled.memory_analysis().temp_size_in_bytes < logits / 2


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"data": 4, "context": 2}, "do not divide the 2 rows"),
        ({"tensor": 4, "context": 2}, "do not divide the 2 key heads"),
    ],
)
def test_what_does_not_fit(make_mesh, axes, message):
    mesh = make_mesh(8, **({"data": 1} | axes))
    arrays, places = make()
    with (
        jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
        pytest.raises(ConfigError, match=message),
    ):
        context.over_mesh(context.ring)(*arrays[:3], places)
