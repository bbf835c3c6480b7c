"""Which mesh axes collectives run along, and how many bytes."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from mmtp import ledger

ROWS, WIDTH, TIMES = 8, 16, 5


def rows_of(mesh, function):
    x = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32)
    run = jax.shard_map(
        function, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False
    )
    return ledger.count(jax.jit(run).lower(x).compile().as_text(), mesh)


@pytest.mark.parametrize("axis", ["stage", "data", "context"])
def test_permutes_in_a_loop(make_mesh, axis):
    mesh = make_mesh(8, stage=2, data=2, context=2)

    def function(x):
        x = jax.lax.ppermute(jnp.cos(x), axis, [(0, 1), (1, 0)])  # once per step: no hop

        def step(x, _):
            return jax.lax.ppermute(jnp.sin(x), axis, [(0, 1), (1, 0)]), None

        return jax.lax.scan(step, x, length=TIMES)[0]

    found = rows_of(mesh, function)
    assert ledger.hops(found, axis) == {
        "count": TIMES,
        "sizes": [ROWS * WIDTH * 4],
        "sent": TIMES * ROWS * WIDTH * 4,
    }
    assert ledger.per_axis(found) == {axis: (TIMES + 1) * ROWS * WIDTH * 4}


@pytest.mark.parametrize("axes", [("stage",), ("data", "context"), ("stage", "data", "context")])
def test_sums_over_axes(make_mesh, axes):
    mesh = make_mesh(8, stage=2, data=2, context=2)
    found = rows_of(mesh, lambda x: jax.lax.psum(x, axes))
    n = 2 ** len(axes)
    # A ring's all-reduce: a reduce-scatter and an all-gather, each (n - 1) / n of the bytes.
    assert ledger.per_axis(found) == {"+".join(axes): pytest.approx(2 * (n - 1) / n * 512)}


def test_branches_are_marked(make_mesh):
    mesh = make_mesh(8, stage=2, data=2, context=2)

    def function(x):
        def sum_them(x):
            return jax.lax.psum(x @ jnp.ones((WIDTH, WIDTH)), "context")

        return jax.lax.cond(jax.lax.axis_index("stage") == 1, sum_them, jnp.sin, x)

    assert [row.in_branch for row in rows_of(mesh, function)] == [True]
