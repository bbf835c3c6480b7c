"""What the TPU compiler makes of the 64K loss: memory, FLOPs, permutes and bytes on the wire.

Compiled for pods that need not be there. The figures belong to one version of the compiler.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cogvit_jax import hlo_cost, topology
from cogvit_jax.losses.siglip import sigmoid_loss
from tests.libtpu import skip_without_libtpu

B, D = 65536, 1152
PODS = {"v5e:16x16": (16, 16), "v6e:16x16": (16, 16), "v5p:8x8x8": (8, 8, 8)}
AXES = ("x", "y", "z")


pytestmark = [pytest.mark.slow, skip_without_libtpu]


@functools.cache
def compiled(pod, method):
    """(temporaries in bytes, Cost) of value and all gradients on one pod."""
    shape = PODS[pod]
    devices = np.array(topology.devices(pod)).reshape(shape)
    axes = AXES[: len(shape)]
    mesh = Mesh(devices, axes, axis_types=(AxisType.Auto,) * len(shape))

    def share(*args):
        total, weight, _ = sigmoid_loss(*args, axis_name=axes, method=method)
        return jax.lax.psum(total, axes) / jax.lax.psum(weight, axes)

    def whole(*args):
        total, weight, _ = sigmoid_loss(*args, method="all_pairs")
        return total / weight

    specs = (P(axes), P(axes), P(), P())
    ring = jax.shard_map(share, mesh=mesh, in_specs=specs, out_specs=P())
    rows, scalar = NamedSharding(mesh, P(axes)), NamedSharding(mesh, P())
    x = jax.ShapeDtypeStruct((B, D), jnp.bfloat16, sharding=rows)
    s = jax.ShapeDtypeStruct((), jnp.float32, sharding=scalar)
    function = jax.value_and_grad(whole if method == "all_pairs" else ring, argnums=(0, 1, 2, 3))
    jitted = jax.jit(function, out_shardings=(scalar, (rows, rows, scalar, scalar)))
    executable = jitted.lower(x, x, s, s).compile()
    temporaries = executable.memory_analysis().temp_size_in_bytes
    return temporaries, hlo_cost.analyse(executable.as_text())


def of_kind(cost, kind):
    return [c for c in cost.collectives if c.kind == kind]


@pytest.mark.parametrize(
    ("pod", "share"), [("v5e:16x16", 0.01), ("v6e:16x16", 0.01), ("v5p:8x8x8", 0.03)]
)
def test_bidirectional_ring_needs_hardly_any_memory(pod, share):
    assert compiled(pod, "bidirectional")[0] <= share * compiled(pod, "all_pairs")[0]


@pytest.mark.parametrize("pod", PODS)
@pytest.mark.parametrize(
    ("method", "matmuls"), [("bidirectional", 3), ("all_gather", 3), ("dual_gather", 4)]
)
def test_no_logit_is_computed_twice_without_need(pod, method, matmuls):
    ideal = 2 * matmuls * B**2 * D / np.prod(PODS[pod])
    assert ideal <= compiled(pod, method)[1].matmul_flops <= 1.01 * ideal


@pytest.mark.parametrize("pod", ["v6e:16x16", "v5p:8x8x8"])
def test_every_permute_is_under_way_while_a_tile_is_computed(pod):
    permutes = of_kind(compiled(pod, "bidirectional")[1], "collective-permute")
    hops = int(np.prod(PODS[pod])) - 1
    assert sum(c.count for c in permutes) >= 3 * hops  # embeddings, ids, gradients
    for permute in permutes:
        assert permute.asynchronous
        assert permute.matmul_window_cycles > 0


def test_v5e_cannot_overlap_permutes():
    """With this compiler; should it change, documentation and the table of methods must too."""
    permutes = of_kind(compiled("v5e:16x16", "bidirectional")[1], "collective-permute")
    assert sum(c.count for c in permutes if not c.asynchronous) >= 3 * 255


@pytest.mark.parametrize("pod", PODS)
def test_ring_sends_each_text_and_its_float32_gradient_once_round(pod):
    cost = compiled(pod, "bidirectional")[1]
    sent = sum(c.count * c.wire_bytes for c in cost.collectives)
    # Of each direction: P/2 hops with bfloat16 texts and float32 gradients, and the way home.
    assert B * D * (2 + 4) * 0.99 <= sent <= B * D * (2 + 4) * 1.01


@pytest.mark.parametrize("pod", PODS)
def test_gathers_along_torus_axes_stay_gathers(pod):
    """And reduce-scatters: no all-reduce of more than a few scalars."""
    for method in ("all_gather", "dual_gather"):
        cost = compiled(pod, method)[1]
        assert all(c.operand_bytes < 100 for c in of_kind(cost, "all-reduce"))
        assert bool(of_kind(cost, "reduce-scatter")) == (method == "all_gather")
        sent = sum(c.count * c.wire_bytes for c in cost.collectives)
        width = 2 + 4 if method == "all_gather" else 2 + 2
        assert sent <= 1.01 * B * D * width
