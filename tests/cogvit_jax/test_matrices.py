"""Every matrix is handled once and whole, wherever its blocks live; what crosses the mesh."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cogvit_jax import matrices

# name -> (shape, matrix dims): stacked and single, wide and tall, dims apart, 3 and 5 of a size.
ARRAYS = {
    "up": ((3, 8, 16), ((1,), (2,))),
    "down": ((5, 16, 8), ((1,), (2,))),
    "qkv": ((2, 8, 3, 2, 4), ((1,), (3, 4))),
    "out": ((2, 2, 4, 8), ((1, 2), (3,))),
    "wide": ((8, 24), ((0,), (1,))),
}
DIMS = {name: dims for name, (_, dims) in ARRAYS.items()}

# mesh axes, and the spec of each array by dim; () replicates.
LAYOUTS = {
    "replicated": (dict(data=8), {}),
    "fsdp": (
        dict(data=2, fsdp=4),
        {
            "up": (None, "fsdp"),
            "down": (None, None, "fsdp"),
            "qkv": (None, "fsdp"),
            "out": (None, None, None, "fsdp"),
            "wide": ("fsdp",),
        },
    ),
    "last dims": (
        dict(data=2, fsdp=4),
        {"up": (None, None, "fsdp"), "down": (None, None, "fsdp"), "qkv": (None,) * 4 + ("fsdp",)},
    ),
    "all fsdp": (
        dict(data=1, fsdp=8),
        {"up": (None, "fsdp"), "down": (None, "fsdp"), "out": (None, None, None, "fsdp")},
    ),
    "fsdp and tensor": (
        dict(data=2, fsdp=2, tensor=2),
        {
            "up": (None, "fsdp", "tensor"),
            "down": (None, "tensor", "fsdp"),
            "qkv": (None, "fsdp", None, "tensor"),
            "out": (None, "tensor", None, "fsdp"),
            "wide": ("tensor",),
        },
    ),
    "two axes on one dim": (
        dict(data=2, fsdp=2, tensor=2),
        {"up": (None, ("fsdp", "tensor")), "down": (None, None, ("tensor", "fsdp"))},
    ),
    "layers": (dict(data=4, fsdp=2), {"qkv": ("fsdp",), "out": ("fsdp", None, None, "data")}),
}


def values():
    rng = np.random.default_rng(0)
    return {n: rng.standard_normal(shape).astype(np.float32) for n, (shape, _) in ARRAYS.items()}


def shardings(make_mesh, layout):
    axes, specs = LAYOUTS[layout]
    mesh = make_mesh(8, **axes)
    return {n: NamedSharding(mesh, PartitionSpec(*specs.get(n, ()))) for n in ARRAYS}


def unit(x):
    """Needs each matrix whole, is blind to the order of rows and columns, and to swapping them."""
    return x / jnp.sqrt(jnp.sum(jnp.square(x), axis=(1, 2), keepdims=True) + 1e-30)


def expected():
    def norm(name, x):
        return x / np.sqrt(np.sum(np.square(x), axis=sum(DIMS[name], ()), keepdims=True))

    return {name: norm(name, x) for name, x in values().items()}


def compiled(placed, fn=unit):
    arrays = {
        n: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placed[n]) for n, x in values().items()
    }
    mapped = functools.partial(matrices.map_matrices, fn, dims=DIMS, shardings=placed)
    return jax.jit(mapped, out_shardings=placed).lower(arrays).compile()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_matrix_is_handled_whole_and_comes_home(make_mesh, layout):
    placed = shardings(make_mesh, layout)
    found = compiled(placed)(jax.device_put(values(), placed))
    for name, x in expected().items():
        assert found[name].sharding.is_equivalent_to(placed[name], x.ndim)
        np.testing.assert_allclose(found[name], x, rtol=1e-6, atol=1e-7)


def test_on_one_device():
    seen = []

    def record(x):
        seen.append(x.shape)
        return unit(x)

    found = matrices.map_matrices(record, values(), DIMS)
    for name, x in expected().items():
        np.testing.assert_allclose(found[name], x, rtol=1e-6, atol=1e-7)
    # All of a size together, no more rows than columns.
    assert sorted(seen) == [(1, 8, 24), (2 * 3 + 2, 8, 8), (3 + 5, 8, 16)]


@pytest.mark.parametrize(
    ("layout", "shares"),
    [
        # Of up and down, one place each: those that are turned come to places of their own.
        ("replicated", {(1, 8, 24), (1, 8, 8), (2, 8, 16)}),
        # Of the half that this copy handles, up has 2 and down 3, which 4 chips share.
        ("fsdp", {(1, 8, 24), (1, 8, 8), (2, 8, 16)}),
        ("fsdp and tensor", {(1, 8, 24), (1, 8, 8), (2, 8, 16)}),
    ],
)
def test_each_chip_gets_its_share(make_mesh, layout, shares):
    seen = set()

    def record(x):
        seen.add(x.shape)
        return x

    compiled(shardings(make_mesh, layout), record)
    assert seen == shares


def collectives(text):
    """(kind, bytes of the result) of every collective of a compiled program."""
    kinds = "all-to-all|all-gather|all-reduce|collective-permute|reduce-scatter"
    found = re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", text)
    return [(kind, sum(map(num_bytes, re.findall(r"\w+\[[\d,]*\]", out)))) for out, kind in found]


def num_bytes(shape):
    """Of such as `bf16[2,16]`."""
    dtype, dims = shape[:-1].split("[")
    return int(re.search(r"\d+", dtype)[0]) // 8 * math.prod(map(int, dims.split(",")))


@pytest.mark.parametrize(
    ("layout", "wanted"),
    [
        ("replicated", {"all-gather": 4}),  # one per size, two for the wide and the tall
        ("fsdp", {"all-to-all": 6, "all-gather": 5}),  # in and out, per size
        ("all fsdp", {"all-to-all": 6, "all-gather": 2}),  # wide and qkv are replicated
    ],
)
def test_what_crosses_the_mesh(make_mesh, layout, wanted):
    found = [kind for kind, _ in collectives(compiled(shardings(make_mesh, layout)).as_text())]
    assert {kind: found.count(kind) for kind in set(found)} == wanted


def test_slices_repeat_the_work_instead_of_exchanging_it():
    mesh = jax.make_mesh((2, 4), ("dcn", "data"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    placed = {name: NamedSharding(mesh, PartitionSpec()) for name in ARRAYS}
    text = compiled(placed).as_text()
    groups = set(re.findall(r"all-gather.*?replica_groups=(\S+?),? ", text))
    assert groups
    assert all("0,1,2,3" in g or g.startswith("[2,4]<=[8]") for g in groups), groups


def test_nothing_to_do():
    assert matrices.map_matrices(unit, {}, {}) == {}
